"""The options of the searches, one class each."""

from __future__ import annotations

from typing import Any

import attrs
from attrs import validators

__all__ = ["BlackBoxConfig", "DrawConfig", "EvolutionConfig", "GradientConfig", "LinearConfig"]


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

    rounds: int = _count(6, "Rounds at most, each with one gradient.")
    points: int = _count(8, "Points on a ray that one call of the model is asked about.", least=2)
    depth: float = _positive(1e-3, "How far behind the boundary a step aims, in the score.")
    tolerance: float = _positive(3e-3, "Stop when no query has gained this share of its distance in a round.")


@attrs.frozen(kw_only=True)
class BlackBoxConfig:
    """Options of the search by answers alone."""

    neighbours: int = _count(3, "Known rows, decided as wanted, that each query is led towards.")
    donors: int = _count(10, "Known rows that hand over columns, where only some columns may change.")
    points: int = _count(6, "Points on a way that one call of the model is asked about.", least=2)
    stages: int = _count(2, "Calls that narrow a way down.")
    rounds: int = _count(2, "Rounds of thinning at most.", least=0)
    singles: int = _count(4, "Columns whose return is tried one by one in each round.")
    tolerance: float = _positive(0.01, "Thin only where it brings this share of the distance.")


@attrs.frozen(kw_only=True)
class EvolutionConfig:
    """Options of the search by mutation and crossing."""

    population: int = _count(20, "Rows that live at a time for each query.", least=4)
    generations: int = _count(30, "Generations at most.")
    mutation: float = _positive(
        1.0, "How far a child is shifted at first, as a share of what sets two known rows apart."
    )
    patience: int = _count(8, "Stop after so many generations in which no query has gained.")
    tolerance: float = _positive(1e-4, "What counts as a gain in d / (1 + d), where d is the distance.")


@attrs.frozen(kw_only=True)
class DrawConfig:
    """Options of drawing from the joint law."""

    draws: int = _count(100, "Draws that each step takes for each query.")
    rounds: int = _count(10, "Steps at most, each of which goes on from the draws before it.")
