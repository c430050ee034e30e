"""One-hot groups that are already in a table: 0/1 columns of which exactly one is 1 in every row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from preimage.errors import InputError
from preimage_counterfactual.columns import Column
from preimage_counterfactual.tables import Table

__all__ = ["check_group", "detect_groups"]


def detect_groups(table: Table, columns: Sequence[Column]) -> list[list[Any]]:
    """Return groups of binary columns that share the beginning of their names and sum to 1 in every row.

    ``job_nurse`` and ``job=nurse`` begin with ``job``. Two columns alone are a group, too. Numbered columns of arrays
    have no names to go by: declare their groups.
    """
    begun: dict[str, list[Any]] = {}
    for column in columns:
        if column.kind == "binary" and _is_indicator(column) and isinstance(column.name, str):
            found = re.match(r"(.+)[_=.:-][^_=.:-]*$", column.name)
            if found:
                begun.setdefault(found[1], []).append(column.name)
    return [names for names in begun.values() if len(names) > 1 and (_sums(table, names) == 1).all()]


def check_group(table: Table, columns: Sequence[Column], names: Sequence[Any]) -> None:
    """Raise unless columns are a one-hot group.

    Raises:
        InputError: a column is not 0/1, or a row does not have exactly one 1.
    """
    kinds = {column.name: column for column in columns}
    for name in names:
        constant = (
            kinds[name].kind == "integer" and kinds[name].lower == kinds[name].upper and kinds[name].lower in (0, 1)
        )
        if not constant and not (kinds[name].kind == "binary" and _is_indicator(kinds[name])):
            message = f"Column {name!r} is declared part of a one-hot group and holds more than 0 and 1: leave it out."
            raise InputError(message)
    sums = _sums(table, names)
    if not (sums == 1).all():
        row = int((sums != 1).argmax())
        message = (
            f"In row {row}, {sums[row]:.0f} of the columns {list(names)} are 1; in a one-hot group exactly one is: "
            "leave the group out or add the level that is missing."
        )
        raise InputError(message)


def _is_indicator(column: Column) -> bool:
    return [float(level) for level in column.levels if isinstance(level, int | float)] == [0.0, 1.0]


def _sums(table: Table, names: Sequence[Any]) -> np.ndarray:
    place = {name: index for index, name in enumerate(table.names)}
    sums: np.ndarray = np.stack([table.columns[place[name]].astype(np.float64) for name in names]).sum(axis=0)
    return sums
