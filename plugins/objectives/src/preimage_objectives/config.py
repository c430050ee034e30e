"""The objectives' options."""

from __future__ import annotations

import attrs
from attrs.validators import gt, instance_of, optional

__all__ = [
    "ClassLikelihoodConfig",
    "ClipSimilarityConfig",
    "FluencyConfig",
    "TargetLikelihoodConfig",
    "TextSimilarityConfig",
]


@attrs.frozen(kw_only=True)
class ClipSimilarityConfig:
    """The similarity of a prompt to pictures or texts has nothing to choose: model and targets say it all."""


@attrs.frozen(kw_only=True)
class TextSimilarityConfig:
    """The similarity of a prompt to texts has nothing to choose: model and targets say it all."""


@attrs.frozen(kw_only=True)
class FluencyConfig:
    """How natural a text is has nothing to choose: the language model says it all."""


@attrs.frozen(kw_only=True)
class TargetLikelihoodConfig:
    """How the log-probabilities of the target's tokens become one number."""

    separator: str = attrs.field(
        default=" ",
        validator=instance_of(str),
        metadata={"help": "What stands between the prompt and the target text."},
    )
    use_mellowmax: bool = attrs.field(
        default=False,
        validator=instance_of(bool),
        metadata={"help": "Weigh the least likely tokens most, instead of taking the mean."},
    )
    mellowmax_alpha: float = attrs.field(
        default=1.0,
        converter=float,
        validator=gt(0.0),
        metadata={"help": "How much they weigh: near 0 gives the mean, large values the least likely token alone."},
    )


@attrs.frozen(kw_only=True)
class ClassLikelihoodConfig:
    """Which class a text should be given."""

    label: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "The class for all targets; without it each target is a label."},
    )
