"""The proxy gap: the objective against the pictures that the prompts make, and which score predicts them."""

from __future__ import annotations

import math
from html import escape

from preimage.chart import Curve, scatter_chart
from preimage.study.measures import Measure
from preimage.study.report.numbers import key
from preimage.study.report.ranges import range_rows, shown
from preimage.study.summary import Summary, value_of

__all__ = ["proxy_gap"]

_MOST_POINTS = 3000
"""A cloud of more points shows no more and makes the page heavy."""


def proxy_gap(summary: Summary) -> str:
    """Return the scatter of the objective and the truth, and how well each measure predicts the truth."""
    truth, objective = summary.truth, summary.objective
    if truth is None or objective is None or not summary.correlations:
        return ""
    known = [found for found in summary.correlations if not math.isnan(found.within.value)]
    pooled = ["" if math.isnan(found.pooled.value) else shown(found.pooled) for found in known]
    rows = range_rows(
        [(found.measure.title, found.within, None) for found in known],
        ends=(-1.0, 1.0),
        head=("score", "among the runs on one picture, on average"),
        beside=("among all runs", pooled),
    )
    order = list(summary.spec.recipes)
    own = range_rows(
        [(recipe, interval, order.index(recipe)) for recipe, interval in summary.of_methods.items()], ends=(-1.0, 1.0)
    )
    alone = f"<h3>“{escape(objective.title)}” among the runs of one method</h3>{own}" if own else ""
    return (
        '<p class="note">How well a cheap score tells which prompt makes the picture: rank correlation (Spearman) '
        f"with “{escape(truth.spoken)}”, turned so that 1 is a perfect predictor.</p>"
        f"{_scatter(summary, objective, truth)}{rows}{alone}"
    )


def _scatter(summary: Summary, objective: Measure, truth: Measure) -> str:
    """Return a chart with a point a run."""
    recipes = list(summary.spec.recipes)
    points: dict[str, list[tuple[float, float]]] = {recipe: [] for recipe in recipes}
    for record in summary.records:
        x, y = value_of(record, objective), value_of(record, truth)
        if x is not None and y is not None:
            points[record.key.recipe].append((x, y))
    if not any(points.values()):
        return ""
    clouds = [Curve(recipe, tuple(points[recipe][: _MOST_POINTS // len(recipes)])) for recipe in recipes]
    svg = scatter_chart(clouds, x_label=objective.title, y_label=truth.title)
    legend = "".join(key(recipe, index) for index, recipe in enumerate(recipes))
    return f'<figure class="wide">{svg}<figcaption class="legend">{legend}</figcaption></figure>'
