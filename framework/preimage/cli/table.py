"""Aligned plain-text tables."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["aligned", "terminal_width"]


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), width: int = 0) -> list[str]:
    """Return the lines of a table, columns two spaces apart.

    >>> aligned([("name", "ms"), ("gcg", "3.5")], right=[1])
    ['name   ms', 'gcg   3.5']

    Arguments:
        rows: of equal lengths.
        right: the columns that are set against their right edge.
        width: where the last column is wrapped; 0 for nowhere.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(broad) if index in right else cell.ljust(broad)
            for index, (cell, broad) in enumerate(zip(row, widths, strict=True))
        ]
        lines += _wrapped("  ".join(cells).rstrip(), sum(widths[:-1]) + 2 * (len(widths) - 1), width)
    return lines


def _wrapped(line: str, indent: int, width: int) -> list[str]:
    if not width or len(line) <= width or width - indent < 20:
        return [line]
    import textwrap

    rest = textwrap.wrap(line[indent:], width - indent)
    return [line[:indent] + rest[0], *(" " * indent + more for more in rest[1:])]


def terminal_width() -> int:
    """Return how wide the terminal is, or 0 where the output is read by something else, which wraps by itself."""
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
