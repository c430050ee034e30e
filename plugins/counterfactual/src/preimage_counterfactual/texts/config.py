"""The options of the search that edits words."""

from __future__ import annotations

import attrs
from attrs.validators import deep_iterable, ge, instance_of

from preimage.start import TextStart

__all__ = ["WordEditsConfig"]


def _several(words: object) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)  # type: ignore[arg-type]  # the validator judges it


@attrs.frozen(kw_only=True)
class WordEditsConfig(TextStart):
    """Which words may come into a text, and how many edits are tried.

    >>> WordEditsConfig(words="happy").words
    ('happy',)
    """

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
