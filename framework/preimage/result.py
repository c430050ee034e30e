"""What a search found, and everything needed to find it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from preimage.api.events import Spent
from preimage.errors import InputError, MissingDependencyError
from preimage.track import Point

if TYPE_CHECKING:
    import os

    import pandas as pd

__all__ = ["Provenance", "Result", "TargetRecord", "as_json", "to_frame"]

FORMAT = "preimage-result-1"


@attrs.frozen
class TargetRecord:
    """Which picture, text or label a result belongs to."""

    kind: str
    """``"image"``, ``"text"`` or ``"label"``."""
    name: str
    """The picture's path where there is one, otherwise the text or label itself."""
    sha256: str = ""
    """Of a picture's pixels (after conversion to RGB), so that a re-run notices another picture; those of a group's
    members one after the other; empty for a text."""


@attrs.frozen
class Provenance:
    """The distributions, options, models and seed that made a result."""

    recipe: Mapping[str, Any]
    """The pipeline by names and options, as `Pipeline.from_dict` reads it, its terms' own targets those of this result;
    empty where live objects went in."""
    seed: int
    versions: Mapping[str, str]
    """Distribution to version: Preimage, its plugins, torch, and Python."""
    models: Mapping[str, str]
    """Model reference to a hash of its weights."""


@attrs.frozen
class Result:
    """The best prompt for one target.

    `loss` and `terms` are those of `text` read back: typed into the templates and tokenised afresh.
    """

    text: str
    ids: tuple[int, ...]
    loss: float
    terms: Mapping[str, float]
    """Each term's own value, unweighted."""
    target: TargetRecord
    stop_reason: str
    """Which limit ended the last stage, ``"done"``, or ``"interrupted"``."""
    best_step: int
    spent: Spent
    trajectory: tuple[Point, ...]
    provenance: Provenance
    coverage: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict)
    """For each term with an adapter that counts them, how many words of the gradients of the whole run, all targets
    together, were served how: FUSE counts those with a map of their own, with the nearest one's, and with none."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return {"format": FORMAT, **attrs.asdict(self, recurse=True)}

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the result as JSON, which `from_json` reads."""
        return as_json(self.to_dict(), indent=indent)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to a file as JSON."""
        Path(path).write_text(self.to_json(indent=1), encoding="utf-8")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """Return the result that `to_dict` was called on.

        Raises:
            InputError: the data are not those of a result.
        """
        import cattrs

        if not isinstance(data, Mapping):
            message = (
                f"These data are a {type(data).__name__}, and a result is an object: of a list, which "
                "`preimage invert` writes for several pictures, give each item to Result.from_dict."
            )
            raise InputError(message)
        if data.get("format") != FORMAT:
            message = (
                f"These data have the format {data.get('format')!r}, not {FORMAT!r}: give what Result.to_dict, or "
                "`preimage invert --json`, has written."
            )
            raise InputError(message)
        converter = cattrs.Converter()
        converter.register_structure_hook_func(lambda wanted: wanted == Mapping[str, Any], lambda value, _: dict(value))
        return converter.structure({key: value for key, value in data.items() if key != "format"}, cls)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Return the result that `to_json` was called on.

        Raises:
            InputError: the text is not JSON, or not that of a result.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            message = f"This text is not JSON ({error}): give what Result.to_json has written."
            raise InputError(message) from error
        return cls.from_dict(data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Read what `save` has written.

        Raises:
            InputError: the file does not hold a result.
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def to_frame(self) -> pd.DataFrame:
        """Return the trajectory as a table, one row a step.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        rows = [{**attrs.asdict(point, recurse=False), **attrs.asdict(point.spent)} for point in self.trajectory]
        return _frame(rows).drop(columns="spent")


def as_json(data: Any, *, indent: int | None = None) -> str:
    """Return plain data as JSON with all letters as they are."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    # What is not UTF-8 in a file's name has no letter, but JSON has an escape for it, which is also Python's.
    return text.encode(errors="backslashreplace").decode()


def to_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Return results as a table, one row each: text, loss, terms, target, cost, seed.

    Raises:
        MissingDependencyError: pandas is not installed.
    """
    rows = [
        {
            "target": result.target.name,
            "text": result.text,
            "loss": result.loss,
            **{f"term:{name}": value for name, value in result.terms.items()},
            "stop_reason": result.stop_reason,
            "best_step": result.best_step,
            **attrs.asdict(result.spent),
            "seed": result.provenance.seed,
        }
        for result in results
    ]
    return _frame(rows)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    try:
        import pandas as pd
    except ImportError as error:
        message = 'Tables need pandas, which is not installed: pip install "preimage[pandas]".'
        raise MissingDependencyError(message) from error
    return pd.DataFrame(rows)
