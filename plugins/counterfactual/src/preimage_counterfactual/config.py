"""The options of the searches, one class each."""

from __future__ import annotations

from typing import Any

import attrs
from attrs import validators

__all__ = ["GradientConfig", "LinearConfig"]


def _count(default: int, help_text: str, least: int = 1) -> Any:
    return attrs.field(
        default=default, validator=[validators.instance_of(int), validators.ge(least)], metadata={"help": help_text}
    )


def _positive(default: float, help_text: str) -> Any:
    return attrs.field(default=default, converter=float, validator=validators.gt(0), metadata={"help": help_text})


@attrs.frozen(kw_only=True)
class LinearConfig:
    """Options of the closed form."""

    rounds: int = _count(10, "Half-spaces at most: how often another class, or rounding, may undo a solution.")
    depth: float = _positive(1e-6, "How far behind the boundary answers are, in the score.")


@attrs.frozen(kw_only=True)
class GradientConfig:
    """Options of the search by gradients."""

    rounds: int = _count(10, "Rounds at most, each with one gradient.")
    points: int = _count(8, "Points on a ray that one call of the model is asked about.", least=2)
    depth: float = _positive(1e-3, "How far behind the boundary a step aims, in the score.")
    tolerance: float = _positive(1e-3, "Stop when no query has gained this share of its distance in a round.")
