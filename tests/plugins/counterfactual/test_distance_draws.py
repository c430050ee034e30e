"""Draws from the joint law: they keep the data's own law, the frozen columns, and one level a block."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from preimage_counterfactual.distances import Joint, JointConfig
from preimage_counterfactual.space import TableSpace


@pytest.fixture(scope="module")
def data():
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(3, 3, generator=rng, dtype=torch.float64)
    return torch.randn(1000, 3, generator=rng, dtype=torch.float64) @ mixing


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    job = rng.choice(["nurse", "pilot", "clerk"], 500, p=[0.5, 0.2, 0.3])
    age = rng.normal(45, 12, 500)
    visits = rng.poisson(1.0, 500).astype(float)
    return pd.DataFrame({"age": age, "job": job, "income": 2 * age + 30 * (job == "pilot"), "visits": visits})


def fitted(data, labels=None, space=None, **options):
    distance = Joint(JointConfig(**{"r": 0.7, "shrinkage": 0.0, **options}))
    distance.fit(data, labels, space=space)
    return distance


def seeded():
    return torch.Generator().manual_seed(3)


def test_kernel_keeps_mean_and_covariance(data):
    """100,000 draws around the rows of the data have the data's mean and covariance."""
    draws = fitted(data).sample(data, 100, seeded()).flatten(0, 1)

    torch.testing.assert_close(draws.mean(dim=0), data.mean(dim=0), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(draws.T), torch.cov(data.T), atol=0.03, rtol=0.02)


def test_pairs_have_the_correlation_that_was_asked_for(data):
    """The cross-covariance of rows and draws is r times the covariance."""
    draws = fitted(data).sample(data, 100, seeded())
    centred = data - data.mean(dim=0)
    cross = torch.einsum("bi,bnj->ij", centred, draws - data.mean(dim=0)) / (100 * len(data))

    torch.testing.assert_close(cross, 0.7 * torch.cov(data.T), atol=0.03, rtol=0.03)


def test_density_is_that_of_the_draws(data):
    """Minus log density of draws is on average the entropy of their law, which 2,000 draws cannot tell apart."""
    distance = fitted(data)
    row = data[:1]
    draws = distance.sample(row, 2000, seeded())[0]
    covariance = (1 - 0.7**2) * torch.cov(data.T, correction=0)
    entropy = 0.5 * (torch.logdet(2 * torch.pi * torch.e * covariance))

    assert float(-distance.log_prob(draws, row.expand(2000, -1)).mean()) == pytest.approx(float(entropy), abs=0.1)


def test_draws_of_a_class_have_its_moments(data):
    """Coupled by transport, rows of one class drawn for the other have the other's mean and covariance."""
    labels = (data[:, 0] > 0.3).long()
    distance = fitted(data, labels, classes="transport")
    had, wanted = (data[labels == label] for label in (0, 1))

    draws = distance.sample(had, 100, seeded(), 1, 0).flatten(0, 1)

    torch.testing.assert_close(draws.mean(dim=0), wanted.mean(dim=0), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(draws.T), torch.cov(wanted.T), atol=0.05, rtol=0.05)


def test_copula_draws_keep_each_margin(frame):
    """Columns of any shape come out in theirs: counts stay counts, as frequent as they were."""
    space = TableSpace(frame, kinds={"visits": "integer"})
    draws = fitted(space.data, space=space, margins="copula").sample(space.data, 40, seeded()).flatten(0, 1)
    back = space.decode(draws)
    visits = space.data[:, -1].unique()

    assert np.isin(draws[:, -1].numpy().round(9), visits.numpy().round(9)).mean() > 0.99
    assert (back["visits"] == 0).mean() == pytest.approx((frame["visits"] == 0).mean(), abs=0.03)
    assert np.quantile(back["age"], [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(frame["age"], [0.1, 0.5, 0.9]), abs=1)


def test_draws_are_rows_of_the_table(frame):
    """Each nominal column has one level, in the data's shares, and the numbers follow it."""
    space = TableSpace(frame)
    block = list(range(*space.groups[0].indices(space.width)))
    draws = fitted(space.data, space=space).sample(space.data, 40, seeded()).flatten(0, 1)

    assert set(draws[:, block].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(draws[:, block].sum(dim=1), torch.ones(len(draws)).double())
    torch.testing.assert_close(draws[:, block].mean(dim=0), space.data[:, block].mean(dim=0), atol=0.02, rtol=0)
    back = space.decode(draws)
    gap = [table.groupby("job")["income"].mean() for table in (back, frame)]
    assert gap[0]["pilot"] - gap[0]["nurse"] == pytest.approx(gap[1]["pilot"] - gap[1]["nurse"], abs=3)


@pytest.mark.parametrize("margins", ["gaussian", "copula"])
@pytest.mark.parametrize("immutable", [["age"], ["job"], ["age", "job"]])
def test_frozen_columns_are_drawn_bit_for_bit(frame, immutable, margins):
    """What may not change is the row's own, and the others are drawn given it."""
    space = TableSpace(frame, immutable=immutable)
    draws = fitted(space.data, space=space, margins=margins).sample(space.data[:20], 5, seeded())

    assert torch.equal(draws[:, :, space.frozen], space.data[:20, None, space.frozen].expand(-1, 5, -1))
    assert not torch.allclose(draws[:, :, ~space.frozen], space.data[:20, None, ~space.frozen].expand(-1, 5, -1))


def test_frozen_columns_are_conditioned_on_in_draws(data):
    """With a column held, the others are drawn from their law given it, not beside it."""

    class Held:
        width = 3
        groups = ()
        frozen = torch.tensor([True, False, False])

    row = data[:1]
    distance = fitted(data, space=Held())
    given = distance.quadratic(row).given(Held.frozen, row)

    draws = distance.sample(row, 20000, seeded())[0]

    torch.testing.assert_close(draws.mean(dim=0), given.centre[0], atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(draws[:, 1:].T), given.covariance[1:, 1:], atol=0.03, rtol=0.03)


@pytest.mark.parametrize("margins", ["gaussian", "copula"])
def test_what_a_row_may_not_change_is_conditioned_on_too(data, margins):
    """Each row holds columns of its own, and its draws are those of a space in which these are frozen for all."""
    held = torch.tensor([[True, False, False], [False, False, False], [False, True, True]])
    rows = data[:3]
    draws = fitted(data, margins=margins).sample(rows, 20000, seeded(), held=held)

    for row, still, mine in zip(rows, held, draws, strict=True):

        class Held:
            width = 3
            groups = ()
            frozen = still

        alone = fitted(data, space=Held(), margins=margins).sample(row[None], 20000, seeded())[0]

        assert torch.equal(mine[:, still], row[still].expand(len(mine), -1))
        torch.testing.assert_close(mine.mean(dim=0), alone.mean(dim=0), atol=0.04, rtol=0)
        torch.testing.assert_close(torch.cov(mine.T), torch.cov(alone.T), atol=0.05, rtol=0.05)


def test_levels_are_held_for_some_rows_and_drawn_for_others(frame):
    """A nominal column stays where all its levels are held."""
    space = TableSpace(frame)
    block = list(range(*space.groups[0].indices(space.width)))
    held = torch.zeros(40, space.width, dtype=torch.bool)
    held[:20, block] = True
    draws = fitted(space.data, space=space).sample(space.data[:40], 30, seeded(), held=held)

    assert torch.equal(draws[:20][:, :, block], space.data[:20, None, block].expand(-1, 30, -1))
    assert (draws[20:][:, :, block] != space.data[20:40, None, block]).any()
    assert torch.equal(draws[:, :, block].sum(dim=2), torch.ones(40, 30).double())


def test_round_kernel_draws_from_its_own_law(data):
    """Its draws have the mean and covariance of the posterior, which are not the data's."""
    distance = fitted(data, kernel="euclidean")
    form = distance.quadratic(data[:1])

    draws = distance.sample(data[:1], 20000, seeded())[0]

    torch.testing.assert_close(draws.mean(dim=0), form.centre[0], atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(draws.T), form.covariance, atol=0.03, rtol=0.03)
    assert not distance.law.keeps_margins


def test_a_row_whose_level_was_taken_back_is_drawn_from_all_the_same(frame):
    """Where a level is not permitted a search leaves none, and the next draws of that row have one again."""
    space = TableSpace(frame)
    block = list(range(*space.groups[0].indices(space.width)))
    rows = space.data[:30].clone()
    rows[:, block] = 0
    draws = fitted(space.data, space=space).sample(rows, 50, seeded()).flatten(0, 1)

    assert torch.equal(draws[:, block].sum(dim=1), torch.ones(1500).double())
    assert (draws[:, block].mean(dim=0) > 0.1).all()
