"""The adapters' options."""

from __future__ import annotations

import attrs
from attrs.validators import ge, in_, instance_of, le, lt, optional

from preimage_fuse._choices import Context, Padding

__all__ = ["STORAGE", "AdapterConfig", "FuseConfig", "LinearConfig", "SharedTokenConfig"]

STORAGE = ("cache_dir", "use_cache", "words_file")
"""The options that do not shape what is learned: of a list of words, the words count and not their file."""


@attrs.frozen(kw_only=True)
class AdapterConfig:
    """What an adapter learns from, and where it is kept."""

    max_examples_per_case: int = attrs.field(
        default=8192,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "The most words to learn from for each pair of numbers of tokens."},
    )
    ridge: float = attrs.field(
        default=1e-3,
        converter=float,
        validator=ge(0.0),
        metadata={
            "help": "How much large maps are held back, as a share of the mean eigenvalue of the equations. "
            "0: least squares of the smallest norm, slower."
        },
    )
    center: bool = attrs.field(
        default=True,
        validator=instance_of(bool),
        metadata={
            "help": "Map the differences of words from their mean. Without it, as in the paper, much of the map "
            "explains what all words have in common, which no gradient asks for."
        },
    )
    held_out: float = attrs.field(
        default=0.05,
        converter=float,
        validator=[ge(0.0), lt(1.0)],
        metadata={"help": "The share of the words that is kept apart to tell how good the map is."},
    )
    leading_space: Context = attrs.field(
        default="both",
        validator=in_(("both", "with", "without")),
        metadata={"help": "Learn from words as they stand behind a space, at the start of a text, or both."},
    )
    words_file: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "A text file with the words to learn from; the two vocabularies without it."},
    )
    seed: int = attrs.field(
        default=0,
        validator=instance_of(int),
        metadata={"help": "Decides which words are taken where there are more than enough."},
    )
    cache_dir: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "Where fitted adapters are kept; PREIMAGE_CACHE or the user's cache folder without it."},
    )
    use_cache: bool = attrs.field(
        default=True,
        validator=instance_of(bool),
        metadata={"help": "Keep what was fitted, and use what was kept."},
    )


@attrs.frozen(kw_only=True)
class FuseConfig(AdapterConfig):
    """How FUSE is fitted.

    >>> FuseConfig().max_examples_per_case
    8192
    """

    max_subtokens: int = attrs.field(
        default=4,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "The most tokens of a word to learn from, in either model."},
    )
    min_examples_per_case: int = attrs.field(
        default=16,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "With fewer words than this, a pair of numbers of tokens uses the map of the nearest pair."},
    )
    stretched: float = attrs.field(
        default=0.3,
        converter=float,
        validator=[ge(0.0), le(1.0)],
        metadata={
            "help": "How much a word of another number of target tokens counts beside a case's own words. A search "
            "replaces words by such words, too. 0: not at all, as in the paper."
        },
    )
    padding: Padding = attrs.field(
        default="free",
        validator=in_(("free", "zero")),
        metadata={
            "help": "What the map makes of the slices behind a word's last target token. free: anything, "
            "only the tokens count; zero: nothing, as in the paper, which is faster."
        },
    )


@attrs.frozen(kw_only=True)
class LinearConfig(AdapterConfig):
    """How the linear map is fitted."""

    max_subtokens: int = attrs.field(
        default=4,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "The most tokens of a word to learn from, in either model."},
    )


@attrs.frozen(kw_only=True)
class SharedTokenConfig(AdapterConfig):
    """How the map over shared tokens is fitted; of the words, those count that are one token to both models."""
