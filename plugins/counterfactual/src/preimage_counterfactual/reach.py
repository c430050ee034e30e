"""What may be answered to each query of a batch: bounds and directions as seen from where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage.errors import InputError
from preimage_counterfactual.simplex import nearest_in_simplex
from preimage_counterfactual.space import limited

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.space import TableSpace

__all__ = ["TableReach", "around"]


@attrs.frozen(eq=False, kw_only=True, slots=False)
class TableReach:
    """The rows of a table that may answer each of N queries; see `preimage.api.Reach`.

    Attributes:
        space: the table's columns.
        reference: the queries, encoded, ``(N, D)``.
        raw_reference: the queries in the table's units, ``(N, D)``; NaN where a number is missing.
        lower: the least features, ``(N, D)``; the query itself always lies between lower and upper.
        upper: the greatest features, ``(N, D)``.
        raw_lower: the least values in the table's units, ``(N, D)``: scaled and back, they might be off by a rounding.
        raw_upper: the greatest values in the table's units, ``(N, D)``.
    """

    space: TableSpace
    reference: Tensor
    raw_reference: Tensor
    lower: Tensor
    upper: Tensor
    raw_lower: Tensor
    raw_upper: Tensor

    @cached_property
    def free(self) -> Tensor:
        """Which floats a search may move, bool ``(N, D)``."""
        return (self.upper > self.lower) & ~self.space.follower

    @property
    def groups(self) -> tuple[slice, ...]:
        """The positions of each one-hot block."""
        return self.space.groups

    @property
    def columns(self) -> Tensor:
        """The number of the column that each float belongs to, ``(D,)``; a one-hot group counts as one."""
        return self.space.column_of

    def project(self, features: Tensor, run: Tensor) -> Tensor:
        """Return the nearest rows within bounds whose blocks sum to 1 and whose followers follow, ``(B, D)``."""
        rows = torch.clamp(features, self.lower[run], self.upper[run])
        for group in self.groups:
            rows[:, group] = nearest_in_simplex(rows[:, group], self.lower[run, group], self.upper[run, group])
        return self._completed(rows, run)

    def round(self, features: Tensor, run: Tensor) -> Tensor:
        """Return the nearest rows that can be written down, ``(B, D)``."""
        lower, upper = self.lower[run], self.upper[run]
        rows = torch.clamp(features, lower, upper)
        for group in self.groups:
            level = torch.where(upper[:, group] > 0, rows[:, group], -torch.inf).argmax(dim=1)
            rows[:, group] = torch.nn.functional.one_hot(level, group.stop - group.start).to(rows)
        if self._exact:
            return self._completed(rows, run)
        rows = self._snapped(rows, run)
        return rows if self.space.follow_matrix is None else self._snapped(self._completed(rows, run), run)

    def pull_back(self, gradient: Tensor) -> Tensor:
        """Return a gradient, ``(..., D)``, whose followers' part is handed to the columns that they follow."""
        matrix = self.space.follow_matrix
        return gradient if matrix is None else gradient @ matrix.T

    def raw(self, features: Tensor, run: Tensor) -> Tensor:
        """Return rounded rows in the table's units, ``(B, D)``; a cell that has not moved is the query's own."""
        raw = torch.clamp(self.space.to_raw(features), self.raw_lower[run], self.raw_upper[run])
        return torch.where(features == self.reference[run], self.raw_reference[run], raw)

    def rows(self, features: Tensor, run: Tensor) -> Any:
        """Return rounded rows as a table: what the user's model is asked about."""
        return self.space.write(self.raw(features, run))

    def repeated(self, times: int) -> TableReach:
        """Return the reach of every query `times` in a row."""
        tensors = {name: getattr(self, name).repeat_interleave(times, dim=0) for name in _TENSORS}
        return TableReach(space=self.space, **tensors)

    def held(self, values: Tensor, held: Tensor) -> TableReach:
        """Return the reach where some floats, bool ``(N, D)``, have the values that rounding makes of `values`."""
        values = self.round(values, torch.arange(len(values)))
        raw = self.space.to_raw(values)
        return attrs.evolve(
            self,
            lower=torch.where(held, values, self.lower),
            upper=torch.where(held, values, self.upper),
            raw_lower=torch.where(held, raw, self.raw_lower),
            raw_upper=torch.where(held, raw, self.raw_upper),
        )

    @cached_property
    def _exact(self) -> bool:
        """Whether every float is a value that can be written down."""
        return not self.space.digits and not bool(self.space.single.any())

    def _snapped(self, rows: Tensor, run: Tensor) -> Tensor:
        """Return rows at values that can be written down; where that is the query's value, exactly the query."""
        raw = torch.clamp(self.space.to_raw(rows), self.raw_lower[run], self.raw_upper[run])
        reference = self.reference[run]
        unmoved = (rows == reference) | (raw == self.raw_reference[run])
        return torch.where(unmoved, reference, self.space.from_raw(raw))

    def _completed(self, rows: Tensor, run: Tensor) -> Tensor:
        matrix = self.space.follow_matrix
        if matrix is None:
            return rows
        reference = self.reference[run]
        followed = reference + (rows - reference) @ matrix
        return torch.where(self.space.follower, torch.clamp(followed, self.lower[run], self.upper[run]), rows)


_TENSORS = ("reference", "raw_reference", "lower", "upper", "raw_lower", "raw_upper")


def around(
    space: TableSpace,
    queries: Any,
    *,
    ranges: Mapping[Any, Sequence[Any]] | Sequence[Mapping[Any, Sequence[Any]]] | None = None,
    vary: Sequence[Any] | None = None,
) -> TableReach:
    """Return what may be answered to each query.

    A query outside the bounds stays feasible: they reach as far as it, and whatever lies between may be answered.

    Arguments:
        space: the columns.
        queries: a table.
        ranges: by column as for `TableSpace`, for all queries, or one mapping for each of them; within the ranges that
            the space was given, and beyond bounds that it has only read off its table.
        vary: the columns that may change; without it all that are not immutable.

    Raises:
        InputError: a range leaves nothing, or there is not one for each query.
        UnknownNameError: there is no such column.
    """
    raw = space.raw(queries)
    reference = space.from_raw(raw)
    lower, upper = (bound.expand_as(raw).clone() for bound in (space.raw_lower, space.raw_upper))
    given = [ranges] * len(raw) if ranges is None or isinstance(ranges, Mapping) else list(ranges)
    if len(given) != len(raw):
        message = (
            f"There are {len(raw)} queries and {len(given)} mappings of ranges: give one mapping for each, or one."
        )
        raise InputError(message)
    if ranges:
        for query, limits in enumerate(given):
            for name, limit in (limits or {}).items():
                column = limited(space.column(name), limit)
                span = space.spans[space.places[name]]
                if column.scalar:
                    lower[query, span], upper[query, span] = column.bounds
                elif column.permitted is not None:
                    permitted = [float(level in column.permitted) for level in column.levels]
                    upper[query, span] = torch.tensor(permitted).double()
    for column, span in zip(space.columns, space.spans, strict=True):
        if column.change == "increase":
            lower[:, span] = torch.maximum(lower[:, span], raw[:, span])
        elif column.change == "decrease":
            upper[:, span] = torch.minimum(upper[:, span], raw[:, span])
    still = space.frozen.expand_as(raw) | raw.isnan()
    if vary is not None:
        may = torch.zeros(space.width, dtype=torch.bool)
        for name in vary:
            column = space.column(name)
            unit = int(space.column_of[space.spans[space.places[column.name]].start])
            may |= space.column_of == unit
        still = still | ~(may | space.follower)
    known = raw.nan_to_num(nan=0.0)
    lower = torch.where(still, known, torch.minimum(lower, known))
    upper = torch.where(still, known, torch.maximum(upper, known))
    bounds = [torch.where(bound == known, reference, space.from_raw(bound)) for bound in (lower, upper)]
    bounds = [torch.where(raw.isnan(), reference, bound) for bound in bounds]
    return TableReach(
        space=space,
        reference=reference,
        raw_reference=raw,
        lower=bounds[0],
        upper=bounds[1],
        raw_lower=lower,
        raw_upper=upper,
    )
