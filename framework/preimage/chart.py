"""Curves of loss against cost, and clouds of points, as inline SVG: no script, no font, no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import attrs

__all__ = ["Curve", "line_chart", "scatter_chart", "series", "shape", "ticks"]

_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 42


_COLOURS = 6


@attrs.frozen
class Curve:
    """One line or cloud of a chart: what it is called and its points, those of a line with x ascending."""

    name: str
    points: tuple[tuple[float, float], ...]


def series(index: int) -> str:
    """Return the class by which the page's style knows the colour of curve `index`; colours repeat after six."""
    return f"series-{index % _COLOURS}"


def line_chart(curves: Sequence[Curve], *, x_label: str, y_label: str, held: bool = False) -> str:
    """Return an SVG element with one step line a curve, which holds its value until the next point.

    Colours come from the page, see `series`.

    Arguments:
        curves: at least one with a point; one without keeps the colours of those behind it.
        x_label: what stands below the horizontal axis.
        y_label: what stands beside the vertical axis.
        held: whether curves that end early go on to the right edge, dashed.
    """
    points = [point for curve in curves for point in curve.points]
    frame = _Frame.around([(0.0, points[0][1]), *points])
    parts = frame.opening(x_label, y_label)
    for index, curve in enumerate(curves):
        if not curve.points:
            continue
        x, y = curve.points[-1]
        rest = f'<path class="line held" d="M{frame.across(x):.1f} {frame.down(y):.1f}H{_WIDTH - _RIGHT}"/>'
        parts.append(
            f'<g class="{series(index)}"><title>{escape(curve.name)}: {y:.4f} after {x:,.0f}</title>'
            f'<path class="line" d="{_path(curve, frame.across, frame.down)}"/>{rest if held else ""}'
            f'<circle class="end" cx="{frame.across(x):.1f}" cy="{frame.down(y):.1f}" r="3.5"/></g>'
        )
    return "".join([*parts, "</svg>"])


def scatter_chart(clouds: Sequence[Curve], *, x_label: str, y_label: str) -> str:
    """Return an SVG element with a mark a point; clouds differ in colour and in the shape of their marks.

    Arguments:
        clouds: at least one with a point; the order of points does not matter.
        x_label: what stands below the horizontal axis.
        y_label: what stands beside the vertical axis.
    """
    frame = _Frame.around([point for cloud in clouds for point in cloud.points])
    parts = frame.opening(x_label, y_label)
    for index, cloud in enumerate(clouds):
        marks = "".join(f"M{frame.across(x):.1f} {frame.down(y):.1f}{shape(index)}" for x, y in cloud.points)
        parts.append(
            f'<g class="{series(index)}"><title>{escape(cloud.name)}</title><path class="marks" d="{marks}"/></g>'
        )
    return "".join([*parts, "</svg>"])


def shape(index: int) -> str:
    """Return the mark of cloud `index` as relative commands of a path that starts at its middle.

    Colours repeat after six and meet other shapes then, so that 36 marks differ.

    >>> len({(series(index), shape(index)) for index in range(36)})
    36
    """
    shapes = (
        "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",  # circle
        "m-2.7 -2.7h5.4v5.4h-5.4z",  # square
        "m0 -3.6l3.4 5.9h-6.8z",  # triangle
        "m0 -3.8l3.8 3.8l-3.8 3.8l-3.8 -3.8z",  # diamond
        "m0 3.6l3.4 -5.9h-6.8z",  # triangle that stands on its tip
        "m-1.1 -3.4h2.2v2.3h2.3v2.2h-2.3v2.3h-2.2v-2.3h-2.3v-2.2h2.3z",  # plus
    )
    return shapes[(index + index // _COLOURS) % len(shapes)]


@attrs.frozen
class _Frame:
    """Where numbers stand in a chart."""

    x_ticks: list[float]
    y_ticks: list[float]

    @classmethod
    def around(cls, points: Sequence[tuple[float, float]]) -> _Frame:
        columns, rows = zip(*points, strict=True)
        return cls(ticks(min(columns), max(columns), count=4), ticks(min(rows), max(rows), count=5))

    def across(self, x: float) -> float:
        first, last = self.x_ticks[0], self.x_ticks[-1]
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (x - first) / (last - first)

    def down(self, y: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - y) / (high - low)

    def opening(self, x_label: str, y_label: str) -> list[str]:
        """Return the element's beginning with grid, axes and labels."""
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        middle, centre = _LEFT + (right - _LEFT) / 2, (_TOP + bottom) / 2
        parts = [
            f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'aria-label="{escape(y_label)} against {escape(x_label)}">'
        ]
        for y in self.y_ticks:
            place = self.down(y)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{place:.1f}" y2="{place:.1f}"/>')
            parts.append(
                f'<text class="tick" x="{_LEFT - 7}" y="{place + 4:.1f}" text-anchor="end">{_number(y)}</text>'
            )
        for x in self.x_ticks:
            place, text = self.across(x), _number(x)
            parts.append(f'<text class="tick" x="{place:.1f}" y="{bottom + 17}" text-anchor="middle">{text}</text>')
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        parts.append(
            f'<text class="label" x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
        )
        parts.append(
            f'<text class="label" x="11" y="{centre:.0f}" text-anchor="middle" '
            f'transform="rotate(-90 11 {centre:.0f})">{escape(y_label)}</text>'
        )
        return parts


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


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}"
