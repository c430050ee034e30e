"""What a study is to run, as plain data: written when it begins, compared when it goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from preimage.errors import InputError
from preimage.study.images import StudyImage
from preimage.study.record import Key

__all__ = ["Spec"]


@attrs.frozen(kw_only=True)
class Spec:
    """Pictures, recipes, seeds and measures.

    Arguments:
        images: the pictures, in the study's folder.
        recipes: name to pipeline, as `Pipeline.to_dict` writes it.
        seeds: each recipe is run with each on each picture.
        measures: the options of `preimage.study.measures.MeasureOptions` that are set; None measures nothing.
        threads: of each worker; sums are the same only where it is.
        equalised: by what the budgets were made equal, for people.
        versions: distribution to version, as the study was begun; records hold their own.
    """

    images: tuple[StudyImage, ...]
    recipes: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    measures: Mapping[str, Any] | None = None
    threads: int = 1
    equalised: str = ""
    versions: Mapping[str, str] = attrs.field(factory=dict, eq=False)

    def keys(self) -> Iterator[Key]:
        """Yield every run: all recipes on the first picture, then on the next, seed by seed."""
        for seed in self.seeds:
            for image in self.images:
                for recipe in self.recipes:
                    yield Key(recipe, image.name, seed)

    def image(self, name: str) -> StudyImage:
        """Return a picture by its name."""
        return next(image for image in self.images if image.name == name)

    def differences(self, other: Spec) -> list[str]:
        """Return in words how `other` differs from this; nothing where it is the same study.

        >>> spec = Spec(images=(), recipes={"gcg": {}}, seeds=(0, 1))
        >>> spec.differences(attrs.evolve(spec, seeds=(0,)))
        ['seeds: (0, 1), now (0,)']
        """
        found = []
        ours = {image.name: (image.sha256, image.caption) for image in self.images}
        theirs = {image.name: (image.sha256, image.caption) for image in other.images}
        found += _differences("picture", ours, theirs)
        found += _differences("recipe", _plain(self.recipes), _plain(other.recipes))
        found += _differences("measure option", _plain(self.measures or {}), _plain(other.measures or {}))
        if (self.measures is None) != (other.measures is None):
            found.append(f"measures: {'none' if self.measures is None else 'some'} before, not so now")
        for name in ("seeds", "threads", "equalised"):
            before, now = getattr(self, name), getattr(other, name)
            if before != now:
                found.append(f"{name}: {before!r}, now {now!r}")
        return found

    def to_json(self, folder: Path) -> str:
        """Return the spec as JSON; paths are written relative to `folder`, so that a study can be moved."""
        data = attrs.asdict(self)
        for image, plain in zip(self.images, data["images"], strict=True):
            plain["path"] = image.path.relative_to(folder).as_posix()
        return json.dumps(data, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, folder: Path) -> Spec:
        """Return the spec that `to_json` was called on, its pictures found in `folder`.

        Raises:
            InputError: the text is not that of a spec.
        """
        try:
            data = json.loads(text)
            images = tuple(StudyImage(**{**image, "path": folder / image["path"]}) for image in data.pop("images"))
            return cls(images=images, **{**data, "seeds": tuple(data["seeds"])})
        except (ValueError, KeyError, TypeError) as error:
            message = f"The study in {folder} was written by another version of Preimage ({error}): begin a new one."
            raise InputError(message) from error


def _plain(data: Mapping[str, Any]) -> Mapping[str, Any]:
    # Lists and tuples are the same once they have been written.
    plain: Mapping[str, Any] = json.loads(json.dumps(data))
    return plain


def _differences(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = [f"the {what} {name!r} is gone" for name in before if name not in now]
    found += [f"the {what} {name!r} is new" for name in now if name not in before]
    found += [f"the {what} {name!r} has changed" for name in before if name in now and before[name] != now[name]]
    return found
