"""Greedy, beam and uniform-cost search on small trees, against searches that look at everything."""

from __future__ import annotations

import itertools

import pytest
import torch

from preimage.strategy import TreeSearch

BRANCHES, DEPTH = 3, 4


def tree(seed: int) -> dict[tuple[int, ...], float]:
    """Return the cost of each node of a tree, which only grows along it."""
    rng = torch.Generator().manual_seed(seed)
    costs: dict[tuple[int, ...], float] = {(): 0.0}
    for depth in range(1, DEPTH + 1):
        for node in itertools.product(range(BRANCHES), repeat=depth):
            costs[node] = costs[node[:-1]] + float(torch.rand((), generator=rng, dtype=torch.float64))
    return costs


def searched(costs: dict[tuple[int, ...], float], search: TreeSearch) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    """Return the nodes that were developed, in order, and the first finished one; as an optimizer would search."""
    developed, waiting = [()], []
    order = []
    while len(developed[0]) < DEPTH:
        order += developed
        children = [(*node, branch) for node in developed for branch in range(BRANCHES)]
        nodes = [*waiting, *children]
        chosen, kept = search.next(
            torch.tensor([costs[node] for node in waiting]), torch.tensor([costs[node] for node in children])
        )
        developed, waiting = [nodes[place] for place in chosen], [nodes[place] for place in kept]
    return order, developed[0]


def leaves() -> list[tuple[int, ...]]:
    """Return all finished nodes."""
    return list(itertools.product(range(BRANCHES), repeat=DEPTH))


@pytest.mark.parametrize("seed", range(8))
def test_uniform_cost_finds_the_cheapest(seed: int) -> None:
    """Of all finished nodes, and without developing one that is dearer than it."""
    costs = tree(seed)
    order, found = searched(costs, TreeSearch(strategy="uniform-cost", frontier_size=BRANCHES**DEPTH))

    assert found == min(leaves(), key=costs.__getitem__)
    assert all(costs[node] <= costs[found] for node in order)
    assert sorted(costs[node] for node in order) == [costs[node] for node in order]


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_cheapest(seed: int) -> None:
    """A beam that holds everything forgets nothing."""
    costs = tree(seed)

    assert searched(costs, TreeSearch(beam_width=BRANCHES**DEPTH))[1] == min(leaves(), key=costs.__getitem__)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [1, 2, 5])
def test_beam_equals_a_slow_one(seed: int, width: int) -> None:
    """Level by level, all children sorted; greedy with a width of 1."""
    costs, level = tree(seed), [()]
    for _ in range(DEPTH):
        children = [(*node, branch) for node in level for branch in range(BRANCHES)]
        level = sorted(children, key=costs.__getitem__)[:width]

    assert searched(costs, TreeSearch(beam_width=width))[1] == level[0]


def test_a_small_frontier_forgets_the_dearest() -> None:
    """What no longer fits is gone for good, and never the cheapest."""
    search = TreeSearch(strategy="uniform-cost", frontier_size=2)
    chosen, kept = search.next(torch.tensor([0.4, 0.9]), torch.tensor([0.6, 0.1]))

    assert chosen.tolist() == [3]
    assert kept.tolist() == [0, 2]


@pytest.mark.parametrize("strategy", ["beam", "uniform-cost"])
def test_nothing_left(strategy: str) -> None:
    """What is out of question is neither developed nor kept."""
    chosen, kept = TreeSearch(strategy=strategy).next(torch.tensor([]), torch.tensor([torch.inf, torch.inf]))

    assert not len(chosen)
    assert not len(kept)


def test_of_equal_costs_the_earlier() -> None:
    """What has waited longer goes first, so that the order is always the same."""
    chosen, kept = TreeSearch(strategy="uniform-cost").next(torch.tensor([0.5]), torch.tensor([0.5, 0.5]))

    assert chosen.tolist() == [0]
    assert kept.tolist() == [1, 2]
