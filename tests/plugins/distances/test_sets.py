"""KID and FID on features, against the slow definitions, and KID's error against repeated draws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg
import torch

from preimage.errors import InputError
from preimage.testing.toy_models import ToyEncoder, toy_pictures
from preimage_distances import FrechetDistance, FrechetDistanceConfig, KernelDistance, KernelDistanceConfig


def features(count, width=4, *, shift=0.0, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=rng, dtype=torch.float64) * 0.7 + shift


def discrepancy(left, right):
    """Return the unbiased estimate of the squared discrepancy, pair by pair."""

    def kernel(one, other):
        return (float(one @ other) / len(one) + 1) ** 3

    within = [
        sum(kernel(a, b) for a, b in itertools.permutations(side, 2)) / (len(side) * (len(side) - 1))
        for side in (left, right)
    ]
    between = sum(kernel(a, b) for a in left for b in right) / (len(left) * len(right))
    return sum(within) - 2 * between


@pytest.fixture
def kid():
    return KernelDistance(KernelDistanceConfig(), model=ToyEncoder())


@pytest.fixture
def fid():
    return FrechetDistance(FrechetDistanceConfig(), model=ToyEncoder())


class TestKernelDistance:
    def test_value(self, kid):
        """It is the definition's, for sets of different sizes."""
        left, right = features(5), features(7, shift=0.4, seed=1)
        assert kid.estimate_of_features(left, right).value == pytest.approx(discrepancy(left, right))

    def test_error_without_groups(self, kid):
        """It is the two-sample jackknife's: every picture left out once, each side on its own."""
        left, right = features(4), features(6, shift=0.4, seed=1)
        variance = 0.0
        for side in (0, 1):
            values = []
            for index in range(len((left, right)[side])):
                rest = [left, right]
                rest[side] = torch.cat([rest[side][:index], rest[side][index + 1 :]])
                values.append(discrepancy(*rest))
            variance += np.var(values) * (len(values) - 1)
        assert kid.estimate_of_features(left, right).standard_error == pytest.approx(variance**0.5)

    def test_error_with_groups(self, kid):
        """It is the jackknife's over groups that span both sets."""
        left, right = features(5), features(8, shift=0.4, seed=1)
        groups = ("abcde", "aabbccde")
        values = []
        for group in "abcde":
            kept = [
                side[[label != group for label in labels]] for side, labels in zip((left, right), groups, strict=True)
            ]
            values.append(discrepancy(*kept))
        expected = (np.var(values) * (len(values) - 1)) ** 0.5
        assert kid.estimate_of_features(left, right, groups).standard_error == pytest.approx(expected)

    def test_unbiased_and_error_is_honest(self, kid):
        """Over many draws from one law the mean is zero; from two laws the error is the spread of the values."""
        alike = [
            kid.estimate_of_features(features(12, seed=seed), features(12, seed=1000 + seed)) for seed in range(300)
        ]
        values = torch.tensor([estimate.value for estimate in alike])
        assert abs(values.mean()) < 3 * values.std() / 300**0.5
        assert values.min() < 0
        apart = [
            kid.estimate_of_features(features(30, seed=seed), features(30, seed=1000 + seed, shift=0.8))
            for seed in range(200)
        ]
        spread = torch.tensor([estimate.value for estimate in apart]).std().item()
        error = torch.tensor([estimate.standard_error for estimate in apart]).mean().item()
        assert error == pytest.approx(spread, rel=0.2)

    def test_kernel_options(self, kid):
        """A linear kernel without constant gives the squared distance of means, made unbiased."""
        linear = KernelDistance(KernelDistanceConfig(degree=1, gamma=1.0, coefficient=0.0), model=ToyEncoder())
        left, right = features(50), features(60, shift=0.5, seed=3)
        means = (left.mean(0) - right.mean(0)).square().sum()
        bias = left.var(0).sum() / len(left) + right.var(0).sum() / len(right)
        assert linear.estimate_of_features(left, right).value == pytest.approx(float(means - bias))

    def test_too_few_groups(self, kid):
        """Where leaving a group out leaves nothing to compare, the message says so."""
        with pytest.raises(InputError, match="more pictures, of more groups"):
            kid.estimate_of_features(features(4), features(4, seed=1), ("aaab", "aabb"))

    def test_pictures_are_encoded(self, kid):
        """Pictures give what their features give."""
        left, right = toy_pictures(4), toy_pictures(9)[4:]
        found = kid.estimate(left, right)
        assert found == kid.estimate_of_features(kid.features(left), kid.features(right))
        assert kid([left], [right]).item() == pytest.approx(found.value)

    def test_a_set_of_one(self, kid):
        """A single picture has no spread."""
        with pytest.raises(InputError, match=r"has 1 picture\(s\)"):
            kid([toy_pictures(1)], [toy_pictures(3)])


class TestFrechetDistance:
    @pytest.mark.parametrize("counts", [(40, 50), (200, 30)])
    def test_value(self, fid, counts):
        """It is the definition's, with the root of a matrix taken by scipy."""
        left, right = features(counts[0]), features(counts[1], shift=0.3, seed=1) * 1.4
        one, other = (np.cov(side.numpy(), rowvar=False) for side in (left, right))
        root = scipy.linalg.sqrtm(one @ other).real
        expected = float((left.mean(0) - right.mean(0)).square().sum()) + np.trace(one + other - 2 * root)
        assert fid._between(left, right) == pytest.approx(expected)

    def test_fewer_pictures_than_features(self, fid):
        """Singular covariances make no difference: normal laws on a line each are as far apart as on one axis."""
        line = torch.tensor([[1.0, 2.0, 2.0]], dtype=torch.float64) / 3
        left, right = features(6, 1), features(9, 1, shift=0.5, seed=1)
        expected = (left.mean() - right.mean()) ** 2 + (left.std() - right.std()) ** 2
        assert fid._between(left @ line, right @ line) == pytest.approx(float(expected))

    def test_equal_sets(self, fid):
        """A set is at distance zero from itself in another order."""
        left = features(9)
        assert fid._between(left, left.flip(0)) == pytest.approx(0, abs=1e-12)
