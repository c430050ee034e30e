"""What a column is: its kind, bounds and levels, and how it may change."""

from __future__ import annotations

from typing import Any, Literal, get_args

import attrs
import numpy as np

from preimage.errors import InputError

__all__ = ["Change", "Column", "Kind", "infer", "within_present"]

Kind = Literal["numeric", "integer", "ordinal", "categorical", "binary"]
Change = Literal["both", "increase", "decrease", "none"]

_MISSING = None
"""What stands for a missing value among the levels of a categorical column."""


@attrs.frozen(kw_only=True)
class Column:
    """One column of a table.

    >>> Column(name="age", kind="integer", lower=18, upper=90, change="increase").scalar
    True
    """

    name: Any
    kind: Kind = attrs.field(validator=attrs.validators.in_(get_args(Kind)))
    """``numeric``, ``integer``, ``ordinal`` (levels in an order), ``categorical`` or ``binary`` (two levels)."""
    lower: float = -np.inf
    """The least value; of an ordinal or binary column the first level that may be answered, from 0."""
    upper: float = np.inf
    """The greatest value."""
    levels: tuple[Any, ...] = ()
    """The values of a column that is no number; for an ordinal one in their order."""
    permitted: tuple[Any, ...] | None = None
    """The levels that a categorical column may be changed to; all of them without it."""
    bounded: bool = False
    """Whether these bounds were declared, and not only read off a table."""
    change: Change = attrs.field(default="both", validator=attrs.validators.in_(get_args(Change)))
    """Which way it may move."""
    follows: tuple[Any, ...] = ()
    """The columns that it is computed from: its conditional expectation given what changed."""
    decimals: int | None = None
    """Digits after the point of a numeric column; as many as the number has without it."""
    single: bool = False
    """Whether its numbers have single precision."""

    @property
    def scalar(self) -> bool:
        """Whether it is one float; otherwise it is a one-hot block."""
        return self.kind != "categorical"

    @property
    def grid(self) -> float:
        """The step between values, 0 where there is none."""
        if self.kind == "numeric":
            return 0.0 if self.decimals is None else 10.0**-self.decimals
        return 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest of the values within its limits that can be written down."""
        if not self.grid:
            return self.lower, self.upper
        steps = np.ceil(self.lower / self.grid - 1e-9), np.floor(self.upper / self.grid + 1e-9)
        return float(steps[0] * self.grid), float(steps[1] * self.grid)

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Return values as numbers, ``(B,)`` float64: of a column with levels the place of each, NaN where missing.

        Missing is a level of its own in a categorical column, which has no number for it otherwise.

        Raises:
            InputError: a value is no number, or no level of the column.
        """
        if not self.levels:
            try:
                return np.asarray(values, dtype=np.float64)
            except (TypeError, ValueError) as error:
                message = (
                    f"Column {self.name!r} is {self.kind} and holds {_example(values)!r}, which is no number: declare "
                    "it categorical, or clean it."
                )
                raise InputError(message) from error
        places = {level: float(place) for place, level in enumerate(self.levels)}
        numbers = np.empty(len(values))
        for row, value in enumerate(values.tolist()):
            missing = value is None or value != value
            value = _MISSING if missing else value
            place = places.get(value)
            if place is None and not (missing and self.scalar):
                message = (
                    f"Column {self.name!r} holds {value!r} in row {row}, and its levels are "
                    f"{', '.join(map(repr, self.levels[:12]))}{', …' * (len(self.levels) > 12)}: fit the space on a "
                    "table that has it, or declare the levels."
                )
                raise InputError(message)
            numbers[row] = np.nan if place is None else place
        return numbers

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """Return what `numbers`, ``(B,)``, stand for; the reverse of `numbers`."""
        if not self.levels:
            return numbers
        levels = np.empty(len(self.levels), dtype=object)
        levels[:] = self.levels
        missing = np.isnan(numbers)
        if not missing.any() and all(isinstance(level, int | float) for level in self.levels):
            levels = np.array(self.levels)
        found = levels[np.where(missing, 0, numbers).astype(np.int64)]
        if missing.any():
            found[missing] = None
        return found


def infer(name: Any, values: np.ndarray, levels: tuple[Any, ...] = (), ordered: bool = False) -> Column:
    """Return what a column's values say it is.

    Floats that are all whole numbers are integers. Two values other than fractions make a binary column. Anything
    that is no number is categorical, or ordinal where its type declares an order. Bounds are the least and the
    greatest value. A column with one value only has nowhere to go and may not change.

    Arguments:
        name: of the column.
        values: ``(N,)``.
        levels: what its type declares.
        ordered: whether those have an order.

    Raises:
        InputError: there is no value at all, or one is infinite.
    """
    present = [value for value in dict.fromkeys(values.tolist()) if value is not None and value == value]
    if not present:
        message = f"Column {name!r} holds nothing but missing values: drop it."
        raise InputError(message)
    change: Change = "both" if len(present) > 1 else "none"
    if values.dtype == object or values.dtype.kind not in "iufb" or levels:
        missing = any(value is None or value != value for value in values.tolist())
        known = levels or tuple(sorted(present, key=lambda value: (str(type(value)), value)))
        if ordered:
            return Column(name=name, kind="ordinal", levels=known, lower=0, upper=len(known) - 1, change=change)
        if len(known) == 2 and not missing:
            return Column(name=name, kind="binary", levels=known, lower=0, upper=1, change=change)
        return Column(name=name, kind="categorical", levels=known + ((_MISSING,) if missing else ()), change=change)
    finite = values[~np.isnan(values)].astype(np.float64) if values.dtype.kind == "f" else values.astype(np.float64)
    if np.isinf(finite).any():
        message = f"Column {name!r} holds infinity: replace it by a number or drop the row."
        raise InputError(message)
    single = values.dtype == np.float32
    whole = bool((finite == np.rint(finite)).all())
    if whole and len(present) == 2:
        pair = tuple(sorted(present))
        return Column(name=name, kind="binary", levels=pair, lower=0, upper=1, change=change, single=single)
    kind: Kind = "integer" if whole else "numeric"
    return Column(name=name, kind=kind, lower=finite.min(), upper=finite.max(), change=change, single=single)


def within_present(column: Column, values: np.ndarray) -> Column:
    """Return a column that may be changed to levels that occur; where they have an order, to all between two that do.

    A type may declare more, which a model has not seen either. They remain levels of the column.
    """
    if not column.levels:
        return column
    numbers = column.numbers(values)
    places = np.unique(numbers[~np.isnan(numbers)]).astype(int).tolist()
    if column.scalar:
        return attrs.evolve(column, lower=places[0], upper=places[-1])
    if len(places) == len(column.levels):
        return column
    return attrs.evolve(column, permitted=tuple(column.levels[place] for place in places))


def _example(values: np.ndarray) -> Any:
    for value in values.tolist():
        try:
            float(value)
        except (TypeError, ValueError):
            return value
    return values[0]
