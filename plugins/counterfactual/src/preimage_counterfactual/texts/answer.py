"""What was found for a text or a prompt: the nearest one that is decided otherwise, or why there is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import attrs

from preimage_counterfactual.texts.wording import WordChange, marked

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PromptCounterfactual", "TextCounterfactual", "TextStatus"]

TextStatus = Literal["found", "already", "none"]


@attrs.frozen(kw_only=True)
class TextCounterfactual:
    """The nearest text found that is decided as wanted.

    Attributes:
        original: the text that was asked about.
        wanted: the class that it should be given.
        decision: the class that it is given.
        status: ``found``; ``already`` decided as wanted; ``none``, the search ended and found none.
        reason: why there is no answer, as a sentence; empty where there is one.
        text: the answer, spelled as the original is wherever no word has changed; None where there is none.
        changes: the words that differ, from the left to the right.
        probability: of the wanted class, for the original; of pictures the share that is decided as wanted.
        probability_after: the same for the answer, or for the nearest miss.
        nats: how unlikely the language model finds the original, per token; None without one.
        nats_after: the same for the answer.
        distance: from the original, as the distance measures it; None where there is no answer.
        nearest_miss: where there is no answer, the text that came nearest to one.
        calls: how many texts the model was asked about.
        seconds: how long the search took.
    """

    original: str
    wanted: str
    decision: str
    status: TextStatus
    reason: str = ""
    text: str | None = None
    changes: tuple[WordChange, ...] = ()
    probability: float
    probability_after: float | None = None
    nats: float | None = None
    nats_after: float | None = None
    distance: float | None = None
    nearest_miss: str | None = None
    calls: int = 0
    seconds: float = 0.0

    @property
    def found(self) -> bool:
        """Whether there is an answer."""
        return self.status == "found"

    @property
    def edits(self) -> int:
        """How many words are replaced, dropped or put in."""
        return len(self.changes)

    @property
    def marked(self) -> str:
        """The original with the changes shown in it, ``a [sad → happy] star``."""
        return marked(self.original, self.changes)

    def sentence(self) -> str:
        """Return what was found, in words."""
        if not self.found:
            return self.reason
        listed = " and ".join(map(str, self.changes))
        return f"It is decided {self.wanted} instead of {self.decision} with {listed}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; pictures are left out."""
        plain = attrs.asdict(self, filter=lambda field, _: not field.name.startswith("pictures"))
        return {**plain, "edits": self.edits, "marked": self.marked}

    def to_json(self) -> str:
        """Return everything but pictures as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def __str__(self) -> str:
        return self.marked if self.found else self.reason


@attrs.frozen(kw_only=True)
class PromptCounterfactual(TextCounterfactual):
    """The nearest prompt found whose pictures are decided as wanted.

    Attributes:
        seeds: of the pictures; both prompts were drawn with the same.
        pictures: of the original, one for each seed.
        pictures_after: of the answer, or of the nearest miss.
        tried: how many prompts were drawn, the original among them.
    """

    seeds: tuple[int, ...] = ()
    pictures: tuple[Image, ...] = attrs.field(default=(), repr=False, eq=False)
    pictures_after: tuple[Image, ...] = attrs.field(default=(), repr=False, eq=False)
    tried: int = 0
