"""AdamW as a function gives the numbers of torch's."""

from __future__ import annotations

import pytest
import torch

from preimage_pez.adamw import Moments, adamw


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("lr", [0.01, 0.5])
def test_it_equals_torch_over_many_steps(lr, weight_decay):
    """Parameters and moments follow `torch.optim.AdamW` for twenty steps of gradients of all sizes."""
    parameters = draw(3, 2, 4)
    theirs = torch.nn.Parameter(parameters.clone())
    optimizer = torch.optim.AdamW([theirs], lr=lr, weight_decay=weight_decay)
    moments = Moments(torch.zeros_like(parameters), torch.zeros_like(parameters))
    for step in range(20):
        gradient = draw(3, 2, 4, seed=step + 1) * 10.0 ** (step % 7 - 3)
        theirs.grad = gradient.clone()
        optimizer.step()
        parameters, moments = adamw(parameters, gradient, moments, step, lr=lr, weight_decay=weight_decay)
        torch.testing.assert_close(parameters, theirs.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moments.first, optimizer.state[theirs]["exp_avg"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moments.second, optimizer.state[theirs]["exp_avg_sq"], rtol=1e-12, atol=1e-12)


def test_it_equals_torch_where_the_rate_falls():
    """A schedule of torch's and a rate handed over step by step come to the same."""
    parameters = draw(5)
    theirs = torch.nn.Parameter(parameters.clone())
    optimizer = torch.optim.AdamW([theirs], lr=0.2, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 10)
    moments = Moments(torch.zeros(5).double(), torch.zeros(5).double())
    for step in range(10):
        gradient = draw(5, seed=step + 1)
        theirs.grad = gradient.clone()
        optimizer.step()
        schedule.step()
        parameters, moments = adamw(parameters, gradient, moments, step, lr=0.2 * (1 - step / 10), weight_decay=0.1)

    torch.testing.assert_close(parameters, theirs.detach(), rtol=1e-12, atol=1e-12)


def test_gradients_of_zero_move_nothing():
    """Zero divided by the root of zero is not a number; here it is no step, and decay goes on alone."""
    zeros = torch.zeros(4)
    moved, moments = adamw(torch.ones(4), zeros, Moments(zeros, zeros), 0, lr=0.1, weight_decay=0.5)

    assert moved.tolist() == pytest.approx([0.95] * 4)
    assert not moments.first.any()
    assert not moments.second.any()


def test_nothing_that_is_given_is_written_to():
    """Parameters, gradient and moments are what they were."""
    given = [draw(6, seed=seed).abs() for seed in range(4)]
    copies = [tensor.clone() for tensor in given]
    adamw(given[0], given[1], Moments(given[2], given[3]), 3, lr=0.1, weight_decay=0.1)

    assert all(map(torch.equal, given, copies))
