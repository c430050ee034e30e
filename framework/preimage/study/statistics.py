"""Intervals, ranks and tests for a study, in which runs are not independent: those of one picture belong together.

The unit that is drawn again is therefore the picture, never the run: a bootstrap sample takes pictures with
replacement, each with all its runs. Twenty pictures with two seeds each are twenty observations, not forty.

Everything is drawn from a seed, and the same seed gives the same intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Self

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SIGNIFICANT",
    "Difference",
    "Interval",
    "against_best",
    "bootstrap",
    "holm",
    "interval_of_mean",
    "rank_correlation",
    "ranks",
    "sign_flip_test",
]

SIGNIFICANT = 0.05
"""Below this a p-value says that there is a difference."""

N_RESAMPLES = 4000
"""The ends of a 95 % interval then vary by about a twentieth of its width from seed to seed."""

_EXACT = 16
"""Up to so many pictures all flips of signs are tried, 65,536 of them; beyond that as many are drawn."""

Array = NDArray[np.float64]


@attrs.frozen
class Interval:
    """A number with the range in which it lies at some level of confidence.

    >>> str(Interval(0.5, 0.25, 0.75, 10))
    '0.500 [0.250, 0.750]'
    """

    value: float
    low: float
    high: float
    count: int
    """How many pictures it rests on."""

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]".replace("-", "\N{MINUS SIGN}")

    @property
    def sign(self) -> int:
        """1 where all of the interval is above zero, -1 where all is below, otherwise 0."""
        return (self.low > 0) - (self.high < 0)

    def __neg__(self) -> Self:
        return attrs.evolve(self, value=-self.value, low=-self.high, high=-self.low)

    def mapped(self, function: Callable[[float], float]) -> Interval:
        """Return the interval of a rising function of the number."""
        return Interval(function(self.value), function(self.low), function(self.high), self.count)


@attrs.frozen
class Difference(Interval):
    """A mean of paired differences, which is tested as well: from few pictures an interval is too narrow to tell by it.

    Of noise over five pictures every sixth interval leaves out zero, and over two every second.
    """

    p_value: float
    """Of `sign_flip_test`."""

    @property
    def sign(self) -> int:
        """1 where the difference is above zero beyond chance, -1 where it is below, otherwise 0."""
        return super().sign if self.p_value < SIGNIFICANT else 0


def interval_of_mean(
    values: Sequence[float], *, level: float = 0.95, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Interval:
    """Return the mean of one value a picture, with its interval.

    >>> interval_of_mean([2.0, 2.0, 2.0])
    Interval(value=2.0, low=2.0, high=2.0, count=3)

    Arguments:
        values: one a picture; average over the runs of a picture before.
        level: how often such intervals hold the truth.
        n_resamples: how many samples are drawn.
        seed: of the draws.
    """
    array = np.asarray(values, dtype=np.float64)
    return bootstrap(
        lambda drawn: array[drawn].mean(axis=-1), len(array), level=level, n_resamples=n_resamples, seed=seed
    )


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], Array],
    count: int,
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return a statistic of pictures with its bootstrap interval, corrected for bias and skewness (BCa).

    Efron (1987), "Better bootstrap confidence intervals". Samples of which the statistic is undefined (NaN) are passed
    over. With a single picture there is nothing to draw, and the interval is unbounded.

    Arguments:
        statistic: numbers ``(R,)`` for samples ``(R, n)`` of indices of pictures.
        count: how many pictures there are.
        level: how often such intervals hold the truth.
        n_resamples: how many samples are drawn.
        seed: of the draws.
    """
    everything = np.arange(count)
    value = float(statistic(everything[None])[0]) if count else math.nan
    if count < 2 or math.isnan(value):
        return Interval(value, -math.inf, math.inf, count)
    drawn = np.random.default_rng(seed).integers(0, count, (n_resamples, count))
    found = statistic(drawn)
    found = np.sort(found[~np.isnan(found)])
    if not len(found) or found[0] == found[-1]:
        return Interval(value, value, value, count) if len(found) else Interval(value, -math.inf, math.inf, count)
    # Half of the samples that hit the value itself count as below it, as for a statistic that takes few values.
    below = (np.searchsorted(found, value, "left") + np.searchsorted(found, value, "right")) / 2 / len(found)
    bias = NormalDist().inv_cdf(float(np.clip(below, 0.5 / len(found), 1 - 0.5 / len(found))))
    acceleration = _acceleration(statistic, count)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        shifted = bias + NormalDist().inv_cdf(tail)
        ends.append(NormalDist().cdf(bias + shifted / max(1 - acceleration * shifted, 1e-6)))
    low, high = np.quantile(found, ends)
    return Interval(value, float(low), float(high), count)


def _acceleration(statistic: Callable[[NDArray[np.intp]], Array], count: int) -> float:
    """Return a sixth of the skewness of the statistic without one picture each."""
    if count < 3:
        return 0.0
    others = np.array([[index for index in range(count) if index != left_out] for left_out in range(count)])
    values = statistic(others)
    deviations = np.nanmean(values) - values
    deviations = deviations[~np.isnan(deviations)]
    spread = float(np.square(deviations).sum())
    return float((deviations**3).sum() / (6 * spread**1.5)) if spread > 0 else 0.0


def ranks(values: Array) -> Array:
    """Return the ranks of the values in each row, ``(R, N)``, from 0; equal values share their mean rank.

    >>> ranks(np.array([[10.0, 30.0, 10.0, 20.0]])).tolist()
    [[0.5, 3.0, 0.5, 2.0]]
    """
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    places = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    new = np.ones(values.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    ends = np.ones(values.shape, dtype=bool)
    ends[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(ends, places, values.shape[1])[:, ::-1], axis=1)[:, ::-1]
    found = np.empty(values.shape)
    np.put_along_axis(found, order, (first + last) / 2, axis=1)
    return found


def rank_correlation(left: Array, right: Array) -> Array:
    """Return Spearman's rank correlation, ``(R,)``, of the rows of two arrays ``(R, N)``; NaN where a row is constant.

    Places where either is NaN are not ranked, so that rows may be filled up to one length.

    >>> rank_correlation(np.array([[1.0, 2.0, np.nan, 3.0]]), np.array([[1.0, 8.0, np.nan, 27.0]])).tolist()
    [1.0]
    """
    there = ~(np.isnan(left) | np.isnan(right))
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    centred = []
    for side in (left, right):
        # What is not there comes last and so changes no other rank.
        own = np.where(there, ranks(np.where(there, side, np.inf)), 0.0)
        centred.append(np.where(there, own - own.sum(axis=1, keepdims=True) / count, 0.0))
    product = (centred[0] * centred[1]).sum(axis=1)
    scale = np.sqrt(np.square(centred[0]).sum(axis=1) * np.square(centred[1]).sum(axis=1))
    found: Array = np.divide(product, scale, out=np.full(len(product), np.nan), where=scale > 0)
    return found


def sign_flip_test(differences: Sequence[float], *, seed: int = 0) -> float:
    """Return the two-sided p-value of paired differences, one a picture, having mean zero.

    If neither of two methods were better, each difference could as well have had the other sign. The p-value is the
    share of all choices of signs whose mean is at least as far from zero; with more than 16 pictures signs are drawn.

    >>> sign_flip_test([1.0, 1.0, 1.0])
    0.25
    """
    values = np.asarray(differences, dtype=np.float64)
    if not len(values):
        return 1.0
    observed = abs(values.sum())
    # Sums that differ by rounding alone are equal.
    observed -= 1e-9 * np.abs(values).sum()
    if len(values) <= _EXACT:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= observed).mean())
    signs = np.random.default_rng(seed).integers(0, 2, (2**_EXACT, len(values)), dtype=np.int8) * 2 - 1
    # The signs that were observed are one of the choices.
    return float(((np.abs(signs @ values) >= observed).sum() + 1) / (len(signs) + 1))


def against_best(p_values: Sequence[float]) -> list[float]:
    """Return p-values of all methods but the best against the best, corrected for it being whichever turned out so.

    Holm's correction alone would do for one that was named before. Of s methods that are alike the best one is on one
    side of whichever of their s (s - 1) / 2 pairs looks most different, and so s - 1 comparisons count s / 2 times.

    >>> against_best([0.001, 0.04, 0.5])
    [0.006, 0.16, 1.0]
    """
    methods = len(p_values) + 1
    return [min(1.0, p_value * methods / 2) for p_value in holm(p_values)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for there being several (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected
