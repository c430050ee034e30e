"""Curves of loss against cost as inline SVG: no script, no font, no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import attrs

__all__ = ["Curve", "line_chart", "series", "ticks"]

_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 42


_COLOURS = 6


@attrs.frozen
class Curve:
    """One line of a chart: what it is called and its points, x ascending."""

    name: str
    points: tuple[tuple[float, float], ...]


def series(index: int) -> str:
    """Return the class by which the page's style knows the colour of curve `index`; colours repeat after six."""
    return f"series-{index % _COLOURS}"


def line_chart(curves: Sequence[Curve], *, x_label: str, y_label: str) -> str:
    """Return an SVG element with one step line a curve, which holds its value until the next point.

    Colours come from the page, see `series`.

    Arguments:
        curves: at least one, each with at least one point.
        x_label: what stands below the horizontal axis.
        y_label: what stands beside the vertical axis.
    """
    points = [point for curve in curves for point in curve.points]
    x_ticks = ticks(0.0, max(x for x, _ in points), count=4)
    y_ticks = ticks(min(y for _, y in points), max(y for _, y in points), count=5)
    x_end = max(x_ticks[-1], max(x for x, _ in points))
    low, high = y_ticks[0], y_ticks[-1]

    def across(x: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * x / x_end

    def down(y: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - y) / (high - low)

    bottom, middle = _HEIGHT - _BOTTOM, _LEFT + (_WIDTH - _LEFT - _RIGHT) / 2
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(y_label)} against {escape(x_label)}">'
    ]
    for y in y_ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{down(y):.1f}" y2="{down(y):.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 7}" y="{down(y) + 4:.1f}" text-anchor="end">{_number(y)}</text>')
    for x in x_ticks:
        parts.append(
            f'<text class="tick" x="{across(x):.1f}" y="{bottom + 17}" text-anchor="middle">{_number(x)}</text>'
        )
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(
        f'<text class="label" x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    centre = (_TOP + bottom) / 2
    parts.append(
        f'<text class="label" x="11" y="{centre:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 11 {centre:.0f})">{escape(y_label)}</text>'
    )
    for index, curve in enumerate(curves):
        x, y = curve.points[-1]
        parts.append(
            f'<g class="{series(index)}"><title>{escape(curve.name)}: {y:.4f} after {x:,.0f}</title>'
            f'<path class="line" d="{_path(curve, across, down)}"/>'
            f'<circle class="end" cx="{across(x):.1f}" cy="{down(y):.1f}" r="3.5"/></g>'
        )
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float, *, count: int) -> list[float]:
    """Return about `count` round numbers a constant step apart that enclose `low` to `high`.

    >>> ticks(0.0, 9700.0, count=4)
    [0.0, 2500.0, 5000.0, 7500.0, 10000.0]
    """
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _path(curve: Curve, across: Callable[[float], float], down: Callable[[float], float]) -> str:
    (x, y), *rest = curve.points
    commands = [f"M{across(x):.1f} {down(y):.1f}"]
    last = len(rest) - 1
    for index, (next_x, next_y) in enumerate(rest):
        # Where nothing improves, nothing is drawn, but the line does reach its end.
        if next_y != y or index == last:
            commands.append(f"H{across(next_x):.1f}")
        if next_y != y:
            commands.append(f"V{down(next_y):.1f}")
        y = next_y
    return "".join(commands)


def _text(text: str, x: float, y: float, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}"
