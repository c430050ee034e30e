"""When a search ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from preimage.api.events import Spent
from preimage.errors import BudgetError

if TYPE_CHECKING:
    from preimage.track import Track

__all__ = ["Budget", "Limits"]


def _number(value: Any) -> Any:
    """Return the number that a text says, because YAML takes ``1e-3`` for a text, and anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _whole(value: Any) -> Any:
    """Return a whole number as an integer, however it is written, and anything else as it is."""
    value = _number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _positive(_budget: Budget, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        wrong = f"{value!r} is not a number"
    elif not value > 0:
        wrong = f"{value} allows nothing"
    elif math.isinf(value):
        wrong = f"{value} is never reached"
    else:
        return
    message = f"{attribute.name}={wrong}: give a number above 0, or leave it out for no such limit."
    raise BudgetError(message)


def _counts(_budget: Budget, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, float):
        message = f"{attribute.name}={value} is not a whole number: give one above 0, or leave it out."
        raise BudgetError(message)


def _finite(_budget: Budget, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)):
        return
    message = f"{attribute.name}={value!r} is not a number to compare with: give the loss at which to stop, or none."
    raise BudgetError(message)


def _count(help_text: str) -> Any:
    return attrs.field(default=None, converter=_whole, validator=[_positive, _counts], metadata={"help": help_text})


@attrs.frozen(kw_only=True)
class Budget:
    """Limits of one stage, per target; whichever is reached first ends it.

    `num_steps` and `max_candidates` are kept exactly, so that methods can be compared at equal cost;
    `max_passes` and `max_seconds` are looked at after each step.

    Raises:
        BudgetError: a limit allows nothing, or there is none at all.

    >>> Budget(num_steps=250, patience=50).describe()
    'num_steps=250, patience=50'
    """

    num_steps: int | None = _count("Steps of the optimizer.")
    max_candidates: int | None = _count("Candidates whose loss is asked for.")
    max_passes: int | None = _count("Rows through a model, forward and backward.")
    max_seconds: float | None = attrs.field(
        default=None, converter=_number, validator=_positive, metadata={"help": "Wall-clock time."}
    )
    patience: int | None = _count("Stop after this many steps without an improvement.")
    target_loss: float | None = attrs.field(
        default=None,
        converter=_number,
        validator=_finite,
        metadata={"help": "Stop as soon as the best loss is this low."},
    )

    def __attrs_post_init__(self) -> None:
        # What has been scored before costs no pass, so that passes alone might never be spent.
        if self.num_steps is None and self.max_candidates is None and self.max_seconds is None:
            message = (
                f"The budget has {self.describe() or 'no limit'}, so the search might never end: give at least one of "
                "num_steps, max_candidates and max_seconds."
            )
            raise BudgetError(message)

    def spent_by(self, steps: int, spent: Spent) -> str | None:
        """Return which limit `steps` and `spent` have reached, or None."""
        reached = {
            "num_steps": (self.num_steps, steps),
            "max_candidates": (self.max_candidates, spent.candidates),
            "max_passes": (self.max_passes, spent.forward + spent.backward),
            "max_seconds": (self.max_seconds, spent.seconds),
        }
        for name, (limit, value) in reached.items():
            if limit is not None and value >= limit:
                return name
        return None

    def candidates_left(self, spent: Spent) -> int | None:
        """Return how many more candidates may be scored, or None for any number."""
        return None if self.max_candidates is None else max(0, self.max_candidates - spent.candidates)

    def to_dict(self) -> dict[str, float]:
        """Return the limits that are set."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}

    def describe(self) -> str:
        """Return the limits that are set, for tables and messages."""
        return ", ".join(f"{name}={value}" for name, value in self.to_dict().items())


@attrs.frozen
class Limits:
    """What a run may spend: in its stage, and in all stages together."""

    stage: Budget
    total: Budget | None = None

    def spent_by(self, track: Track) -> str | None:
        """Return which limit a run has reached, or None."""
        reached = self.stage.spent_by(track.step, track.spent_in_stage)
        if reached is None and self.total is not None:
            return self.total.spent_by(len(track.trajectory), track.spent)
        return reached

    def candidates_left(self, track: Track) -> int | None:
        """Return how many more candidates a run may have scored, or None for any number."""
        left = [self.stage.candidates_left(track.spent_in_stage)]
        if self.total is not None:
            left.append(self.total.candidates_left(track.spent))
        return min((number for number in left if number is not None), default=None)
