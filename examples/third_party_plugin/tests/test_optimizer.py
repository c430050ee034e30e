"""The coordinate sweep: where it ends, what it tries, and that it says so."""

from __future__ import annotations

import pytest
import torch

from preimage.budget import Budget
from preimage.loop import advance, begin
from preimage.testing.toy import brute_force, toy_problem
from preimage.track import Track
from preimage_coordinate_sweep.config import CoordinateSweepConfig
from preimage_coordinate_sweep.optimizer import CoordinateSweep


def search(problem, seed=0, **options):
    optimizer = CoordinateSweep(CoordinateSweepConfig(**options))
    searches = begin(problem, optimizer, [Track(0)], seed)
    advance(problem, optimizer, searches, Budget(num_steps=200))
    return searches[0]


@pytest.mark.parametrize("seed", range(3))
def test_with_restarts_it_finds_the_best_of_all_prompts(seed):
    """Sixteen starts on a world of 24 words are enough for the optimum that trying everything finds."""
    problem = toy_problem()
    ids, loss = brute_force(problem, length=2)
    found = search(problem, seed, prompt_length=2, restarts=15)

    assert found.tracks[0].best.ids == tuple(ids.tolist())
    assert found.tracks[0].best.loss == pytest.approx(loss)


def test_it_ends_where_no_replacement_helps():
    """Without restarts the last prompt is the best of all its neighbours."""
    problem = toy_problem()
    found = search(problem, prompt_length=3, restarts=0)
    current = found.state.current
    neighbours = current.repeat(3 * 24, 1)
    neighbours[torch.arange(3 * 24), torch.arange(3).repeat(24)] = torch.arange(24).repeat_interleave(3)
    losses = problem.losses(neighbours, torch.zeros(len(neighbours), dtype=torch.int64)).losses

    assert found.tracks[0].stop_reason == "done"
    assert found.tracks[0].best.loss == pytest.approx(float(losses.min()))


def test_only_the_shortlist_is_tried():
    """A shortlist of five tokens means five candidates and the present prompt at each position."""
    problem = toy_problem()
    optimizer = CoordinateSweep(CoordinateSweepConfig(optim_str_init="oak oak", shortlist_size=5))
    state = optimizer.start(problem.space, torch.Generator().manual_seed(0), None)
    candidates = optimizer.propose(problem.space, state)

    assert len(candidates) == 1 + int((state.shortlist != state.current[0]).sum())
    assert set(candidates[1:, 0].tolist()) <= set(state.shortlist.tolist())
    assert (candidates[:, 1] == state.current[1]).all()
