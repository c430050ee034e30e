"""The Gaussian joint law: its identities, its three faces and its two readings, against slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from preimage_counterfactual.distances import Joint, JointConfig, Mahalanobis, MahalanobisConfig, stickiness


@pytest.fixture
def data():
    """Correlated columns, ``(200, 4)``."""
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(4, 4, generator=rng, dtype=torch.float64)
    return torch.randn(200, 4, generator=rng, dtype=torch.float64) @ mixing + torch.arange(4.0)


@pytest.fixture
def pairs():
    """Counterfactuals and rows, ``(50, 4)`` each."""
    rng = torch.Generator().manual_seed(1)
    return 3 * torch.randn(2, 50, 4, generator=rng, dtype=torch.float64)


def fitted(data, labels=None, **options):
    distance = Joint(JointConfig(**{"shrinkage": 0.0, **options}))
    distance.fit(data, labels)
    return distance


def moments(data):
    return data.mean(dim=0), np.cov(data.numpy().T, bias=True)


def maha(left, right, covariance):
    apart = (left - right).numpy()
    return np.einsum("bi,ij,bj->b", apart, np.linalg.inv(covariance), apart)


def same_up_to_affine(values, others):
    """Tell whether `values` rises linearly with `others`."""
    slope, start = np.polyfit(others, values, 1)
    return slope > 0 and np.allclose(values, slope * others + start, atol=1e-9 * np.abs(values).max())


@pytest.mark.parametrize("r", [0.1, 0.5, 0.9])
def test_search_cost_is_a_mix_of_closeness_and_plausibility(data, pairs, r):
    """|b - r a|² = r |x' - x|² + (1 - r) |x' - mu|² - r (1 - r) |a|²: identity (2)."""
    left, right = pairs
    mean, covariance = moments(data)
    mixed = r * maha(left, right, covariance) + (1 - r) * maha(left, mean, covariance)
    expected = (mixed - r * (1 - r) * maha(right, mean, covariance)) / (1 - r**2)

    np.testing.assert_allclose(fitted(data, r=r)(left, right), expected, rtol=1e-9)


@pytest.mark.parametrize("r", [0.1, 0.5, 0.9])
def test_both_graphical_models_order_counterfactuals_alike(data, pairs, r):
    """The correlated pair (3) and the independent prior with closeness observed (5) are affine in each other."""
    left, right = pairs[0], pairs[1][:1].expand(50, -1)
    mean, covariance = moments(data)
    observed = maha(left, right, covariance) * r / (1 - r) + maha(left, mean, covariance)

    assert same_up_to_affine(fitted(data, r=r)(left, right).numpy(), observed)


@pytest.mark.parametrize("r", [0.1, 0.5, 0.9])
def test_symmetric_form_orders_counterfactuals_alike(data, pairs, r):
    """|x - x'|² / (2 (1 - r)) + |a + b|² / (2 (1 + r)), form (4), is affine in the search cost for a fixed row."""
    left, right = pairs[0], pairs[1][:1].expand(50, -1)
    mean, covariance = moments(data)
    symmetric = maha(left, right, covariance) / (2 * (1 - r)) + maha(left, 2 * mean - right, covariance) / (2 * (1 + r))

    assert same_up_to_affine(fitted(data, r=r)(left, right).numpy(), symmetric)


@pytest.mark.parametrize("r", [0.3, 0.8])
def test_faces_follow_from_one_density(data, pairs, r):
    """Each face is what its definition says of the densities of pair and margin, computed in full."""
    left, right = pairs[:, :5]
    mean, covariance = moments(data)
    margin = multivariate_normal(mean.numpy(), covariance)
    pair = multivariate_normal(
        np.concatenate([mean, mean]), np.block([[covariance, r * covariance], [r * covariance, covariance]])
    )
    joint = pair.logpdf(np.concatenate([left, right], axis=1))
    own = [pair.logpdf(np.concatenate([side, side], axis=1)) for side in (left, right)]
    distance = fitted(data, r=r)

    np.testing.assert_allclose(distance.log_prob(left, right), joint - margin.logpdf(right), rtol=1e-9)
    np.testing.assert_allclose(
        distance.closeness(left, right), -2 * (joint - margin.logpdf(left) - margin.logpdf(right)), rtol=1e-9
    )
    np.testing.assert_allclose(distance.metric_distance(left, right) ** 2, -2 * joint + own[0] + own[1], rtol=1e-8)
    constant = distance.search_cost(left, right) + 2 * distance.log_prob(left, right)
    np.testing.assert_allclose(constant, constant[:1].expand(5), rtol=1e-12)


def test_cost_is_closeness_plus_implausibility(data, pairs):
    """-2 log π(x'|x) = closeness - 2 log p(x'), exactly."""
    left, right = pairs
    mean, covariance = moments(data)
    distance = fitted(data, r=0.6)
    plausibility = multivariate_normal(mean.numpy(), covariance).logpdf(left)

    np.testing.assert_allclose(
        -2 * distance.log_prob(left, right), distance.closeness(left, right).numpy() - 2 * plausibility, rtol=1e-9
    )


def test_metric_is_mahalanobis_to_scale(data, pairs):
    """The normalised distance is √(r / (1 - r²)) times Mahalanobis'."""
    mahalanobis = Mahalanobis(MahalanobisConfig(shrinkage=0.0))
    mahalanobis.fit(data)

    torch.testing.assert_close(
        fitted(data, r=0.75, face="metric")(*pairs), math.sqrt(0.75 / (1 - 0.75**2)) * mahalanobis(*pairs)
    )


def test_without_correlation_the_row_is_forgotten(data, pairs):
    """At r = 0 the cost is the implausibility of the counterfactual, whatever the row."""
    left, right = pairs
    mean, covariance = moments(data)
    distance = fitted(data, r=0.0)

    np.testing.assert_allclose(distance(left, right), maha(left, mean, covariance), rtol=1e-9)
    torch.testing.assert_close(distance(left, right), distance(left, right.flip(0)))


def test_towards_full_correlation_only_the_row_counts(data, pairs):
    """As r goes to 1, points are ordered as by Mahalanobis' distance to the row."""
    left, right = pairs[0], pairs[1][:1].expand(50, -1)
    _, covariance = moments(data)

    order = fitted(data, r=1 - 1e-9)(left, right).argsort()

    assert order.tolist() == maha(left, right, covariance).argsort().tolist()


def test_minimisers_run_straight_from_the_mean_to_the_row(data, pairs):
    """Whatever r, the least cost is at mu + r (x - mu); the row itself costs more than that."""
    row = pairs[1][:1]
    for r in (0.0, 0.25, 0.5, 0.75):
        distance = fitted(data, r=r)
        least = data.mean(dim=0) + r * (row - data.mean(dim=0))

        assert float(distance(least, row)) == pytest.approx(0, abs=1e-12)
        assert float(distance(row, row)) > 0
        torch.testing.assert_close(distance.quadratic(row).centre, least)


def test_symmetry_is_as_declared(data, pairs):
    """Closeness and metric are symmetric, the search cost is not."""
    distance = fitted(data, r=0.6)
    back = pairs.flip(0)

    torch.testing.assert_close(distance.closeness(*pairs), distance.closeness(*back))
    torch.testing.assert_close(distance.metric_distance(*pairs), distance.metric_distance(*back))
    assert not torch.allclose(distance.search_cost(*pairs), distance.search_cost(*back))


@pytest.mark.parametrize("r", [0.2, 0.7])
def test_round_kernel_is_euclidean_closeness_with_the_same_prior(data, pairs, r):
    """Its cost is |x' - x|² / t² + |x' - mu|², with x in standard deviations; the pull is s / (s + t²)."""
    left, right = pairs[0], pairs[1][:1].expand(50, -1)
    mean, covariance = moments(data)
    deviations = np.sqrt(np.diag(covariance))
    noise = (1 - r) / r  # the variances of standardised columns are 1 on average
    euclid = (((left - right).numpy() / deviations) ** 2).sum(axis=1)
    distance = fitted(data, r=r, kernel="euclidean")

    assert same_up_to_affine(distance(left, right).numpy(), euclid / noise + maha(left, mean, covariance))
    np.testing.assert_allclose(distance.closeness(left, right), euclid / noise, rtol=1e-9)
    variances = np.linalg.eigvalsh(covariance / np.outer(deviations, deviations))[::-1]
    np.testing.assert_allclose(distance.law.pull, variances / (variances + noise), rtol=1e-9)


def test_shared_covariance_pulls_to_the_wanted_class(data):
    """With the decision left out, the least cost is at m_y' + r (x - m_y)."""
    labels = (data[:, 0] > data[:, 0].median()).long()
    distance = fitted(data, labels, r=0.5, classes="shared")
    means = [data[labels == label].mean(dim=0) for label in (0, 1)]
    row = data[labels == 0][:1]
    least = means[1] + 0.5 * (row - means[0])

    torch.testing.assert_close(distance.quadratic(row, 1, 0).centre, least)
    assert float(distance(least, row, 1, 0)) == pytest.approx(0, abs=1e-12)


def test_transport_coupling_keeps_each_class_as_it_is(data):
    """Given the row, the law is N(m' + r T (x - m), (1 - r²) S'), and T carries S to S'."""
    labels = (data[:, 0] > data[:, 0].median()).long()
    r = 0.6
    distance = fitted(data, labels, r=r, classes="transport")
    (mean, covariance), (other_mean, other) = (moments(data[labels == label]) for label in (0, 1))
    root = _root(covariance)
    transport = np.linalg.inv(root) @ _root(root @ other @ root) @ np.linalg.inv(root)
    row, left = data[labels == 0][:1], data[labels == 1][:20]
    centre = other_mean.numpy() + r * transport @ (row[0] - mean).numpy()

    np.testing.assert_allclose(transport @ covariance @ transport, other, rtol=1e-9)
    np.testing.assert_allclose(
        distance.log_prob(left, row.expand(20, -1), 1, 0),
        multivariate_normal(centre, (1 - r**2) * other).logpdf(left),
        rtol=1e-9,
    )
    np.testing.assert_allclose(distance.quadratic(row, 1, 0).centre[0], centre, rtol=1e-9)
    torch.testing.assert_close(
        distance.closeness(left, row.expand(20, -1), 1, 0), distance.closeness(row.expand(20, -1), left, 0, 1)
    )


def test_transport_between_alike_classes_is_the_shared_law(data):
    """Classes that are the same rows have the pooled law, whatever the mode."""
    twice, labels = torch.cat([data, data]), torch.arange(2).repeat_interleave(len(data))
    left, right = data[:30], data[30:60]
    pooled = fitted(twice, r=0.5)(left, right)

    for classes in ("shared", "transport"):
        torch.testing.assert_close(fitted(twice, labels, r=0.5, classes=classes)(left, right, 1, 0), pooled)


def _root(matrix):
    values, directions = np.linalg.eigh(matrix)
    return (directions * np.sqrt(values)) @ directions.T


def test_default_correlation_is_the_label_s_part_of_the_way_to_unlike_neighbours(data):
    """With labels, r = 1 - (m² - s²) / (2 d): the squares to the nearest unlike row less those to the nearest alike."""
    labels = (data[:, 0] > data[:, 0].median()).long()
    _, covariance = moments(data)
    parts = []
    for place, (row, label) in enumerate(zip(data, labels, strict=True)):
        others = torch.arange(len(data)) != place
        unlike, alike = data[labels != label], data[(labels == label) & others]
        parts.append(maha(row, unlike, covariance).min() - maha(row, alike, covariance).min())

    assert fitted(data, labels).r == pytest.approx(1 - np.mean(parts) / 8, abs=1e-9)
    assert fitted(data).r == 0.9
    assert fitted(data, labels, classes="shared").r == 0.5


def test_default_correlation_is_the_same_however_few_distances_are_held_at_a_time(data, monkeypatch):
    """Of a large table not all distances from the rows that are asked are in memory at once."""
    labels = (data[:, 0] > data[:, 0].median()).long()
    at_once = fitted(data, labels).r
    held = []
    monkeypatch.setattr(torch, "cdist", lambda *rows, cdist=torch.cdist: held.append(cdist(*rows)) or held[-1])
    monkeypatch.setattr(stickiness, "_PAIRS", 7 * len(data))

    assert fitted(data, labels).r == pytest.approx(at_once, abs=1e-12)
    assert max(distances.numel() for distances in held) == 7 * len(data)


def test_default_correlation_lets_a_row_keep_what_its_label_says_nothing_about():
    """Columns of noise beside those that decide leave the way to the other class about as long as it was."""
    noise = torch.randn(600, 22, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = (noise[:, 0] > 0).long()
    few, many = (2 * width * (1 - fitted(noise[:, :width], labels).r) for width in (2, 22))

    assert many < 3 * few


def test_default_correlation_without_alike_rows_is_that_without_labels(data):
    """Rows that are each the only one of their class do not say how far individuals are apart."""
    assert fitted(data, torch.arange(len(data))).r == fitted(data).r


def test_gradient_of_every_form_is_its_slope(data):
    """Derivatives agree with finite differences for each kernel, margin and class mode."""
    labels = (data[:, 0] > 0).long()
    left, right = data[:3].clone().requires_grad_(), data[3:6]
    for options in ({"kernel": "euclidean"}, {"margins": "copula"}, {"classes": "shared"}, {"classes": "transport"}):
        for face in ("search-cost", "closeness", "metric"):
            distance = fitted(data, labels, r=0.6, face=face, **options)
            # Half-way between two rows of the data no curve of normal scores has a corner.
            assert torch.autograd.gradcheck(
                lambda rows, distance=distance: distance(rows, right, [0, 1, 1], [1, 0, 1]),
                (left + 1e-3,),
                eps=1e-7,
                atol=1e-4,
            )


def test_pairs_equal_all_with_all_in_every_form(data):
    """Class by class and column by column, `pairwise` holds what the pairs give."""
    labels = (data[:, 0] > 0).long()
    for options in ({"kernel": "euclidean"}, {"margins": "copula"}, {"classes": "shared"}, {"classes": "transport"}):
        for face in ("search-cost", "closeness", "metric"):
            distance = fitted(data, labels, face=face, r=0.6, **options)
            left, right = data[:5], data[5:9]
            sides = labels[:5].flip(0), labels[5:9]
            pairs = distance(
                left.repeat_interleave(4, 0), right.repeat(5, 1), sides[0].repeat_interleave(4), sides[1].repeat(5)
            )

            torch.testing.assert_close(distance.pairwise(left, right, *sides), pairs.reshape(5, 4))
