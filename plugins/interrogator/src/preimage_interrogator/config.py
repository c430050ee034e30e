"""The options of the interrogator and of pruning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from attrs.converters import optional as optional_converter
from attrs.validators import deep_iterable, ge, instance_of, optional

from preimage.errors import OptionError
from preimage.start import TextStart
from preimage.strategy import TreeSearch

__all__ = ["InterrogatorConfig", "PruneConfig"]


def _several(values: str | Iterable[str]) -> tuple[str, ...]:
    """Return a tuple of texts; a single text is one of them, not a row of letters."""
    return (values,) if isinstance(values, str) else tuple(values)


@attrs.frozen(kw_only=True)
class _GivenStart:
    """Where a search begins that never draws its start at random."""

    optim_str_init: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "The text to start from, where no earlier stage has found one."},
    )
    optim_ids_init: tuple[int, ...] | None = attrs.field(
        default=None,
        converter=optional_converter(tuple),
        metadata={"help": "The token ids to start from, instead of a text."},
    )

    @property
    def given(self) -> TextStart | None:
        """The start that the options name, or None."""
        if self.optim_str_init is None and self.optim_ids_init is None:
            return None
        options: dict[str, Any] = {"optim_str_init": self.optim_str_init, "optim_ids_init": self.optim_ids_init}
        return TextStart(**options)


@attrs.frozen(kw_only=True)
class InterrogatorConfig(TreeSearch, _GivenStart):
    """Which phrases the interrogator knows and how it chains them.

    Raises:
        OptionError: more phrases are demanded than allowed.

    >>> InterrogatorConfig(lists="flavors.txt").lists
    ('flavors.txt',)
    """

    lists: tuple[str, ...] = attrs.field(
        default=(),
        converter=_several,
        validator=deep_iterable(instance_of(str)),
        metadata={
            "help": "Text files with one phrase a line; `vocabulary` stands for the model's own whole words, which "
            "are taken where neither lists nor phrases are given. Of several lists the first gives the first phrase."
        },
    )
    phrases: tuple[str, ...] = attrs.field(
        default=(),
        converter=_several,
        validator=deep_iterable(instance_of(str)),
        metadata={"help": "Phrases given here instead of in a file; they are one more list, behind the others."},
    )
    search_width: int = attrs.field(
        default=512,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Phrases scored in each step; a round over all of them takes as many steps as it needs."},
    )
    intermediate_count: int = attrs.field(
        default=512,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "How many of the best of the first round are tried in the later ones."},
    )
    min_phrases: int = attrs.field(
        default=8,
        validator=[instance_of(int), ge(0)],
        metadata={"help": "So many phrases are chained even where the last one does not help."},
    )
    max_phrases: int = attrs.field(
        default=32,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "The chain ends with so many phrases, or before that where none helps or fits."},
    )
    separator: str = attrs.field(
        default=", ",
        validator=instance_of(str),
        metadata={"help": "What stands between phrases; a space, where the search may not propose it."},
    )
    negative: bool = attrs.field(
        default=False,
        validator=instance_of(bool),
        metadata={
            "help": "Rank and chain the phrases of highest loss. They are in the state; the result remains the "
            "prompt of lowest loss."
        },
    )

    def __attrs_post_init__(self) -> None:
        if self.min_phrases > self.max_phrases:
            message = (
                f"min_phrases is {self.min_phrases} and max_phrases {self.max_phrases}, so that no chain is long "
                "enough and short enough: demand fewer phrases or allow more."
            )
            raise OptionError(message)


@attrs.frozen(kw_only=True)
class PruneConfig(_GivenStart):
    """How much a word may be worth that is dropped.

    >>> PruneConfig().tolerance
    0.0
    """

    tolerance: float = attrs.field(
        default=0.0,
        converter=float,
        validator=ge(0.0),
        metadata={"help": "By how much the loss may rise, in all, above the lowest that pruning has met."},
    )
