"""All numbers of a study: means with intervals, what differs from the best, and which cheap score predicts the truth.

A method's number for a picture is the mean over its runs on that picture; its number for the study is the mean over
pictures, with an interval from drawing pictures again. Two methods are compared on the pictures that both have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np

from preimage.study.measures import COSTS, OF_TRUTH, Measure, as_options, measures_of
from preimage.study.statistics import (
    SIGNIFICANT,
    Array,
    Difference,
    Interval,
    against_best,
    bootstrap,
    interval_of_mean,
    rank_correlation,
    sign_flip_test,
)

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue
    from preimage.study.record import Record
    from preimage.study.spec import Spec
    from preimage.study.store import Store

__all__ = ["Cell", "Correlation", "Kind", "Summary", "paired_difference", "summarise", "value_of", "values_of"]

Kind = Literal["captioner", "optimizer", "refined caption"]

TRUTHS = ("image-similarity/shared", "image-similarity/fresh")
"""What the other measures are to predict: the first that was measured."""

_ELEMENTS = 500_000
"""So many numbers of resampled runs are ranked at once: 4 MB."""


@attrs.frozen
class Cell:
    """One method's number for one measure."""

    interval: Interval
    best: bool
    difference: Interval | None
    """From the best method, on the pictures that both have, above zero where this one is higher; None for the best, and
    where methods do not compare, as losses of different objectives."""
    p_value: float | None
    """Of the difference, corrected for as many pairs as there are methods to choose the best and the other from."""

    @property
    def tied(self) -> bool:
        """Whether this method cannot be told from the best."""
        return self.p_value is not None and self.p_value >= SIGNIFICANT


@attrs.frozen
class Correlation:
    """How well a measure predicts the similarity of regenerated pictures, both turned so that 1 is perfect."""

    measure: Measure
    within: Interval
    """The mean over pictures of the rank correlation across the runs on one picture."""
    pooled: Interval
    """The rank correlation across all runs."""


@attrs.frozen
class Summary:
    """The numbers of a study."""

    spec: Spec
    records: tuple[Record, ...]
    """Of the runs that came to something."""
    failed: tuple[Record, ...]
    kinds: Mapping[str, Kind]
    """What each recipe is made of."""
    measures: tuple[Measure, ...]
    """Those that some run has a number for."""
    cells: Mapping[str, Mapping[str, Cell]]
    """Measure to recipe."""
    of_truth: Mapping[str, Interval]
    """Measure to what the true prompts themselves come to, where they are known."""
    truth: Measure | None
    """The similarity of regenerated pictures, where pictures were made."""
    correlations: tuple[Correlation, ...]
    """Of every other measure with that similarity, the best predictor first."""
    of_methods: Mapping[str, Interval]
    """Recipe to the rank correlation of the objective with that similarity among all runs of this recipe alone."""

    def measure(self, name: str) -> Measure | None:
        """Return the measure of that name, where it was measured."""
        return next((measure for measure in self.measures if measure.name == name), None)

    @property
    def objective(self) -> Measure | None:
        """What the searches optimise, on one scale for all recipes: the similarity, or else the loss."""
        return self.measure("similarity") or self.measure("loss")

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Return the recipes of these kinds that have records."""
        ran = {record.key.recipe for record in self.records}
        return [recipe for recipe in self.spec.recipes if self.kinds[recipe] in kinds and recipe in ran]

    def strongest(self, measure: Measure, recipes: Sequence[str]) -> str:
        """Return the one of some recipes that is best in a measure."""
        sign = 1 if measure.higher_is_better else -1
        cells = self.cells[measure.name]
        return max(recipes, key=lambda recipe: sign * cells[recipe].interval.value if recipe in cells else -math.inf)

    def difference(self, measure: Measure, left: Sequence[str], right: Sequence[str]) -> Difference:
        """Return by how much the mean of some recipes is better than that of others, picture by picture.

        Above zero is better, also for a measure of which less is better.
        """
        sides = [_mean_over(values_of(self.records, measure), recipes) for recipes in (left, right)]
        found = paired_difference(*sides)
        return found if measure.higher_is_better else -found


def summarise(store: Store, catalogue: Catalogue | None = None) -> Summary:
    """Return the numbers of the study in a store, as far as it has come.

    Raises:
        UnknownNameError: a distance that was measured is not installed.
    """
    if catalogue is None:
        from preimage._catalogue import catalogue as installed

        catalogue = installed()
    spec = store.spec
    everything = store.records()
    records = tuple(record for record in everything if record.status == "ok")
    one_objective = len({str(pipeline.get("terms")) for pipeline in spec.recipes.values()}) == 1
    measures = _measured(spec, records, catalogue)
    truth = next((measure for name in TRUTHS for measure in measures if measure.name == name), None)
    correlations = [
        _correlation(measure, truth, records)
        for measure in measures
        if truth is not None and measure.group not in ("pictures", "cost")
    ]
    found = Summary(
        spec=spec,
        records=records,
        failed=tuple(record for record in everything if record.status != "ok"),
        kinds={
            recipe: _kind(pipeline, [record for record in records if record.key.recipe == recipe], catalogue)
            for recipe, pipeline in spec.recipes.items()
        },
        measures=measures,
        cells={
            measure.name: _cells(
                measure, records, list(spec.recipes), comparable=measure.name != "loss" or one_objective
            )
            for measure in measures
        },
        of_truth=_of_truth(measures, records),
        truth=truth,
        correlations=tuple(sorted(correlations, key=_trust, reverse=True)),
        of_methods={},
    )
    return attrs.evolve(found, of_methods=_of_methods(found))


def values_of(records: Sequence[Record], measure: Measure) -> dict[str, dict[str, list[float]]]:
    """Return recipe to picture to the numbers of its runs; the logarithms for a measure that is averaged so."""
    found: dict[str, dict[str, list[float]]] = {}
    for record in records:
        value = value_of(record, measure)
        if value is not None:
            found.setdefault(record.key.recipe, {}).setdefault(record.key.image, []).append(value)
    return found


def value_of(record: Record, measure: Measure) -> float | None:
    """Return a run's number for a measure, its logarithm for one that is averaged so; None where it has none."""
    spent = record.spent
    known: dict[str, float | None] = {
        "loss": record.loss,
        "candidates": spent.candidates,
        "passes": spent.forward + spent.backward,
        "seconds": spent.seconds,
    }
    value = known[measure.name] if measure.name in known else record.measures.get(measure.name)
    if value is None or not math.isfinite(value):
        return None
    return math.log(value) if measure.geometric else float(value)


def _measured(spec: Spec, records: Sequence[Record], catalogue: Catalogue) -> tuple[Measure, ...]:
    """Return the measures that some record has a number for."""
    described = _LOSS_AND_COSTS if spec.measures is None else measures_of(as_options(spec.measures), catalogue)
    return tuple(each for each in described if any(value_of(record, each) is not None for record in records))


_LOSS_AND_COSTS = (Measure("loss", "Loss", False, "objective", "the recipe's own objective"), *COSTS)


def _kind(pipeline: Mapping[str, object], records: Sequence[Record], catalogue: Catalogue) -> Kind:
    """Return what a recipe is: a captioner alone, an optimizer, or a caption that an objective improved or chose."""
    from preimage.errors import PreimageError

    stages = pipeline.get("stages")
    captioners = []
    for stage in stages if isinstance(stages, list | tuple) else ():
        try:
            component = catalogue.describe("optimizer", str(stage["optimizer"])).component
            captioners.append("captions" in component.trait("requires"))
        except PreimageError:  # what is not installed any more has been run all the same
            captioners.append(False)
    if not any(captioners):
        return "optimizer"
    chosen = any(record.spent.candidates > 1 for record in records)
    return "refined caption" if chosen or not all(captioners) else "captioner"


def _cells(measure: Measure, records: Sequence[Record], recipes: Sequence[str], *, comparable: bool) -> dict[str, Cell]:
    values = values_of(records, measure)
    means = {recipe: _means(values[recipe]) for recipe in recipes if recipe in values}
    intervals = {recipe: interval_of_mean(list(each.values())) for recipe, each in means.items()}
    sign = 1 if measure.higher_is_better else -1
    best = max(intervals, key=lambda recipe: sign * intervals[recipe].value, default="") if comparable else ""
    others = [recipe for recipe in intervals if recipe != best] if comparable else []
    paired = {recipe: _paired(means[recipe], means[best]) for recipe in others}
    p_values = dict(zip(others, against_best([sign_flip_test(paired[recipe]) for recipe in others]), strict=True))
    cells = {}
    for recipe, interval in intervals.items():
        shown = interval.mapped(math.exp) if measure.geometric else interval
        difference = interval_of_mean(paired[recipe]) if recipe in paired else None
        cells[recipe] = Cell(shown, recipe == best, difference, p_values.get(recipe))
    return cells


def _of_truth(measures: Sequence[Measure], records: Sequence[Record]) -> dict[str, Interval]:
    """Return what the true prompts come to; every run on a picture carries the same numbers."""
    found = {}
    for measure in measures:
        name = f"{OF_TRUTH}{measure.name}"
        values = {record.key.image: record.measures[name] for record in records if name in record.measures}
        if values and measure.geometric:
            found[measure.name] = interval_of_mean([math.log(each) for each in values.values()]).mapped(math.exp)
        elif values:
            found[measure.name] = interval_of_mean(list(values.values()))
    return found


def paired_difference(left: Mapping[str, float], right: Mapping[str, float]) -> Difference:
    """Return the mean of left less right over the pictures that both have, with its interval and its test."""
    paired = _paired(left, right)
    found = interval_of_mean(paired)
    return Difference(found.value, found.low, found.high, found.count, sign_flip_test(paired))


def _paired(left: Mapping[str, float], right: Mapping[str, float]) -> list[float]:
    return [value - right[picture] for picture, value in left.items() if picture in right]


def _means(of_pictures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {picture: sum(values) / len(values) for picture, values in of_pictures.items()}


def _mean_over(values: Mapping[str, Mapping[str, Sequence[float]]], recipes: Sequence[str]) -> dict[str, float]:
    """Return the mean of several recipes for each picture that all of them have."""
    means = [_means(values.get(recipe, {})) for recipe in recipes]
    shared = [picture for picture in means[0] if all(picture in each for each in means)] if means else []
    return {picture: sum(each[picture] for each in means) / len(means) for picture in shared}


def _correlation(measure: Measure, truth: Measure, records: Sequence[Record]) -> Correlation:
    """Return how the runs' order by a measure agrees with their order by the truth."""
    sign = 1 if measure.higher_is_better == truth.higher_is_better else -1
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        left, right = value_of(record, measure), value_of(record, truth)
        if left is not None and right is not None:
            points.setdefault(record.key.image, []).append((sign * left, right))
    arrays = [np.array(of_one).T for of_one in points.values()]
    own = [rank_correlation(array[:1], array[1:])[0] for array in arrays if array.shape[1] > 2]
    within = interval_of_mean([float(value) for value in own if not math.isnan(value)])
    return Correlation(measure, within, _pooled(arrays))


def _of_methods(summary: Summary) -> dict[str, Interval]:
    """Return how well the objective orders the runs of each method by itself."""
    objective, truth = summary.objective, summary.truth
    if objective is None or truth is None:
        return {}
    found = {}
    for recipe in summary.spec.recipes:
        own = [record for record in summary.records if record.key.recipe == recipe]
        interval = _correlation(objective, truth, own).pooled
        if not math.isnan(interval.value):
            found[recipe] = interval
    return found


def _pooled(arrays: Sequence[Array]) -> Interval:
    """Return the rank correlation of all runs, with an interval from drawing pictures.

    Arguments:
        arrays: one a picture, ``(2, runs)``.
    """
    longest = max((array.shape[1] for array in arrays), default=0)
    # Pictures may have different numbers of runs; what is left over is not ranked.
    table = np.full((len(arrays), 2, longest), np.nan)
    for row, array in zip(table, arrays, strict=True):
        row[:, : array.shape[1]] = array

    def statistic(drawn: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Array:
        found = np.empty(len(drawn))
        chunk = max(1, _ELEMENTS // max(1, drawn.shape[1] * longest))
        for start in range(0, len(drawn), chunk):
            rows = table[drawn[start : start + chunk]].swapaxes(1, 2).reshape(-1, 2, drawn.shape[1] * longest)
            found[start : start + chunk] = rank_correlation(rows[:, 0], rows[:, 1])
        return found

    return bootstrap(statistic, len(arrays))


def _trust(correlation: Correlation) -> tuple[bool, float]:
    """Return what predictors are sorted by: those of which a single picture tells anything come last."""
    within = correlation.within
    return math.isfinite(within.low), -math.inf if math.isnan(within.value) else within.value
