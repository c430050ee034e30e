"""The options of the search that edits words."""

from __future__ import annotations

from typing import Any

import attrs
from attrs.converters import optional as optional_converter
from attrs.validators import deep_iterable, ge, instance_of, optional

from preimage.start import TextStart

__all__ = ["WordEditsConfig"]


def _several(words: object) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)  # type: ignore[arg-type]  # the validator judges it


@attrs.frozen(kw_only=True)
class WordEditsConfig:
    """Which words may come into a text, and how many edits are tried.

    >>> WordEditsConfig(words="happy").words
    ('happy',)
    """

    optim_str_init: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "The text to edit, where no earlier stage has found one."},
    )
    optim_ids_init: tuple[int, ...] | None = attrs.field(
        default=None,
        converter=optional_converter(tuple),
        metadata={"help": "The token ids to edit, instead of a text."},
    )
    words: tuple[str, ...] = attrs.field(
        default=(),
        converter=_several,
        validator=deep_iterable(instance_of(str)),
        metadata={
            "help": "The words that may be put in, those to try first in front; without them the whole words among "
            "the tokens that are searched."
        },
    )
    search_width: int = attrs.field(
        default=512,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "About how many texts are scored in each step; the first one ranks so many words, too."},
    )
    words_per_place: int = attrs.field(
        default=32,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "How many of the best words are tried at each place; more leave fewer places."},
    )
    beam_width: int = attrs.field(
        default=2,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "How many texts are edited further."},
    )
    max_edits: int = attrs.field(
        default=6,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Edits of a text at most; the search ends before that when an edit more does not pay."},
    )

    @property
    def given(self) -> TextStart | None:
        """The text that the options name, or None."""
        if self.optim_str_init is None and self.optim_ids_init is None:
            return None
        options: dict[str, Any] = {"optim_str_init": self.optim_str_init, "optim_ids_init": self.optim_ids_init}
        return TextStart(**options)
