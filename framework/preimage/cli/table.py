"""Aligned plain-text tables."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["aligned"]


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Return one line per row, columns two spaces apart.

    >>> aligned([("name", "ms"), ("gcg", "3.5")], right=[1])
    ['name   ms', 'gcg   3.5']

    Arguments:
        rows: of equal lengths.
        right: the columns that are set against their right edge.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
