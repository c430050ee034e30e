"""The methods' numbers as tables: each measure with its interval, and what cannot be told from the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from preimage.chart import series, shape
from preimage.study.measures import Measure
from preimage.study.report.ranges import number, range_rows, shown
from preimage.study.set_distances import FEW, SetDistance
from preimage.study.statistics import SIGNIFICANT, against_best
from preimage.study.summary import Cell, Summary

__all__ = ["against_captioner", "key", "methods", "sets"]

_GROUPS = {
    "pictures": "What the prompts make",
    "objective": "What is optimised, and its like",
    "text": "Against the true prompt",
    "readability": "Readability",
    "cost": "Cost",
}

_IN_WHAT = (
    "image-similarity/shared",
    "image-similarity/fresh",
    "held-out-similarity",
    "scene-attributes",
    "picture-attributes/shared",
    "text-similarity",
)
"""The measures in which each method is set against the captioner."""


def key(name: str, index: int) -> str:
    """Return a recipe's name with the mark of its colour and shape."""
    mark = f'<svg class="key" viewBox="-6 -6 12 12" aria-hidden="true"><path d="M0 0{shape(index)}"/></svg>'
    return f'<span class="method {series(index)}">{mark}{escape(name)}</span>'


def methods(summary: Summary) -> str:
    """Return a table for each group of measures, with a row a recipe."""
    tables = []
    for group, title in _GROUPS.items():
        measures = [measure for measure in summary.measures if measure.group == group]
        if measures:
            tables.append(f"<h3>{escape(title)}</h3>{_table(summary, measures)}")
    legend = (
        '<p class="note"><b class="best">Bold</b>: the best mean. <span class="tied">Shaded</span>: not told from it '
        f"by a paired test over pictures (signs flipped, two-sided, {SIGNIFICANT:.0%}, corrected by Holm and for the "
        f"best being whichever turned out so). An arrow says which way is better.{_power(summary)}</p>"
    )
    meanings = "".join(
        f"<dt>{escape(measure.title)}</dt><dd>{escape(measure.meaning)}.</dd>" for measure in summary.measures
    )
    return f"{legend}{''.join(tables)}<details><summary>What the measures are</summary><dl>{meanings}</dl></details>"


def _power(summary: Summary) -> str:
    """Return a warning where there are so few pictures that the test can never tell two methods apart."""
    pictures, recipes = len(summary.spec.images), len(summary.spec.recipes)
    # Of all choices of signs, that all differences point one way has a share of two in 2^n.
    if recipes < 2 or min(against_best([2.0 ** (1 - pictures)] * (recipes - 1))) < SIGNIFICANT:
        return ""
    noun = "picture" if pictures == 1 else "pictures"
    return f" With {pictures} {noun} and {recipes} methods it can tell none from the best, however far it is."


def _table(summary: Summary, measures: Sequence[Measure]) -> str:
    heads = "".join(
        f'<th scope="col" class="number" title="{escape(measure.meaning)}">{escape(measure.title)} '
        f'<span class="way">{"↑" if measure.higher_is_better else "↓"}</span></th>'
        for measure in measures
    )
    last = ""
    if any(measure.name in summary.of_truth for measure in measures):
        truths = [summary.of_truth.get(measure.name) for measure in measures]
        cells = "".join(_cell(None if truth is None else Cell(truth, False, None, None)) for truth in truths)
        last = f'<tr class="true"><th scope="row"><span class="method">the true prompts</span></th>{cells}</tr>'
    return _matrix(
        summary,
        heads,
        lambda recipe: "".join(_cell(summary.cells[measure.name].get(recipe)) for measure in measures),
        last,
    )


def _matrix(summary: Summary, heads: str, cells: Callable[[str], str], last: str = "") -> str:
    """Return a table with a row a recipe, from the cells of its head, those of each recipe, and a row below."""
    rows = "".join(
        f'<tr><th scope="row">{key(recipe, index)}</th>{cells(recipe)}</tr>'
        for index, recipe in enumerate(summary.spec.recipes)
    )
    return (
        f'<div class="scroll"><table><thead><tr><th scope="col">method</th>{heads}</tr></thead>'
        f"<tbody>{rows}{last}</tbody></table></div>"
    )


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return '<td class="number">\N{EN DASH}</td>'
    style = "best" if cell.best else "tied" if cell.tied else "behind"
    title = ""
    if cell.difference is not None and cell.p_value is not None:
        title = f' title="from the best {escape(shown(cell.difference))}, p = {cell.p_value:.3g}"'
    interval = ""
    if math.isfinite(cell.interval.low):
        interval = f'<span class="interval">{number(cell.interval.low)} \N{EN DASH} {number(cell.interval.high)}</span>'
    return f'<td class="number {style}"{title}><span class="value">{number(cell.interval.value)}</span>{interval}</td>'


def sets(summary: Summary, distances: Sequence[SetDistance]) -> str:
    """Return a table of the distances between all targets and all pictures of a method."""
    if not distances:
        return ""
    names = list(dict.fromkeys(found.name for found in distances))
    by_key = {(found.recipe, found.name): found for found in distances}
    heads = "".join(
        f'<th scope="col" class="number">{escape(name.upper())} <span class="way">↓</span></th>' for name in names
    )
    most = max(found.pictures for found in distances)
    table = _matrix(summary, heads, lambda recipe: "".join(_set_cell(by_key.get((recipe, name))) for name in names))
    few = (
        f" With {most:,} pictures a Fréchet distance (FID) is far too large, and only its order is of interest."
        if most < FEW and any(found.standard_error is None for found in distances)
        else ""
    )
    return (
        f"<h3>All pictures together</h3>{table}"
        '<p class="note">Between the targets and the pictures made on the shared seeds, by the encoder that compares '
        f"pictures. ± is the standard error over targets.{few}</p>"
    )


def _set_cell(found: SetDistance | None) -> str:
    if found is None:
        return '<td class="number">\N{EN DASH}</td>'
    error = "" if found.standard_error is None else f'<span class="interval">± {found.standard_error:.2g}</span>'
    value = f"{found.value:.3g}".replace("-", "\N{MINUS SIGN}")
    return f'<td class="number"><span class="value">{value}</span>{error}</td>'


def against_captioner(summary: Summary) -> str:
    """Return by how much each other method is better than the best captioner, in what matters most."""
    captioners = summary.of_kind("captioner")
    others = summary.of_kind("optimizer", "refined caption")
    measures = [measure for name in _IN_WHAT if (measure := summary.measure(name))]
    if not captioners or not others or not measures:
        return ""
    order = list(summary.spec.recipes)
    parts = []
    for measure in measures:
        captioner = summary.strongest(measure, captioners)
        against = f", against {escape(captioner)}" if len(captioners) > 1 else ""
        rows = [(recipe, summary.difference(measure, [recipe], [captioner]), order.index(recipe)) for recipe in others]
        parts.append(f"<h4>{escape(measure.title)}{against}</h4>{range_rows(rows)}")
    return (
        f"<h3>Better than {escape(captioners[0]) if len(captioners) == 1 else 'the best captioner'} by</h3>"
        f'<p class="note">Paired differences over pictures with 95% intervals; right of zero is better.</p>'
        f'<div class="beside">{"".join(f"<div>{part}</div>" for part in parts)}</div>'
    )
