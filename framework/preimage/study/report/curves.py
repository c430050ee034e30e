"""Loss against what has been spent: the mean over a method's runs, for each unit of cost."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from preimage.chart import Curve, line_chart
from preimage.study.record import Mark, Record
from preimage.study.report.numbers import key
from preimage.study.summary import Summary

__all__ = ["curves", "mean_curve"]

_POINTS = 120
"""A curve is asked for so many amounts: a chart has hardly more pixels that tell them apart."""

_COSTS: dict[str, Callable[[Mark], float]] = {
    "candidates scored": lambda mark: float(mark.candidates),
    "rows through a model": lambda mark: float(mark.passes),
    "seconds": lambda mark: mark.seconds,
}


def curves(summary: Summary) -> str:
    """Return charts of the mean best loss; recipes with different objectives share no chart."""
    groups: dict[str, list[str]] = {}
    for recipe, pipeline in summary.spec.recipes.items():
        groups.setdefault(json.dumps(pipeline.get("terms"), sort_keys=True, default=str), []).append(recipe)
    parts = []
    for recipes in groups.values():
        charts = _charts(summary, recipes)
        if charts:
            objective = _objective(summary.spec.recipes[recipes[0]])
            title = f"<h3>{escape(objective)}</h3>" if len(groups) > 1 else ""
            parts.append(f'{title}<div class="beside">{charts}{_legend(summary, recipes)}</div>')
    if not parts:
        return ""
    note = (
        "The best loss so far, as the search itself sees it, on average over the runs of a method. A curve begins when "
        "all its runs have scored something and is dashed from where the last of them has ended."
    )
    return f'<p class="note">{note}</p>{"".join(parts)}'


def _charts(summary: Summary, recipes: Sequence[str]) -> str:
    order = list(summary.spec.recipes)
    of_recipe: dict[str, list[Record]] = {recipe: [] for recipe in recipes}
    for record in summary.records:
        if record.key.recipe in of_recipe and record.trajectory:
            of_recipe[record.key.recipe].append(record)
    charts = []
    for label, cost in _COSTS.items():
        # An empty curve keeps the colours of those behind it.
        lines = [
            Curve(recipe, mean_curve([record.trajectory for record in of_recipe.get(recipe, ())], cost))
            for recipe in order
        ]
        if any(line.points for line in lines):
            svg = line_chart(lines, x_label=label, y_label="mean best loss", held=True)
            charts.append(f"<figure>{svg}</figure>")
    return "".join(charts)


def mean_curve(
    trajectories: Sequence[Sequence[Mark]], cost: Callable[[Mark], float]
) -> tuple[tuple[float, float], ...]:
    """Return the mean of step curves, from where all have begun to where the last ends.

    >>> marks = [[Mark(1, 1, 0.1, 0.5), Mark(3, 3, 0.3, 0.25)], [Mark(2, 2, 0.2, 0.75)]]
    >>> curve = mean_curve(marks, lambda mark: float(mark.candidates))
    >>> curve[0], curve[-1]
    ((2.0, 0.625), (3.0, 0.5))
    """
    runs = [([cost(mark) for mark in marks], [mark.best_loss for mark in marks]) for marks in trajectories if marks]
    if not runs:
        return ()
    first, last = max(spent[0] for spent, _ in runs), max(spent[-1] for spent, _ in runs)
    amounts = [first + (last - first) * place / _POINTS for place in range(_POINTS)] + [last]
    points = []
    for amount in amounts if last > first else [last]:
        values = [losses[bisect_right(spent, amount) - 1] for spent, losses in runs]
        points.append((amount, sum(values) / len(values)))
    return tuple(points)


def _objective(pipeline: Mapping[str, Any]) -> str:
    terms = pipeline.get("terms") or ()
    return " + ".join(str(term.get("objective", "?")) for term in terms)


def _legend(summary: Summary, recipes: Sequence[str]) -> str:
    order = list(summary.spec.recipes)
    return f'<p class="legend">{"".join(key(recipe, order.index(recipe)) for recipe in recipes)}</p>'
