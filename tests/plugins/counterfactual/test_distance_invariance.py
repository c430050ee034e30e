"""What re-coding columns does to distances, and how those that see correlation differ from those that do not."""

from __future__ import annotations

import pytest
import torch

from preimage_counterfactual.distances import (
    L1,
    L2,
    MADL1,
    Gower,
    GowerConfig,
    Joint,
    JointConfig,
    L1Config,
    L2Config,
    MADConfig,
    Mahalanobis,
    MahalanobisConfig,
)

BLIND = {
    "l1": lambda: L1(L1Config()),
    "l2": lambda: L2(L2Config()),
    "mad-l1": lambda: MADL1(MADConfig()),
    "gower": lambda: Gower(GowerConfig()),
}
COVARIANCE = {
    "mahalanobis": lambda: Mahalanobis(MahalanobisConfig(shrinkage=0.0)),
    **{
        f"joint {classes}": lambda classes=classes: Joint(JointConfig(r=0.7, shrinkage=0.0, classes=classes))
        for classes in ("pooled", "shared", "transport")
    },
}


@pytest.fixture
def data():
    """Positive, correlated columns, ``(120, 3)``."""
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(3, 3, generator=rng, dtype=torch.float64)
    return (torch.randn(120, 3, generator=rng, dtype=torch.float64) @ mixing / 2).exp()


def answers(build, data, recode):
    """Return distances between rows of the data, before and after re-coding all of it."""
    labels = torch.arange(len(data)) % 2
    results = []
    for rows in (data, recode(data)):
        distance = build()
        distance.fit(rows, labels)
        results.append(distance(rows[:20], rows[20:40], labels[:20], labels[20:40]))
    return results


def affine(rows):
    """Mix, stretch and shift columns."""
    return rows @ torch.tensor([[2.0, 1.0, 0.0], [0.0, -1.0, 3.0], [1.0, 0.0, 0.5]], dtype=rows.dtype) + 7


def rising(rows):
    """Bend each column by a curve that rises."""
    return torch.stack([rows[:, 0].log(), rows[:, 1].square(), rows[:, 2].pow(3) + rows[:, 2]], dim=1)


@pytest.mark.parametrize("name", COVARIANCE)
def test_affine_recoding_changes_nothing_with_a_covariance(name, data):
    """Mahalanobis and every joint form take the covariance along through x -> Mx + c."""
    before, after = answers(COVARIANCE[name], data, affine)

    torch.testing.assert_close(before, after, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", BLIND)
@pytest.mark.parametrize("recode", [affine, rising])
def test_distances_blind_to_correlation_depend_on_the_coding(name, recode, data):
    """L1, L2, MAD-L1 and Gower are neither affine nor monotone invariant."""
    before, after = answers(BLIND[name], data, recode)

    assert not torch.allclose(before, after, rtol=0.1)


@pytest.mark.parametrize("face", ["search-cost", "closeness", "metric"])
def test_rising_curves_change_nothing_with_a_copula(face, data):
    """Under normal scores logarithms, squares and cubes of columns are the columns themselves."""
    before, after = answers(lambda: Joint(JointConfig(r=0.7, margins="copula", face=face)), data, rising)

    torch.testing.assert_close(before, after, rtol=1e-9, atol=1e-9)


def test_rising_curves_matter_without_a_copula(data):
    """Mahalanobis is affine invariant, not monotone invariant."""
    before, after = answers(COVARIANCE["mahalanobis"], data, rising)

    assert not torch.allclose(before, after, rtol=0.1)


@pytest.mark.parametrize("build", [lambda: Mahalanobis(MahalanobisConfig()), lambda: Joint(JointConfig(r=0.7))])
def test_units_change_nothing_when_shrunk(build, data):
    """Shrinking happens in standard deviations, so that metres or millimetres give the same answers."""
    before, after = answers(build, data, lambda rows: rows * torch.tensor([1e6, 1.0, 1e-6]).double())

    torch.testing.assert_close(before, after, rtol=1e-7, atol=1e-9)


def test_independent_columns_make_mahalanobis_euclidean():
    """Without correlation Mahalanobis' distance is Euclid's in standard deviations."""
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    scale = torch.tensor([1.0, 5.0, 0.2], dtype=torch.float64)
    distance, euclid = Mahalanobis(MahalanobisConfig(shrinkage=0.0)), L2(L2Config())
    distance.fit(corners * scale)

    torch.testing.assert_close(distance(corners[:4] * scale, corners[4:] * scale), euclid(corners[:4], corners[4:]))


def test_independent_columns_make_whitening_idle_in_mad():
    """The whitened sum of |W (difference / MAD)| is the plain one where columns are uncorrelated."""
    corners = torch.cartesian_prod(*[torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64)] * 3)
    plain, whitened = MADL1(MADConfig()), MADL1(MADConfig(whitened=True, shrinkage=0.0))
    for distance in (plain, whitened):
        distance.fit(corners)

    torch.testing.assert_close(plain(corners[:9], corners[20:29]), whitened(corners[:9], corners[20:29]))


def test_whitened_mad_is_its_definition(data):
    """It is the sum of |R^(-1/2) (difference / MAD)| with the symmetric root of the correlation matrix."""
    distance = MADL1(MADConfig(whitened=True, shrinkage=0.0))
    distance.fit(data)
    spread = (data - data.quantile(0.5, dim=0)).abs().quantile(0.5, dim=0)
    values, directions = torch.linalg.eigh(torch.corrcoef(data.T))
    root = directions @ torch.diag(values.rsqrt()) @ directions.T

    expected = (((data[:5] - data[5:10]) / spread) @ root).abs().sum(dim=1)

    torch.testing.assert_close(distance(data[:5], data[5:10]), expected)
