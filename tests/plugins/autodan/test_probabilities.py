"""Log-probabilities and gradients on a common scale."""

from __future__ import annotations

import pytest
import torch

from preimage_autodan.probabilities import normalised, standardised


def log_probs(rows=3, columns=500, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    return torch.log_softmax(4 * torch.randn(rows, columns, generator=rng, dtype=dtype), dim=1)


@pytest.mark.parametrize("weight", [0.001, 0.05, 0.9, 3.0, 1000.0])
def test_a_weight_is_taken_back(weight):
    """Whatever a language model's term weighs, its own log-probabilities come out."""
    torch.testing.assert_close(normalised(weight * log_probs()), log_probs(), rtol=1e-6, atol=1e-6)


def test_single_precision_is_enough():
    """The factor is found from float32, too."""
    truth = log_probs(dtype=torch.float32)
    torch.testing.assert_close(normalised(0.02 * truth), truth.double(), rtol=1e-3, atol=1e-3)


def test_rows_have_factors_of_their_own():
    """Two models of different weights, row by row."""
    weights = torch.tensor([[0.1], [1.0], [2.0]])
    torch.testing.assert_close(normalised(weights * log_probs()), log_probs(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0, -1.0])
def test_rows_without_a_factor_stay(weight):
    """True log-probabilities are returned exactly, and so is what cannot be made one."""
    assert torch.equal(normalised(weight * log_probs()), weight * log_probs())


def test_a_certain_model_stays_certain():
    """A probability of 1 has no factor, and nothing becomes NaN."""
    certain = torch.tensor([[0.0, -50.0, -1e4]], dtype=torch.float64)
    assert torch.equal(normalised(0.5 * certain), 0.5 * certain)


def test_standardised_rows_have_mean_zero_and_deviation_one():
    """Whatever the scale; equal values, and what rounding leaves of them, are zeros."""
    values = torch.randn(4, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scaled = standardised(values * torch.tensor([[1e-12], [1.0], [1e9], [0.0]]) + 3e-12)

    torch.testing.assert_close(scaled.mean(dim=1), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(scaled.std(dim=1, correction=0)[:3], torch.ones(3, dtype=torch.float64))
    assert (scaled[3] == 0).all()
