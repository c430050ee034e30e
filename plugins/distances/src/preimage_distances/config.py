"""The options of the distances."""

from __future__ import annotations

import attrs
from attrs.validators import ge, gt, in_, instance_of, optional

from preimage.errors import OptionError

__all__ = [
    "EditDistanceConfig",
    "FrechetDistanceConfig",
    "ImageSimilarityConfig",
    "KernelDistanceConfig",
    "MeanSquaredErrorConfig",
    "StructuralSimilarityConfig",
    "TextSimilarityConfig",
    "WordsConfig",
]


@attrs.frozen(kw_only=True)
class WordsConfig:
    """What counts as the same words.

    >>> WordsConfig().case_sensitive
    False
    """

    case_sensitive: bool = attrs.field(
        default=False, validator=instance_of(bool), metadata={"help": "Whether 'Red' and 'red' are different words."}
    )
    punctuation: bool = attrs.field(
        default=False,
        validator=instance_of(bool),
        metadata={"help": "Whether punctuation counts: each mark is a word of its own, otherwise it only parts words."},
    )


@attrs.frozen(kw_only=True)
class EditDistanceConfig(WordsConfig):
    """In which unit edits are counted, and whether long texts may be farther apart than short ones."""

    unit: str = attrs.field(
        default="words",
        validator=in_(("words", "characters")),
        metadata={"help": "What is inserted, dropped or replaced: words or characters."},
    )
    normalised: bool = attrs.field(
        default=True,
        validator=instance_of(bool),
        metadata={"help": "Divide by the length of the longer text, which gives 0 to 1."},
    )


@attrs.frozen(kw_only=True)
class _SizeConfig:
    """At which size pixels are compared."""

    size: int | None = attrs.field(
        default=None,
        validator=optional([instance_of(int), ge(1)]),
        metadata={
            "help": "Scale both pictures to squares of so many pixels first. Without it only pictures of different "
            "sizes are scaled, both to the smaller width and the smaller height."
        },
    )


@attrs.frozen(kw_only=True)
class MeanSquaredErrorConfig(_SizeConfig):
    """At which size pixels are compared."""


@attrs.frozen(kw_only=True)
class StructuralSimilarityConfig(_SizeConfig):
    """The Gaussian window of SSIM; the default is the paper's, 11 pixels a side.

    >>> StructuralSimilarityConfig().window_size
    11

    Raises:
        OptionError: the window is wider than `size`.
    """

    sigma: float = attrs.field(
        default=1.5,
        validator=gt(0),
        metadata={"help": "The width of the Gaussian window in pixels; it is cut off at 3.5 of them."},
    )

    def __attrs_post_init__(self) -> None:
        if self.size is not None and self.window_size > self.size:
            message = (
                f"The window of SSIM has {self.window_size} pixels a side with sigma {self.sigma:g}, but the pictures "
                f"are scaled to {self.size}: give a larger size or a smaller sigma."
            )
            raise OptionError(message)

    @property
    def window_size(self) -> int:
        """The side of the window in pixels."""
        return 2 * int(3.5 * self.sigma + 0.5) + 1


@attrs.frozen(kw_only=True)
class TextSimilarityConfig:
    """The cosine in a text encoder's space has no options."""


@attrs.frozen(kw_only=True)
class ImageSimilarityConfig:
    """The cosine in an image encoder's space has no options."""


@attrs.frozen(kw_only=True)
class KernelDistanceConfig:
    """The polynomial kernel ``(gamma x·y + coefficient)^degree`` of KID; the defaults are the paper's."""

    degree: int = attrs.field(
        default=3, validator=[instance_of(int), ge(1)], metadata={"help": "The degree of the kernel."}
    )
    gamma: float | None = attrs.field(
        default=None,
        validator=optional(gt(0)),
        metadata={"help": "The factor of the inner product; one over the number of features without it."},
    )
    coefficient: float = attrs.field(default=1.0, validator=ge(0), metadata={"help": "What is added to the product."})


@attrs.frozen(kw_only=True)
class FrechetDistanceConfig:
    """The Fréchet distance has no options."""
