"""Intervals, ranks and tests against brute force, and what they promise against repeated draws."""

from __future__ import annotations

import itertools
import math
import statistics
import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from preimage.study.statistics import (
    Difference,
    Interval,
    against_best,
    bootstrap,
    holm,
    interval_of_mean,
    rank_correlation,
    ranks,
    sign_flip_test,
)

NUMBERS = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=9)


class TestInterval:
    def test_it_is_efrons(self):
        """Value and ends are those of scipy's BCa interval, up to the draws."""
        values = np.random.default_rng(1).exponential(size=15)
        found = interval_of_mean(values, n_resamples=20_000)
        expected = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(2)
        ).confidence_interval
        width = expected.high - expected.low
        assert found.value == pytest.approx(values.mean())
        assert found.low == pytest.approx(expected.low, abs=0.04 * width)
        assert found.high == pytest.approx(expected.high, abs=0.04 * width)

    def test_it_holds_the_truth_as_often_as_it_says(self):
        """Of many samples of a skewed law nearly 95 % have an interval around its mean."""
        rng = np.random.default_rng(3)
        found = [interval_of_mean(rng.gamma(2.0, size=20), n_resamples=600, seed=seed) for seed in range(400)]
        held = sum(interval.low <= 2.0 <= interval.high for interval in found) / len(found)
        assert 0.89 <= held <= 0.98

    def test_same_seed_same_interval(self):
        """The draws come from the seed and from nothing else."""
        values = [0.1, 0.5, 0.2, 0.9]
        assert interval_of_mean(values, seed=4) == interval_of_mean(values, seed=4)
        assert interval_of_mean(values, seed=4) != interval_of_mean(values, seed=5)

    def test_pictures_are_drawn_with_all_their_runs(self):
        """Doubling each picture's runs makes no interval narrower, because their mean is what is drawn."""
        pictures = np.array([[0.1, 0.1], [0.7, 0.7], [0.4, 0.4], [0.9, 0.9]])
        once = interval_of_mean(pictures[:, 0])
        twice = bootstrap(lambda drawn: pictures[drawn].mean(axis=(-2, -1)), len(pictures))
        assert twice.low == pytest.approx(once.low)
        assert twice.high == pytest.approx(once.high)

    def test_one_picture_tells_no_interval(self):
        """From a single picture nothing can be said about others."""
        assert interval_of_mean([0.5]) == Interval(0.5, -math.inf, math.inf, 1)

    def test_no_picture(self):
        """Of nothing there is no mean."""
        assert math.isnan(interval_of_mean([]).value)

    def test_sign(self):
        """An interval is above zero, below, or around it."""
        signs = [Interval(0, low, high, 3).sign for low, high in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))]
        assert signs == [1, -1, 0]

    def test_sign_of_a_difference(self):
        """The test has to agree; turned round, a difference keeps what the test says."""
        differences = [Difference(0.2, 0.1, 0.3, 5, p_value) for p_value in (0.01, 0.0625)]
        assert [difference.sign for difference in differences] == [1, 0]
        assert -differences[0] == Difference(-0.2, -0.3, -0.1, 5, 0.01)
        assert (-differences[0]).sign == -1

    def test_undefined_samples_are_passed_over(self):
        """A correlation of samples that are constant is undefined and does not spoil the interval."""
        left, right = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 5.0])
        found = bootstrap(lambda drawn: rank_correlation(left[drawn], right[drawn]), 3)
        assert (found.value, found.low, found.high) == (1, 1, 1)


class TestRanks:
    @given(NUMBERS)
    def test_against_counting(self, values):
        """A rank is how many are smaller, and half of those that are equal."""
        expected = [
            sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
            for value in values
        ]
        assert ranks(np.array([values, values]))[1].tolist() == expected

    @given(st.integers(2, 8).flatmap(lambda n: st.tuples(*[st.lists(st.integers(-3, 3), min_size=n, max_size=n)] * 2)))
    def test_correlation_is_scipys(self, sides):
        """Spearman's correlation, ties included, is scipy's."""
        left, right = (np.array([side], dtype=float) for side in sides)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = scipy.stats.spearmanr(left[0], right[0]).statistic
        assert rank_correlation(left, right)[0] == pytest.approx(expected, nan_ok=True)

    @given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.booleans()), min_size=2, max_size=9))
    def test_what_is_missing_is_not_ranked(self, places):
        """A row with gaps has the correlation of what is there."""
        left, right = (
            np.array([[float(place[side]) if place[2] else math.nan for place in places]]) for side in (0, 1)
        )
        there = [place for place in places if place[2]]
        short = [np.array([[float(place[side]) for place in there]]) for side in (0, 1)]
        expected = rank_correlation(*short)[0] if there else math.nan
        assert rank_correlation(left, right)[0] == pytest.approx(expected, nan_ok=True)


class TestSignFlips:
    @given(NUMBERS)
    def test_against_all_flips(self, values):
        """The p-value is the share of sign choices whose mean is as extreme."""
        means = [
            abs(statistics.fmean(sign * value for sign, value in zip(signs, values, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(values))
        ]
        expected = sum(mean >= abs(statistics.fmean(values)) - 1e-12 for mean in means) / len(means)
        assert sign_flip_test(values) == pytest.approx(expected)

    def test_many_pictures(self):
        """With more pictures signs are drawn, which agrees with scipy's own draws."""
        values = np.random.default_rng(5).normal(0.3, 1, size=30)
        expected = scipy.stats.permutation_test(
            (values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(6)
        ).pvalue
        assert sign_flip_test(values) == pytest.approx(expected, abs=0.015)

    def test_nothing_to_compare(self):
        """Without pictures nothing is significant."""
        assert sign_flip_test([]) == 1


def test_a_best_that_was_chosen_keeps_errors_rare():
    """Of six methods that are alike, some are told from the best of them in a twentieth of studies at most."""
    rng = np.random.default_rng(3)
    chosen = named_before = 0
    for _ in range(400):
        methods = rng.normal(size=(6, 12)) + rng.normal(size=12)
        best = int(methods.mean(axis=1).argmax())
        p_values = [sign_flip_test(methods[other] - methods[best]) for other in range(6) if other != best]
        chosen += min(against_best(p_values)) < 0.05
        named_before += min(holm(p_values)) < 0.05
    assert chosen < 0.05 * 400 < 0.08 * 400 < named_before
    assert against_best([0.04]) == [0.04]
    assert against_best([]) == []


def test_holm_by_hand():
    """The smallest is multiplied by how many there are, the next by one fewer, never falling, never above one."""
    assert holm([0.04, 0.005, 0.3, 0.02]) == pytest.approx([0.08, 0.02, 0.3, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_errors_rare():
    """Of ten comparisons in which nothing differs, any is called significant in at most about 5 % of studies."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(300):
        p_values = [sign_flip_test(rng.normal(size=8)) for _ in range(10)]
        wrong += min(holm(p_values)) < 0.05
    assert wrong / 300 <= 0.08
