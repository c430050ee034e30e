"""What one run of a study left behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from preimage.api.events import Spent

__all__ = ["MAX_POINTS", "Key", "Mark", "Record", "thinned"]

MAX_POINTS = 200
"""How many points of a trajectory are kept: more than a curve on a page can show."""


@attrs.frozen(order=True)
class Key:
    """Which run it is; a study has each once."""

    recipe: str
    image: str
    seed: int

    def __str__(self) -> str:
        return f"{self.recipe} on {self.image} with seed {self.seed}"


@attrs.frozen
class Mark:
    """The best loss when so much had been spent."""

    candidates: int
    passes: int
    """Rows forward and backward through a model."""
    seconds: float
    best_loss: float


@attrs.frozen(kw_only=True)
class Record:
    """One run: what it found, what that is worth, what it has cost.

    >>> record = Record(key=Key("gcg", "0003", 0), status="ok", text="a red circle", measures={"token-f1": 0.5})
    >>> Record.from_json(record.to_json()) == record
    True
    """

    key: Key
    status: Literal["ok", "failed"]
    traceback: str = ""
    """Of the error that ended the run; empty if there was none."""
    text: str = ""
    ids: tuple[int, ...] = ()
    """The tokens of `text`, as the first term's tokenizer reads it."""
    tokens: tuple[str, ...] = ()
    """The same as texts, one for each id."""
    unstable: tuple[int, ...] = ()
    """The places in `ids` that change when the decoded text is tokenised once more."""
    loss: float | None = None
    terms: Mapping[str, float] = attrs.field(factory=dict)
    """Each objective's own value, unweighted."""
    spent: Spent = attrs.field(factory=Spent)
    trajectory: tuple[Mark, ...] = ()
    stop_reason: str = ""
    versions: Mapping[str, str] = attrs.field(factory=dict)
    models: Mapping[str, str] = attrs.field(factory=dict)
    """Reference of each model to a hash of its weights."""
    measures: Mapping[str, float] = attrs.field(factory=dict)
    pictures: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Set (``"shared"`` or ``"fresh"`` seeds) to files, relative to the study's folder."""
    measuring_seconds: float = 0.0
    """How long the measuring took, which no budget counts."""

    @property
    def error(self) -> str:
        r"""What ended the run, in one line; empty if nothing did.

        >>> trace = 'Traceback (…):\n  File "x.py", line 1, in f\n    f()\nKeyError: 3\na note\n'
        >>> Record(key=Key("gcg", "0003", 0), status="failed", traceback=trace).error
        'KeyError: 3'
        """
        lines = self.traceback.rpartition('\n  File "')[2].splitlines()
        # Behind the last place and its code; notes may follow.
        return next((line for line in lines[1:] if line.strip() and not line.startswith(" ")), "".join(lines[-1:]))

    def timeless(self) -> Record:
        """Return the record without what differs between two runs of the same work: clock times.

        >>> Record(key=Key("gcg", "0003", 0), status="ok", spent=Spent(3, 4, 1, 0.7)).timeless().spent
        Spent(candidates=3, forward=4, backward=1, seconds=0.0)
        """
        return attrs.evolve(
            self,
            spent=attrs.evolve(self.spent, seconds=0.0),
            trajectory=tuple(attrs.evolve(mark, seconds=0.0) for mark in self.trajectory),
            measuring_seconds=0.0,
        )

    def to_json(self) -> str:
        """Return the record as JSON, which `from_json` reads."""
        return json.dumps(attrs.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Return the record that `to_json` was called on."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """Return the record that `attrs.asdict` was called on."""
        fields = dict(data)
        for name in ("ids", "tokens", "unstable"):
            fields[name] = tuple(data[name])
        fields["pictures"] = {name: tuple(files) for name, files in data["pictures"].items()}
        fields["trajectory"] = tuple(Mark(**mark) for mark in data["trajectory"])
        return cls(**{**fields, "key": Key(**data["key"]), "spent": Spent(**data["spent"])})


def thinned(marks: tuple[Mark, ...], count: int = MAX_POINTS) -> tuple[Mark, ...]:
    """Return at most `count` of the marks: the first, the last, and evenly spread ones between.

    >>> [mark.candidates for mark in thinned(tuple(Mark(n, n, 0.0, 1.0) for n in range(10)), 4)]
    [0, 3, 6, 9]
    """
    if len(marks) <= count:
        return marks
    return tuple(marks[round(index * (len(marks) - 1) / (count - 1))] for index in range(count))
