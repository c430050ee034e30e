"""The pictures of a study: from a folder, a dataset, or a plugin that has some to offer."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from preimage.api.pictures import Picture, Pictures
from preimage.errors import InputError, MissingDependencyError, PluginError, UnknownNameError, nearest

if TYPE_CHECKING:
    from preimage.discovery import Entry

__all__ = ["StudyImage", "collect", "find", "require_distinct", "slug"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif")
"""What counts as a picture in a folder."""

_CAPTIONS = ("text", "caption", "prompt")
"""The columns that hold a picture's prompt, the first that is there."""

_OFFER = re.compile(r"(?P<plugin>[a-z][\w-]+):(?P<name>[^:\[\]]+)(\[:(?P<sliced>\d+)\]|:(?P<counted>\d+))?$")


@attrs.frozen
class StudyImage:
    """One picture of a study, kept in the study's folder."""

    name: str
    """Unique in the study."""
    path: Path
    sha256: str
    """Of the pixels, whatever file they came from."""
    caption: str | None = None
    """The true prompt, where it is known."""

    @property
    def slug(self) -> str:
        """The name as a part of paths, unique in the study, too."""
        return self.path.stem


def find(source: str | os.PathLike[str], *, limit: int | None = None) -> Pictures:
    """Return the pictures that `source` stands for; files are not opened yet.

    Arguments:
        source: a folder of pictures, with a ``metadata.jsonl`` or without; a dataset that
            ``datasets.Dataset.save_to_disk`` wrote; a picture; or ``plugin:name``, such as ``miniworld:held-out:20``.
        limit: how many at most, the first ones.

    Raises:
        InputError: nothing is there, or it cannot be understood.
        UnknownNameError: no plugin has pictures under that name.
        MissingDependencyError: a dataset is to be read and ``datasets`` is not installed.
    """
    path = Path(source)
    if path.is_dir():
        found = Pictures(tuple(_from_folder(path, limit)))
    elif path.is_file():
        found = Pictures((Picture(path.stem, path),))
    elif offer := _OFFER.match(os.fspath(source)):
        count = offer["sliced"] or offer["counted"]
        found = _from_plugin(offer["plugin"], offer["name"], _lower(limit, int(count) if count else None))
    else:
        message = (
            f"{path} is neither a folder nor a picture: check the path, or name what a plugin offers, such as "
            "miniworld:held-out:20."
        )
        raise InputError(message)
    pictures = found.pictures[:limit]
    if not pictures:
        message = f"{path} holds no picture ({', '.join(SUFFIXES)}): give a folder that does."
        raise InputError(message)
    require_distinct(pictures, str(path))
    return attrs.evolve(found, pictures=pictures)


def require_distinct(pictures: Iterable[Picture], source: str) -> None:
    """Raise where two pictures have one name, by which records tell what they belong to.

    Raises:
        InputError: they have; the message names it and where the pictures are from.
    """
    counts = Counter(picture.name for picture in pictures)
    repeated = sorted(name for name, count in counts.items() if count > 1)
    if repeated:
        message = f"{source} has several pictures of the name {repeated[0]!r}: rename all but one."
        raise InputError(message)


def collect(pictures: Iterable[Picture], folder: Path) -> list[StudyImage]:
    """Put the pictures into `folder`, so that a study needs nothing outside it, and return their records.

    The folder can be the source of another study: a ``metadata.jsonl`` in it holds the true prompts.

    Raises:
        InputError: a picture cannot be read.
    """
    from preimage.image import load_image, sha256

    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    collected = []
    listing = []
    for picture in pictures:
        image = load_image(picture.image)
        name = slug(picture.name, taken)
        if isinstance(picture.image, Path):
            path = folder / f"{name}{picture.image.suffix.lower()}"
            shutil.copyfile(picture.image, path)
        else:
            path = folder / f"{name}.png"
            image.save(path)
        collected.append(StudyImage(picture.name, path, sha256(image), picture.caption))
        caption = {} if picture.caption is None else {"text": picture.caption}
        listing.append(json.dumps({"file_name": path.name, **caption}, ensure_ascii=False) + "\n")
    (folder / "metadata.jsonl").write_text("".join(listing), encoding="utf-8")
    return collected


def slug(name: str, taken: set[str]) -> str:
    """Return `name` as a part of a path that is not taken on any file system, and take it.

    >>> taken = set()
    >>> slug("blip2 -> gcg", taken), slug("BLIP2/gcg", taken)
    ('blip2-gcg', 'BLIP2-gcg-2')
    """
    plain = re.sub(r"\W+", "-", name, flags=re.ASCII).strip("-")[:60] or "unnamed"
    part, count = plain, 1
    while part.lower() in taken:
        count += 1
        part = f"{plain}-{count}"
    taken.add(part.lower())
    return part


def _lower(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _from_folder(folder: Path, limit: int | None) -> Iterator[Picture]:
    if (folder / "metadata.jsonl").is_file():
        yield from _listed(folder)
    elif (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file():
        yield from _from_dataset(folder, limit)
    else:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
        own = {study / name for study in _studies(folder) for name in ("images", "pictures")}
        files = [path for path in files if own.isdisjoint(path.parents)]
        stems = [path.relative_to(folder).with_suffix("").as_posix() for path in files]
        for path, stem in zip(files, stems, strict=True):
            # Two formats of one picture are told apart by their suffixes.
            yield Picture(stem if stems.count(stem) == 1 else path.relative_to(folder).as_posix(), path)


def _studies(folder: Path) -> list[Path]:
    """Return the studies in a folder, whose pictures are copies of others or made from prompts."""
    from preimage.study.store import FILE

    return [path.parent for path in folder.rglob(FILE)]


def _listed(folder: Path) -> Iterator[Picture]:
    """Yield what ``metadata.jsonl`` lists: ``{"file_name": …, "text": …}`` a line."""
    listing = folder / "metadata.jsonl"
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            file = row["file_name"]
        except (ValueError, KeyError, TypeError) as error:
            message = (
                f'Line {number} of {listing} is not of the form {{"file_name": "0001.png", "text": "…"}}: mend it.'
            )
            raise InputError(message) from error
        if not (folder / file).is_file():
            message = f"Line {number} of {listing} names {file}, which is not there: add the file or remove the line."
            raise InputError(message)
        yield Picture(Path(file).with_suffix("").as_posix(), folder / file, _caption(row))


def _caption(row: Mapping[str, Any]) -> str | None:
    return next((str(row[column]) for column in _CAPTIONS if row.get(column)), None)


def _from_dataset(folder: Path, limit: int | None) -> Iterator[Picture]:
    """Yield the rows of a dataset that ``save_to_disk`` wrote; of several splits the first."""
    try:
        import datasets
    except ImportError as error:
        message = (
            f'{folder} is a Hugging Face dataset, and reading it needs datasets: pip install "preimage[datasets]".'
        )
        raise MissingDependencyError(message) from error
    dataset = datasets.load_from_disk(os.fspath(folder))
    if isinstance(dataset, datasets.DatasetDict):
        dataset = dataset[next(iter(dataset))]
    column = next((name for name, kind in dataset.features.items() if isinstance(kind, datasets.Image)), None)
    if column is None:
        message = (
            f"The dataset {folder} has the columns {', '.join(dataset.column_names)}, of which none holds pictures: "
            "cast one with dataset.cast_column(name, datasets.Image())."
        )
        raise InputError(message)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    for index in range(count):
        row = dataset[index]
        yield Picture(f"{index:05d}", row[column], _caption(row))


def _from_plugin(plugin: str, name: str, count: int | None) -> Pictures:
    found = _offering(plugin)(name, count)
    if not isinstance(found, Pictures):
        message = (
            f"The pictures {plugin}:{name} are a {type(found).__name__}, not a preimage.api.Pictures: upgrade {plugin}."
        )
        raise PluginError(message)
    return found


def _offering(plugin: str) -> Callable[[str, int | None], Any]:
    """Return the function behind an entry point of the group ``preimage.pictures``."""
    from importlib import import_module

    from preimage.discovery import discover
    from preimage.first_party import extra_for
    from preimage.settings import read_settings

    settings = read_settings()
    entries: list[Entry] = [
        entry
        for entry in discover().pictures
        if not entry.problem and settings.exclusion(entry.distribution, entry.name) is None
    ]
    found = [entry for entry in entries if entry.name == plugin]
    if len(found) != 1:
        names = [entry.name for entry in entries]
        extra = extra_for("pictures", plugin)
        message = (
            f"There is no folder {plugin}:…, and {len(found) or 'no'} plugins offer pictures under {plugin!r}."
            f"{nearest(plugin, names)}"
            + (f' They come with: pip install "preimage[{extra}]"' if extra else "")
            + (f" Pictures are offered by {', '.join(names)}." if names else "")
        )
        raise UnknownNameError(message)
    (entry,) = found
    try:
        function: Callable[[str, int | None], Any] = getattr(import_module(entry.module), entry.attribute)
    except Exception as error:
        message = (
            f"The pictures of {entry.distribution} {entry.version} cannot be had, because importing "
            f"{entry.module}:{entry.attribute} raised {type(error).__name__}: {error}."
        )
        raise PluginError(message) from error
    return function
