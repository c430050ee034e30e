"""The usual distances against slow, obvious references, on a table of numbers and a nominal column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from preimage_counterfactual.distances import (
    L0,
    L1,
    L2,
    MADL1,
    Gower,
    GowerConfig,
    Joint,
    JointConfig,
    JointLatent,
    JointLatentConfig,
    L0Config,
    L1Config,
    L2Config,
    MADConfig,
    Mahalanobis,
    MahalanobisConfig,
)
from preimage_counterfactual.space import TableSpace

BUILD = {
    "l0": lambda: L0(L0Config()),
    "l1": lambda: L1(L1Config()),
    "l2": lambda: L2(L2Config()),
    "mad-l1": lambda: MADL1(MADConfig()),
    "gower": lambda: Gower(GowerConfig()),
    "mahalanobis": lambda: Mahalanobis(MahalanobisConfig()),
    "joint": lambda: Joint(JointConfig(r=0.6)),
    "joint copula": lambda: Joint(JointConfig(r=0.6, margins="copula")),
    "joint-latent": lambda: JointLatent(JointLatentConfig(r=0.6, steps=10, layers=2, hidden=4)),
}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    job = rng.choice(["nurse", "pilot", "clerk"], 80, p=[0.5, 0.2, 0.3])
    age = rng.normal(45, 12, 80)
    income = 20 + 0.5 * age + 15 * (job == "pilot") + rng.gamma(2, 4, 80)
    return pd.DataFrame({"age": age, "job": job, "income": income})


@pytest.fixture(scope="module")
def space(table):
    return TableSpace(table)


def fitted(name, space):
    distance = BUILD[name]()
    distance.fit(space.data, space=space)
    return distance


def apart(table, name):
    """Return the differences of a numeric column between the first and the second 20 rows."""
    return np.abs(table[name].to_numpy()[:20] - table[name].to_numpy()[20:40])


def moved(table):
    return (table["job"].to_numpy()[:20] != table["job"].to_numpy()[20:40]).astype(float)


REFERENCE = {
    "l0": lambda table: (apart(table, "age") > 0) * 1.0 + (apart(table, "income") > 0) + moved(table),
    "l1": lambda table: (
        apart(table, "age") / np.std(table["age"]) + apart(table, "income") / np.std(table["income"]) + moved(table)
    ),
    "l2": lambda table: np.sqrt(
        (apart(table, "age") / np.std(table["age"])) ** 2
        + (apart(table, "income") / np.std(table["income"])) ** 2
        + moved(table)
    ),
    "mad-l1": lambda table: (
        sum(apart(table, name) / np.median(np.abs(table[name] - table[name].median())) for name in ("age", "income"))
        + moved(table)
    ),
    "gower": lambda table: (
        (sum(apart(table, name) / np.ptp(table[name]) for name in ("age", "income")) + moved(table)) / 3
    ),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_usual_distances_are_their_definitions(name, table, space):
    """Numbers count as the definition says, a change of a nominal column counts 1, whatever its coding."""
    values = fitted(name, space)(space.data[:20], space.data[20:40])

    np.testing.assert_allclose(values, REFERENCE[name](table), rtol=1e-9)


@pytest.mark.parametrize("name", BUILD)
def test_pairs_equal_all_with_all_on_mixed_columns(name, space):
    """`pairwise` holds what the pairs give, nominal columns included."""
    distance = fitted(name, space)
    left, right = space.data[:6], space.data[6:10]

    pairs = distance(left.repeat_interleave(4, 0), right.repeat(6, 1)).reshape(6, 4)

    torch.testing.assert_close(distance.pairwise(left, right), pairs)


@pytest.mark.parametrize("name", BUILD)
def test_single_precision_agrees_on_mixed_columns(name, space):
    """float32 rows are answered in float32 and to four digits alike."""
    distance = fitted(name, space)

    values = distance(space.data[:9].float(), space.data[9:18].float())

    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), distance(space.data[:9], space.data[9:18]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted({*BUILD} - {"l0"}))
def test_gradient_is_the_slope_on_mixed_columns(name, space):
    """Derivatives agree with finite differences also between levels, where searches pass."""
    distance = fitted(name, space)
    soft = (0.8 * space.data[:4] + 0.2 * space.data[4:8]).requires_grad_()

    assert torch.autograd.gradcheck(lambda rows: distance(rows, space.data[8:12]), (soft,), eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("name", BUILD)
def test_order_and_company_of_rows_change_nothing(name, space):
    """A row's distance is the same alone, in a batch, and after fitting to the rows in another order."""
    distance, other = fitted(name, space), BUILD[name]()
    other.fit(space.data[torch.randperm(80, generator=torch.Generator().manual_seed(0))], space=space)
    left, right = space.data[:5], space.data[5:10]
    alone = torch.cat([distance(left[i : i + 1], right[i : i + 1]) for i in range(5)])

    torch.testing.assert_close(distance(left, right), alone)
    torch.testing.assert_close(other(left, right), alone)


@pytest.mark.parametrize("name", ["l1", "l2", "l0"])
def test_plain_ones_need_no_data(name):
    """Without a space and without fitting they measure numbers as they are."""
    left, right = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)

    assert float(BUILD[name]()(left, right)) == {"l1": 7.0, "l2": 5.0, "l0": 2.0}[name]


def test_l0_forgives_rounding(space):
    """A move within the tolerance is no change."""
    row = space.data[:1]
    shaken = row + torch.tensor([5e-6] + [0.0] * (space.width - 1))

    assert float(fitted("l0", space)(shaken, row)) == 0
    strict = L0(L0Config(tolerance=0.0))
    assert float(strict(shaken, row)) == 1


def test_mad_of_a_column_that_is_mostly_one_value_is_its_deviation():
    """Where more than half of a column is one value, its standard deviation over 1.4826 is the scale."""
    data = torch.tensor([[0.0]] * 8 + [[4.0]] * 2, dtype=torch.float64)
    distance = MADL1(MADConfig())
    distance.fit(data)

    assert float(distance(data[9:], data[:1])) == pytest.approx(4 / (data.std(correction=0).item() / 1.4826))


def test_an_even_count_has_its_middle_between_two_values():
    """The median of 0, 1, 2, 10 is 1.5, so that the MAD is 1."""
    data = torch.tensor([[0.0], [1.0], [2.0], [10.0]], dtype=torch.float64)
    distance = MADL1(MADConfig())
    distance.fit(data)

    assert float(distance(data[:1], data[2:3])) == pytest.approx(2 / 1.0)
