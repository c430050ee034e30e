"""The objectives' options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from attrs.validators import ge, gt, in_, instance_of, le, optional

__all__ = [
    "ClassLikelihoodConfig",
    "ClipSimilarityConfig",
    "DenoisingConfig",
    "FluencyConfig",
    "RegenerationConfig",
    "TargetLikelihoodConfig",
    "TextDistanceConfig",
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
    """What the gradient of a text's likelihood tells; the loss has nothing to choose."""

    own_likelihood: bool = attrs.field(
        default=False,
        validator=instance_of(bool),
        metadata={
            "help": "Let the gradient tell how likely every token would be in its own place, too, which is most of "
            "what a swap of words does to fluency; it costs a forward pass for each token. Without it the gradient is "
            "the slope at the input embeddings alone: how a token changes what is expected behind it."
        },
    )


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
    margin: float | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(float),
        validator=optional(ge(0.0)),
        metadata={
            "help": "Be content when the class leads the likeliest other one by so many nats: the loss is what is "
            "missing, and 0 from there on. Without it the loss is the negative log-probability, never content."
        },
    )


@attrs.frozen(kw_only=True)
class TextDistanceConfig:
    """Which distance between texts is taken.

    >>> TextDistanceConfig(options={"normalised": False}).distance
    'edit-distance'
    """

    distance: str = attrs.field(
        default="edit-distance",
        validator=instance_of(str),
        metadata={"help": "The distance's name; one that asks for a model is given the term's."},
    )
    options: Mapping[str, Any] = attrs.field(
        factory=dict, converter=dict, metadata={"help": "The distance's own options, as JSON on the command line."}
    )


@attrs.frozen(kw_only=True)
class DenoisingConfig:
    """At which timesteps a diffusion model is asked, and with which noise."""

    n_timesteps: int = attrs.field(
        default=8,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "How many timesteps the mean is over; each costs one pass of the network."},
    )
    lowest: float = attrs.field(
        default=0.0,
        converter=float,
        validator=[ge(0.0), le(1.0)],
        metadata={"help": "Where their range begins: 0 is the least noisy timestep of the training."},
    )
    highest: float = attrs.field(
        default=1.0,
        converter=float,
        validator=[ge(0.0), le(1.0)],
        metadata={"help": "Where their range ends: 1 is pure noise."},
    )
    spacing: str = attrs.field(
        default="even",
        validator=in_(("even", "random")),
        metadata={"help": "Whether they are evenly spaced (even) or drawn by the seed (random)."},
    )
    seed: int = attrs.field(
        default=0,
        validator=instance_of(int),
        metadata={"help": "Of the noises, which are the same for every prompt and picture."},
    )
    relative: bool = attrs.field(
        default=False,
        validator=instance_of(bool),
        metadata={"help": "Subtract the loss of the empty prompt: below zero a prompt says more than nothing."},
    )
    batch_size: int = attrs.field(
        default=16,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Noisy pictures in one pass of the network at most; halved when memory runs out."},
    )

    @highest.validator
    def _is_a_range(self, _attribute: object, highest: float) -> None:
        if highest <= self.lowest:
            message = f"The range of timesteps from {self.lowest} to {highest} is empty: set highest above lowest."
            raise ValueError(message)


@attrs.frozen(kw_only=True)
class RegenerationConfig:
    """Which generator makes pictures of the prompts, and how many."""

    generator: str = attrs.field(
        validator=instance_of(str),
        metadata={"help": "The image generator's reference, such as `sd:stabilityai/stable-diffusion-2-1`."},
    )
    generator_options: Mapping[str, Any] = attrs.field(
        factory=dict,
        converter=dict,
        metadata={"help": "Of the generator's loader, such as its steps, as JSON on the command line."},
    )
    n_pictures: int = attrs.field(
        default=2,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Pictures made of each prompt; the mean of their similarities counts."},
    )
    seed: int = attrs.field(
        default=1000,
        validator=[instance_of(int), ge(0)],
        metadata={"help": "Of the first picture; the others have the next ones. Each prompt gets the same."},
    )
