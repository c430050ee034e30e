"""Intervals as bars on one scale, each with its name and numbers beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from preimage.chart import series, ticks
from preimage.study.statistics import Interval

__all__ = ["number", "range_rows", "shown"]

_MINUS = "\N{MINUS SIGN}"


def number(value: float) -> str:
    """Return a number for people, with as many digits as tell something.

    >>> [number(value) for value in (0.12345, -0.5, 12.345, 1234.5, 2.34e14)]
    ['0.123', '\N{MINUS SIGN}0.500', '12.3', '1,234', '2.3e14']
    """
    if not math.isfinite(value):
        return "?" if math.isnan(value) else ("\N{INFINITY}" if value > 0 else f"{_MINUS}\N{INFINITY}")
    size = abs(value)
    if size >= 1e6:
        return f"{value:.2g}".replace("e+", "e").replace("-", _MINUS)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 4 else 3
    text = f"{size:,.{digits}f}"
    return f"{_MINUS}{text}" if value < 0 and float(text.replace(",", "")) else text


def shown(interval: Interval) -> str:
    """Return an interval for people.

    >>> shown(Interval(0.5, 0.25, 0.75, 10))
    '0.500 [0.250, 0.750]'
    """
    return f"{number(interval.value)} [{number(interval.low)}, {number(interval.high)}]"


def range_rows(
    rows: Sequence[tuple[str, Interval, int | None]],
    *,
    ends: tuple[float, float] | None = None,
    head: tuple[str, str] | None = None,
    beside: tuple[str, Sequence[str]] | None = None,
) -> str:
    """Return a table with a row a name: its interval as a bar, and in numbers.

    Arguments:
        rows: name, interval, and the number of the method whose colour it gets.
        ends: of the scale; around zero and all finite numbers without it.
        head: what the names and the intervals are.
        beside: what one more column is, and its text for each row.
    """
    if not rows:
        return ""
    numbers = [
        value
        for _, interval, _ in rows
        for value in (interval.value, interval.low, interval.high)
        if math.isfinite(value)
    ]
    scale = ticks(*(ends or (min([0.0, *numbers]), max([0.0, *numbers]))), count=4)
    low, high = scale[0], scale[-1]

    def place(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / (high - low)

    zero = f'<i class="zero" style="left:{place(0):.2f}%"></i>'
    texts = [""] * len(rows)
    if beside is not None:
        # Where there is no room for a column of its own, the style puts what it is before each text.
        texts = [f'<td class="number" data-of="{escape(beside[0])}">{escape(text)}</td>' for text in beside[1]]
    body = "".join(
        f'<tr{"" if index is None else f" class={series(index)}"}><th scope="row">{escape(name)}</th>'
        f'<td class="bar"><div class="range">{zero}{_bar(interval, place)}</div></td>'
        f'<td class="number">{escape(shown(interval))}</td>{text}</tr>'
        for (name, interval, index), text in zip(rows, texts, strict=True)
    )
    marks = "".join(
        f'<span style="left:{place(tick):.2f}%">{f"{tick:g}".replace("-", _MINUS)}</span>' for tick in scale
    )
    last = "" if beside is None else "<td></td>"
    titles = ""
    if head is not None:
        more = "" if beside is None else f'<th scope="col" class="number">{escape(beside[0])}</th>'
        titles = (
            f'<thead><tr><th scope="col">{escape(head[0])}</th><th scope="col" colspan="2" class="bar">'
            f"{escape(head[1])}</th>{more}</tr></thead>"
        )
    return (
        f'<div class="ranges"><table>{titles}<tbody>{body}</tbody><tfoot><tr><td></td>'
        f'<td class="bar"><div class="scale">{marks}</div></td><td></td>{last}</tr></tfoot></table></div>'
    )


def _bar(interval: Interval, place: Callable[[float], float]) -> str:
    if math.isnan(interval.value):
        return ""
    left, right = place(interval.low), place(interval.high)
    return (
        f'<i class="whisker" style="left:{left:.2f}%;width:{max(right - left, 0.6):.2f}%"></i>'
        f'<i class="dot" style="left:{place(interval.value):.2f}%"></i>'
    )
