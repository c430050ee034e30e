"""A table's rows as points of a space: typed columns, what may change, and one codec to floats and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np
import torch

from preimage.errors import InputError, UnknownNameError, nearest
from preimage_counterfactual.columns import Change, Column, Kind, infer, within_present
from preimage_counterfactual.groups import check_group, detect_groups
from preimage_counterfactual.tables import Table, read_table, whole_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.reach import TableReach

__all__ = ["TableSpace"]


class TableSpace:
    """Typed columns of a pandas, polars or numpy table; see `preimage.api.FeatureSpace`.

    Kinds and bounds are read off the table, and whatever is declared goes before what is read.

    Arguments:
        table: rows that say what values there are, and how columns go together.
        kinds: of columns by name: ``numeric``, ``integer``, ``ordinal``, ``categorical``, ``binary``.
        levels: of ordinal, categorical and binary columns, in their order; without it those that the column's type
            declares, of which only those that occur are answered.
        ranges: ``(least, greatest)`` of numbers, None for no limit; of other columns a list of permitted levels.
        immutable: columns that no answer may change.
        change: ``both``, ``increase``, ``decrease`` or ``none``, by column.
        follows: by column, the columns that it is computed from: it moves as they let expect, by regression.
        one_hot: groups of 0/1 columns of which exactly one is 1 in every row, as names; ``"detect"`` finds those that
            share the beginning of their names.
        missing: ``"refuse"`` raises; ``"keep"`` lets a missing cell stay missing, and the row be measured as if the
            cell held the mean; in a categorical column, missing is a level of its own.
        decimals: digits after the point of numeric columns.

    Raises:
        InputError: the table or a declaration cannot be used; the message says why.
        UnknownNameError: a declaration names a column that the table does not have.

    >>> import numpy as np
    >>> space = TableSpace(np.array([[1.5, 0.0], [2.5, 1.0], [4.0, 1.0]]), immutable=[1])
    >>> [column.kind for column in space.columns], space.frozen.tolist()
    (['numeric', 'binary'], [False, True])
    >>> space.decode(space.encode(np.array([[2.5, 1.0]])))
    array([[2.5, 1. ]])
    """

    def __init__(
        self,
        table: Any,
        *,
        kinds: Mapping[Any, Kind] | None = None,
        levels: Mapping[Any, Sequence[Any]] | None = None,
        ranges: Mapping[Any, Sequence[Any]] | None = None,
        immutable: Sequence[Any] = (),
        change: Mapping[Any, Change] | None = None,
        follows: Mapping[Any, Sequence[Any]] | None = None,
        one_hot: Literal["detect"] | Sequence[Sequence[Any]] = "detect",
        missing: Literal["refuse", "keep"] = "refuse",
        decimals: Mapping[Any, int] | None = None,
    ) -> None:
        self.table = read_table(table)
        if len(self.table) < 2:
            message = (
                f"The table has {len(self.table)} row{'s' * (len(self.table) != 1)}, which show neither bounds nor "
                "spread: give the rows that the model was trained on, or some of them."
            )
            raise InputError(message)
        self.missing = missing
        self._refuse_missing(self.table)
        declared: dict[str, Any] = {
            "kinds": kinds,
            "levels": levels,
            "ranges": ranges,
            "change": change,
            "follows": follows,
        }
        declared |= {"immutable": dict.fromkeys(immutable, "none"), "decimals": decimals}
        for what, given in declared.items():
            self._check_names(given or {}, what)
        self.columns: tuple[Column, ...] = tuple(
            _declared(self.table, position, {what: (given or {}) for what, given in declared.items()})
            for position in range(len(self.table.names))
        )
        for column in self.columns:
            self._check_names(column.follows, f"what {column.name!r} follows")
        members = detect_groups(self.table, self.columns) if one_hot == "detect" else [list(group) for group in one_hot]
        for group in members:
            self._check_names(group, "one_hot")
            check_group(self.table, self.columns, group)
        self._lay_out(members)
        raw = self.raw(self.table)
        self.offset, self.scale = self._standard(raw)
        self.data = self.from_raw(raw)
        self.follow_matrix = self._regressions()

    @property
    def device(self) -> torch.device:
        """Where encoded rows live: the processor, which is where tables are."""
        return torch.device("cpu")

    @property
    def names(self) -> tuple[Any, ...]:
        """The columns' names."""
        return self.table.names

    @cached_property
    def places(self) -> dict[Any, int]:
        """The position of each column among the columns."""
        return {name: place for place, name in enumerate(self.names)}

    def column(self, name: Any) -> Column:
        """Return a column by its name.

        Raises:
            UnknownNameError: the table has none of that name.
        """
        self._check_names([name], "a column")
        return self.columns[self.places[name]]

    def encode(self, table: Any) -> Tensor:
        """Return rows as floats, ``(B, D)`` float64.

        Raises:
            InputError: columns or values are not those that the space knows.
        """
        return self.from_raw(self.raw(table))

    def decode(self, features: Tensor) -> Any:
        """Return encoded rows, ``(B, D)``, as a table like the one that the space was made from."""
        return self.write(self.to_raw(features))

    def around(self, queries: Any, **limits: Any) -> TableReach:
        """Return what may be answered to each row of a table; `limits` are those of `around`."""
        from preimage_counterfactual.reach import around

        return around(self, queries, **limits)

    def read(self, table: Any) -> Table:
        """Return a table's columns in the order of the space, without the columns that it does not know.

        Raises:
            InputError: a column is missing, or a cell is and may not be.
        """
        given = read_table(table, self.names if self.table.library is None else None)
        if given.names != self.names:
            lacking = [name for name in self.names if name not in given.names]
            if lacking:
                message = (
                    f"The table has no column {', '.join(map(repr, lacking))}, and the space was made from one that "
                    f"has: give all of {list(self.names)}."
                )
                raise InputError(message)
            place = {name: index for index, name in enumerate(given.names)}
            picked = tuple(given.columns[place[name]] for name in self.names)
            given = attrs.evolve(given, names=self.names, columns=picked, types=self.table.types)
        self._refuse_missing(given)
        return given

    def raw(self, table: Any) -> Tensor:
        """Return rows in the units of the table, ``(B, D)``: numbers, levels' places, one-hot blocks; or NaN."""
        given = self.read(table)
        if self._plain:
            return torch.from_numpy(np.stack([np.asarray(column, np.float64) for column in given.columns], axis=1))
        raw = np.zeros((len(given), self.width))
        for column, values, span in zip(self.columns, given.columns, self.spans, strict=True):
            numbers = column.numbers(values)
            self._refuse_fractions(column.name, numbers)
            if column.scalar:
                raw[:, span.start] = numbers
            else:
                raw[np.arange(len(raw)), span.start + numbers.astype(np.int64)] = 1.0
        return torch.from_numpy(raw)

    def from_raw(self, raw: Tensor) -> Tensor:
        """Return rows in the units of the table as features; a missing number is the mean."""
        return ((raw - self.offset) / self.scale).nan_to_num(nan=0.0)

    def to_raw(self, features: Tensor) -> Tensor:
        """Return features in the units of the table, where whole numbers are whole again."""
        raw = features * self.scale + self.offset
        for digits, positions in self.digits:
            raw[:, positions] = raw[:, positions].round(decimals=digits)
        if self.single.any():
            raw[:, self.single] = raw[:, self.single].float().double()
        return raw

    def write(self, raw: Tensor) -> Any:
        """Return rows in the units of the table, ``(B, D)``, as a table."""
        if self._plain:
            return self.table.like(list(raw.numpy().T)) if self.table.library else raw.numpy().copy()
        numbers = raw.numpy()
        columns = []
        for column, span in zip(self.columns, self.spans, strict=True):
            cell = numbers[:, span.start] if column.scalar else numbers[:, span].argmax(axis=1).astype(np.float64)
            columns.append(column.values(cell))
        return self.table.like(columns)

    def _lay_out(self, members: Sequence[Sequence[Any]]) -> None:
        """Give every column its place among the floats; the columns of a group lie side by side."""
        group_of = {name: index for index, group in enumerate(members) for name in group}
        spans: dict[Any, slice] = {}
        groups: list[slice] = []
        owners: list[int] = []
        for column in self.columns:
            if column.name in spans:
                continue
            together = members[group_of[column.name]] if column.name in group_of else [column.name]
            unit, begin = (owners[-1] + 1 if owners else 0), len(owners)
            for name in together:
                one = self.columns[self.places[name]]
                spans[name] = slice(len(owners), len(owners) + (1 if one.scalar else len(one.levels)))
                owners += [unit] * (spans[name].stop - spans[name].start)
            if len(together) > 1 or not column.scalar:
                groups.append(slice(begin, len(owners)))
        self.spans: tuple[slice, ...] = tuple(spans[name] for name in self.names)
        self.groups: tuple[slice, ...] = tuple(groups)
        self.width = len(owners)
        self.column_of = torch.tensor(owners)
        self.units: tuple[tuple[Any, ...], ...] = tuple(
            tuple(name for name in self.names if owners[spans[name].start] == unit) for unit in range(owners[-1] + 1)
        )
        in_group = torch.zeros(self.width, dtype=torch.bool)
        for group in groups:
            in_group[group] = True
        self.in_group = in_group
        lower, upper = torch.zeros(self.width).double(), torch.ones(self.width).double()
        frozen, follower, single = (torch.zeros(self.width, dtype=torch.bool) for _ in range(3))
        digits: dict[int, list[int]] = {}
        for column, span in zip(self.columns, self.spans, strict=True):
            unit_positions = (self.column_of == owners[span.start]).nonzero().flatten()
            if column.change == "none":
                frozen[unit_positions] = True
            if column.scalar:
                lower[span], upper[span] = column.bounds
                single[span] = column.single
                follower[span] = bool(column.follows)
                if column.grid:
                    digits.setdefault(column.decimals or 0, []).append(span.start)
            elif column.permitted is not None:
                upper[span] = torch.tensor([float(level in column.permitted) for level in column.levels]).double()
        self.raw_lower, self.raw_upper = lower, upper
        self.frozen, self.follower, self.single = frozen, follower, single
        self.digits = tuple((number, torch.tensor(positions)) for number, positions in digits.items())
        self._plain = (
            all(column.kind == "numeric" or (column.scalar and not column.levels) for column in self.columns)
            and all(kind == np.float64 for kind in self.table.types)
            and [span.start for span in self.spans] == list(range(self.width))
        )

    def _standard(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of numbers, 0 and 1 of the rest, ``(D,)`` each."""
        offset, scale = torch.zeros(self.width).double(), torch.ones(self.width).double()
        for column, span in zip(self.columns, self.spans, strict=True):
            if column.kind in ("numeric", "integer", "ordinal") and not self.in_group[span].any():
                present = raw[:, span.start][~raw[:, span.start].isnan()]
                spread = float(present.std(correction=0)) if len(present) else 0.0
                offset[span] = present.mean() if len(present) else 0.0
                scale[span] = spread if spread > 1e-12 * max(1.0, float(present.abs().max())) else 1.0
        return offset, scale

    def _regressions(self) -> Tensor | None:
        """Return how a step of all floats follows from one of those that lead, ``(D, D)``; None if nothing follows."""
        for column in self.columns:
            chained = any(self.column(name).follows for name in column.follows)
            if column.follows and (not column.scalar or chained or column.name in column.follows):
                message = (
                    f"Column {column.name!r} cannot follow {list(column.follows)}: followers are numbers, and what "
                    "they follow follows nothing itself. Name the columns at the beginning of the chain."
                )
                raise InputError(message)
        if not self.follower.any():
            return None
        matrix = torch.diag((~self.follower).double())
        centred = self.data - self.data.mean(dim=0)
        for column, span in zip(self.columns, self.spans, strict=True):
            if not column.follows:
                continue
            leaders = [place for name in column.follows for place in range(self.width)[self.spans[self.places[name]]]]
            led = centred[:, leaders]
            gram = led.T @ led + 1e-9 * len(led) * torch.eye(len(leaders)).double()
            matrix[leaders, span.start] = torch.linalg.solve(gram, led.T @ centred[:, span.start])
        return matrix

    def _refuse_missing(self, table: Table) -> None:
        if self.missing == "keep":
            return
        for name, values in zip(table.names, table.columns, strict=True):
            gaps = (
                sum(value is None or value != value for value in values.tolist())
                if values.dtype == object
                else int(np.count_nonzero(np.isnan(values)))
                if values.dtype.kind == "f"
                else 0
            )
            if gaps:
                message = (
                    f"Column {name!r} misses {gaps} of {len(values)} values: fill them or drop the rows, or make the "
                    'space with missing="keep", where a missing cell stays missing.'
                )
                raise InputError(message)

    def _refuse_fractions(self, name: Any, numbers: np.ndarray) -> None:
        if not whole_numbers(self.table.types[self.places[name]]):
            return
        lost = np.isfinite(numbers) & (numbers != np.rint(numbers))
        if lost.any():
            row = int(lost.argmax())
            message = (
                f"Column {name!r} holds {numbers[row]} in row {row}, and it is of whole numbers in the table that the "
                "space was made from: round it, or make the space from a table where the column is of floats."
            )
            raise InputError(message)

    def _check_names(self, names: Any, what: str) -> None:
        for name in names:
            if name not in self.places:
                hint = nearest(str(name), [str(known) for known in self.names])
                message = (
                    f"There is no column {name!r}, which {what} names; the table has "
                    f"{', '.join(map(repr, self.names[:20]))}{', …' * (len(self.names) > 20)}.{hint}"
                )
                raise UnknownNameError(message)


def _declared(table: Table, position: int, declared: Mapping[str, Mapping[Any, Any]]) -> Column:
    """Return a column as its values say, overridden by what is declared."""
    name, values = table.names[position], table.columns[position]
    levels = tuple(declared["levels"].get(name, table.levels.get(name, ())))
    kind = declared["kinds"].get(name)
    column = infer(name, values, levels, name in table.ordered or kind == "ordinal")
    if kind is not None and kind != column.kind:
        column = _as_kind(column, kind, values)
    if name not in declared["levels"] and name in table.levels:
        column = within_present(column, values)
    column = attrs.evolve(
        column,
        decimals=declared["decimals"].get(name),
        follows=tuple(declared["follows"].get(name, ())),
        change=declared["immutable"].get(name, declared["change"].get(name, column.change)),
    )
    if column.change in ("increase", "decrease") and not column.scalar:
        message = (
            f"Column {name!r} is categorical, and its levels have no order to {column.change} in: declare it ordinal "
            "with its levels in order."
        )
        raise InputError(message)
    return limited(column, declared["ranges"][name]) if name in declared["ranges"] else column


def _as_kind(column: Column, kind: Kind, values: np.ndarray) -> Column:
    """Return a column as another kind than it looks like."""
    if kind in ("numeric", "integer"):
        numbers = attrs.evolve(column, kind=kind, levels=()).numbers(values)
        low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
        return attrs.evolve(column, kind=kind, levels=(), lower=low, upper=high)
    present = column.levels or tuple(
        sorted({value for value in values.tolist() if value == value and value is not None})
    )
    if kind == "binary" and len(present) != 2:
        message = f"Column {column.name!r} is declared binary and has {len(present)} values: declare it categorical."
        raise InputError(message)
    if kind == "categorical":
        return attrs.evolve(column, kind=kind, levels=present, lower=-np.inf, upper=np.inf)
    return attrs.evolve(column, kind=kind, levels=present, lower=0, upper=len(present) - 1)


def limited(column: Column, limits: Any) -> Column:
    """Return a column within limits, which are two numbers or a list of levels, and within those declared before.

    Raises:
        InputError: the limits are not of that form, leave nothing, or name a level that there is not.
    """
    return _between(column, limits) if not column.levels else _among(column, limits)


def _between(column: Column, limits: Any) -> Column:
    try:
        low, high = limits
        low = -np.inf if low is None else float(low)
        high = np.inf if high is None else float(high)
    except (TypeError, ValueError) as error:
        message = (
            f"The range of column {column.name!r} is {limits!r}: give two numbers, (least, greatest), with None for no "
            "limit."
        )
        raise InputError(message) from error
    if not low <= high:
        message = f"The range of column {column.name!r} is {low} to {high}, which holds nothing: swap the two."
        raise InputError(message)
    within = attrs.evolve(column, lower=low, upper=high, bounded=True)
    if column.bounded:
        within = attrs.evolve(within, lower=max(low, column.lower), upper=min(high, column.upper))
    least, greatest = within.bounds
    if not least <= greatest:
        declared = f" within the {column.lower} to {column.upper} that it was declared to have" * column.bounded
        message = (
            f"The range of column {column.name!r} is {low} to {high}, which holds no value that it can have{declared}: "
            "widen it."
        )
        raise InputError(message)
    return within


def _among(column: Column, limits: Any) -> Column:
    named = list(limits) if isinstance(limits, Iterable) and not isinstance(limits, str) else [limits]
    strange = [level for level in named if level not in column.levels]
    if strange or not named:
        message = (
            f"The range of column {column.name!r} is {limits!r}, and its levels are {list(column.levels)!r}: "
            "name some of these in a list."
        )
        raise InputError(message)
    if column.kind == "categorical":
        before = column.permitted if column.bounded and column.permitted is not None else column.levels
        within = attrs.evolve(column, permitted=tuple(level for level in named if level in before), bounded=True)
        empty = not within.permitted
    else:
        places = [column.levels.index(level) for level in named]
        within = attrs.evolve(column, lower=min(places), upper=max(places), bounded=True)
        if column.bounded:
            within = attrs.evolve(within, lower=max(within.lower, column.lower), upper=min(within.upper, column.upper))
        empty = within.lower > within.upper
    if empty:
        message = (
            f"The range of column {column.name!r} is {named!r}, and it was declared to have none of these: name others."
        )
        raise InputError(message)
    return within
