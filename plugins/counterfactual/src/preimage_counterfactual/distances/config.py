"""The options of the distances."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import attrs
from attrs.validators import ge, gt, in_, instance_of, lt

from preimage.errors import OptionError

__all__ = [
    "Categories",
    "Classes",
    "Encoder",
    "Face",
    "GowerConfig",
    "JointConfig",
    "JointLatentConfig",
    "Kernel",
    "L0Config",
    "L1Config",
    "L2Config",
    "MADConfig",
    "MahalanobisConfig",
    "Margins",
]

Face = Literal["search-cost", "closeness", "metric"]
Classes = Literal["pooled", "shared", "transport"]
Kernel = Literal["sigma", "euclidean"]
Margins = Literal["gaussian", "copula"]
Categories = Literal["kernel", "covariance"]
Encoder = Literal["flow", "vae"]


def _correlation(instance: Any, attribute: Any, value: Any) -> None:
    """Raise unless `value` is ``"auto"`` or a correlation from 0 up to, but without, 1."""
    if value == "auto":
        return
    if not isinstance(value, float) or not 0 <= value < 1:
        message = (
            f"r = {value!r} is no correlation that a row and its counterfactual can have: at 0 the row is forgotten, "
            "at 1 there is nothing but the row. Give a number from 0 up to, but without, 1, or 'auto'."
        )
        raise OptionError(message)


def _shrinkage(instance: Any, attribute: Any, value: Any) -> None:
    """Raise unless `value` is ``"ledoit-wolf"`` or a share."""
    if value == "ledoit-wolf":
        return
    if not isinstance(value, float) or not 0 <= value <= 1:
        message = (
            f"shrinkage = {value!r} is no share: give 'ledoit-wolf', or a number from 0 (the covariance of the data "
            "as it is) to 1 (no correlation at all)."
        )
        raise OptionError(message)


def _number_or_word(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _shrinkage_field() -> Any:
    return attrs.field(
        default="ledoit-wolf",
        converter=_number_or_word,
        validator=_shrinkage,
        metadata={
            "help": "How far correlations are drawn to zero: `ledoit-wolf`, or a share from 0 to 1. At 0 a singular "
            "covariance is inverted as far as it goes, and steps that leave the data's plane cost nothing."
        },
    )


def _correlation_field() -> Any:
    return attrs.field(
        default="auto",
        converter=_number_or_word,
        validator=_correlation,
        metadata={
            "help": "The correlation of a row with its counterfactual, from 0 (any plausible row will do) towards 1 "
            "(as near as possible): r to 1 - r is closeness to plausibility. `auto` takes it from the data."
        },
    )


@attrs.frozen(kw_only=True)
class L0Config:
    """How changed columns are counted."""

    tolerance: float = attrs.field(
        default=1e-5,
        converter=float,
        validator=[ge(0.0), lt(math.inf)],
        metadata={"help": "A column that moves by no more than this, in standard deviations, has not changed."},
    )


@attrs.frozen(kw_only=True)
class L1Config:
    """The sum of absolute differences has no options."""


@attrs.frozen(kw_only=True)
class L2Config:
    """The Euclidean distance has no options."""


@attrs.frozen(kw_only=True)
class GowerConfig:
    """Gower's distance has no options."""


@attrs.frozen(kw_only=True)
class MADConfig:
    """How absolute differences are scaled by the columns' spread."""

    whitened: bool = attrs.field(
        default=False,
        validator=instance_of(bool),
        metadata={"help": "Undo the columns' correlation before adding up; without correlation nothing changes."},
    )
    shrinkage: float | str = _shrinkage_field()


@attrs.frozen(kw_only=True)
class MahalanobisConfig:
    """How the covariance is estimated."""

    shrinkage: float | str = _shrinkage_field()


@attrs.frozen(kw_only=True)
class JointConfig:
    """Which joint law of a row and its counterfactual, and which of its faces is the distance.

    Raises:
        OptionError: r is no correlation, or the face has nothing to say at this r.
    """

    r: float | str = _correlation_field()
    face: Face = attrs.field(
        default="search-cost",
        validator=in_(get_args(Face)),
        metadata={
            "help": "What calling the distance answers: `search-cost`, for finding counterfactuals; `closeness`, "
            "symmetric, what the pair has in common; `metric`, for judging and for neighbours."
        },
    )
    classes: Classes = attrs.field(
        default="pooled",
        validator=in_(get_args(Classes)),
        metadata={
            "help": "`pooled`: one law for all rows; `shared`: a mean for each class and one covariance within "
            "classes; `transport`: a covariance for each class, coupled by optimal transport. The last two ask for "
            "labels."
        },
    )
    kernel: Kernel = attrs.field(
        default="sigma",
        validator=in_(get_args(Kernel)),
        metadata={
            "help": "The shape of closeness: `sigma`, like the data's covariance; `euclidean`, round, so that "
            "directions in which the data vary little are drawn to the mean more."
        },
    )
    margins: Margins = attrs.field(
        default="gaussian",
        validator=in_(get_args(Margins)),
        metadata={
            "help": "`gaussian`: columns as they are; `copula`: by their normal scores, for columns of any shape."
        },
    )
    categories: Categories = attrs.field(
        default="kernel",
        validator=in_(get_args(Categories)),
        metadata={
            "help": "Nominal columns: `kernel`, kept with probability r and else drawn anew, numbers following "
            "the category's mean; `covariance`, their one-hot floats taken as numbers."
        },
    )
    shrinkage: float | str = _shrinkage_field()

    def __attrs_post_init__(self) -> None:
        _check_face(self.face, self.r)


@attrs.frozen(kw_only=True)
class JointLatentConfig:
    """Which encoder is fitted, and the joint law of the codes.

    Raises:
        OptionError: r is no correlation, or the face has nothing to say at this r.
    """

    r: float | str = _correlation_field()
    face: Face = attrs.field(
        default="search-cost",
        validator=in_(get_args(Face)),
        metadata={"help": "What calling the distance answers; see the distance `joint`."},
    )
    encoder: Encoder = attrs.field(
        default="flow",
        validator=in_(get_args(Encoder)),
        metadata={"help": "What is fitted where no encoder is given: `flow`, invertible; `vae`, with fewer codes."},
    )
    density: bool = attrs.field(
        default=False,
        validator=instance_of(bool),
        metadata={
            "help": "Add how the flow stretches space at the counterfactual to the search cost, which makes it a "
            "density of rows instead of codes. Only a flow can tell."
        },
    )
    layers: int = attrs.field(
        default=6, validator=[instance_of(int), ge(1)], metadata={"help": "Coupling layers of the flow."}
    )
    hidden: int = attrs.field(
        default=32, validator=[instance_of(int), ge(1)], metadata={"help": "Width of each layer's small network."}
    )
    codes: int = attrs.field(
        default=8, validator=[instance_of(int), ge(1)], metadata={"help": "Codes of the VAE, at most one a column."}
    )
    steps: int = attrs.field(default=300, validator=[instance_of(int), ge(0)], metadata={"help": "Steps of training."})
    learning_rate: float = attrs.field(
        default=5e-3,
        converter=float,
        validator=[gt(0.0), lt(math.inf)],
        metadata={"help": "The learning rate of Adam, falling to zero over the steps."},
    )
    seed: int = attrs.field(
        default=0, validator=[instance_of(int), ge(0)], metadata={"help": "What the first weights are drawn from."}
    )

    def __attrs_post_init__(self) -> None:
        _check_face(self.face, self.r)


def _check_face(face: str, r: float | str) -> None:
    if face != "search-cost" and r == 0:
        message = (
            f"At r = 0 a row and its counterfactual have nothing to do with each other, so that the face {face!r} is "
            "zero everywhere: give an r above 0, or take the face 'search-cost'."
        )
        raise OptionError(message)
