"""Nominal columns in the joint law: a reversible kernel, numbers that follow, and unseen levels."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from preimage_counterfactual.distances import Joint, JointConfig, Mahalanobis, MahalanobisConfig
from preimage_counterfactual.distances.categories import CategoryLaw, level_means
from preimage_counterfactual.space import TableSpace

COUNTS = (60, 30, 10)


def one_hot(levels, size=3):
    return torch.nn.functional.one_hot(torch.as_tensor(levels), size).double()


@pytest.fixture(scope="module")
def space():
    """A table of a job, common to rare, and an income whose mean goes with it."""
    rng = np.random.default_rng(0)
    jobs = np.repeat(["nurse", "clerk", "pilot"], COUNTS)
    means = {"nurse": 30.0, "clerk": 25.0, "pilot": 80.0}
    income = np.array([means[job] for job in jobs]) + rng.normal(0, 5, 100)
    return TableSpace(pd.DataFrame({"job": jobs, "income": income}))


def fitted(space, labels=None, **options):
    distance = Joint(JointConfig(**{"r": 0.6, **options}))
    distance.fit(space.data, labels, space=space)
    return distance


def law(r=0.6, classes=1):
    levels = np.repeat([0, 1, 2], COUNTS)
    return CategoryLaw.of(r, one_hot(levels), torch.arange(100) % classes, classes)


def rows(space, *pairs):
    return space.encode(pd.DataFrame(pairs, columns=["job", "income"]))


def test_kernel_is_lazy_resampling():
    """K(v'|v) = r [v' = v] + (1 - r) p(v'), with half a row added to each count."""
    shares = (np.array(COUNTS) + 0.5) / 101.5

    np.testing.assert_allclose(law().given[0, 0].T, 0.6 * np.eye(3) + 0.4 * shares, rtol=1e-12)


@pytest.mark.parametrize("classes", [1, 2])
def test_kernel_sums_to_one_and_keeps_the_margins(classes):
    """From each level it goes somewhere, and started from a class's shares it ends in the other's."""
    kernel = law(classes=classes)
    shares = kernel.joint.diagonal(dim1=0, dim2=1).sum(dim=1).T  # of each class, by level

    torch.testing.assert_close(kernel.given.sum(dim=2), torch.ones(classes, classes, 3).double())
    for wanted, had in itertools.product(range(classes), repeat=2):
        torch.testing.assert_close(kernel.given[wanted, had] @ shares[had], shares[wanted])


def test_kernel_is_reversible():
    """Going there and coming back have one probability, class by class."""
    joint = law(classes=2).joint

    torch.testing.assert_close(joint, joint.permute(1, 0, 3, 2))


def test_metric_of_levels_is_a_simplex():
    """-2 log of the normalised pair law, summed from one number a level; equals are at zero."""
    kernel = law()
    table = kernel.joint[0, 0]
    lengths = kernel.lengths.square()
    for one, other in itertools.permutations(range(3), 2):
        expected = -2 * (table[one, other] / (table[one, one] * table[other, other]).sqrt()).log()

        assert float(lengths[one] + lengths[other]) == pytest.approx(float(expected), rel=1e-12)
    torch.testing.assert_close(kernel.squared_metric[0, 0].diagonal(), torch.zeros(3).double())


def test_rarer_levels_cost_more(space):
    """From one level, changing to a common one is cheaper than to a rare one, numbers in step with each."""
    distance = fitted(space)
    clerk = rows(space, ("clerk", 25.0))
    nurse, pilot = (distance.quadratic(clerk, categories=rows(space, (job, 0.0))).centre for job in ("nurse", "pilot"))

    assert float(distance(clerk, clerk)) < float(distance(nurse, clerk)) < float(distance(pilot, clerk))


def test_changing_the_level_moves_the_cheapest_number_by_the_difference_of_means(space):
    """A pilot who becomes a clerk is cheapest with an income lower by what their means differ."""
    distance = fitted(space)
    pilot, clerk = rows(space, ("pilot", 80.0), ("clerk", 0.0)).split(1)
    (number,) = distance.population.numeric.tolist()
    effects = [float((distance.population.levels(row) @ distance.population.effects)[0, 0]) for row in (pilot, clerk)]

    stays = distance.quadratic(pilot).centre[0, number]
    moves = distance.quadratic(pilot, categories=clerk).centre[0, number]

    assert effects[1] < effects[0]
    assert float(moves - stays) == pytest.approx(effects[1] - effects[0], rel=1e-9)


def test_means_of_few_rows_are_drawn_to_the_others():
    """A level's effect is n / (n + 5) of its difference to the mean that a regression finds."""
    rng = torch.Generator().manual_seed(0)
    levels = one_hot(np.repeat([0, 1, 2], (50, 50, 2)))
    numbers = torch.randn(102, 1, generator=rng, dtype=torch.float64) + 10 * levels[:, 2:]
    labels = torch.zeros(102, dtype=torch.int64)

    means, effects = level_means(numbers, levels, labels, 1)

    for level, count in enumerate((50, 50, 2)):
        own = numbers[levels[:, level] == 1].mean()
        assert float(effects[level, 0]) == pytest.approx(float((own - means[0, 0]) * count / (count + 5)), rel=1e-9)


def test_label_and_one_hot_coding_give_the_same_number(space):
    """The order of levels, and a level that no row shows, change nothing but the floor."""
    frame = pd.DataFrame({"job": np.repeat(["nurse", "clerk", "pilot"], COUNTS), "income": np.arange(100.0)})
    turned = TableSpace(frame, levels={"job": ["pilot", "nurse", "clerk"]})
    straight = TableSpace(frame, levels={"job": ["clerk", "nurse", "pilot"]})
    answers = []
    for one in (turned, straight):
        distance = fitted(one)
        answers.append(distance(one.data[:40], one.data[60:]))

    torch.testing.assert_close(answers[0], answers[1])


def test_unseen_level_has_a_finite_floor():
    """A level that the space knows and no fitted row shows costs much, not infinitely much."""
    frame = pd.DataFrame({"job": np.repeat(["nurse", "clerk"], 20), "income": np.tile(np.arange(20.0), 2)})
    space = TableSpace(frame, levels={"job": ["nurse", "clerk", "pilot"]})
    distance = fitted(space)
    left, seen = rows(space, ("pilot", 5.0)), rows(space, ("clerk", 5.0))
    right = rows(space, ("nurse", 5.0))

    assert float(distance(left, right)) < 1e3
    table = distance._tables["search-cost"][0][0, 0]
    assert float(-2 * table.min().log()) == pytest.approx(-2 * np.log(0.4 * 0.5 / 41.5))
    assert float(distance(seen, right)) < float(distance(left, right))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Mahalanobis(MahalanobisConfig()),
        lambda: Joint(JointConfig(categories="covariance")),
        lambda: Joint(JointConfig(categories="covariance", shrinkage=0.0)),
    ],
)
def test_one_hot_block_in_the_covariance_is_finite(build, space):
    """The block is singular, which shrinking or the pseudo-inverse takes care of."""
    distance = build()
    distance.fit(space.data, space=space)

    assert distance(space.data[:50], space.data[50:]).isfinite().all()


def test_class_conditional_levels_follow_the_wanted_class(space):
    """A level that is common in the wanted class is cheap there."""
    labels = torch.from_numpy((np.repeat([0, 1, 2], COUNTS) == 2) | (np.arange(100) % 10 == 0)).long()
    distance = fitted(space, labels, classes="shared")
    kernel = distance._tables["search-cost"][0]
    pilot = int(space.data[-1, list(distance.population.blocks[0])].argmax())

    assert kernel[1, 0][pilot].min() > kernel[0, 0][pilot].min()
    assert distance(space.data[:50], space.data[50:], 1, labels[50:]).isfinite().all()


def test_table_of_nominal_columns_alone(space):
    """Without numbers the kernel is all there is."""
    frame = pd.DataFrame({"job": np.repeat(["nurse", "clerk", "pilot"], COUNTS), "town": ["x", "y"] * 50})
    nominal = TableSpace(frame, kinds={"town": "categorical"})
    for face in ("search-cost", "closeness", "metric"):
        distance = fitted(nominal, face=face)

        assert distance(nominal.data[:50], nominal.data[50:]).isfinite().all()
    assert distance(nominal.data[:1], nominal.data[:1]) == 0
