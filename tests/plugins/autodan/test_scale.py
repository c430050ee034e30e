"""Gradients on a common scale."""

from __future__ import annotations

import torch

from preimage_autodan.scale import standardised


def test_standardised_rows_have_mean_zero_and_deviation_one():
    """Whatever the scale; equal values, and what rounding leaves of them, are zeros."""
    values = torch.randn(4, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scaled = standardised(values * torch.tensor([[1e-12], [1.0], [1e9], [0.0]]) + 3e-12)

    torch.testing.assert_close(scaled.mean(dim=1), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(scaled.std(dim=1, correction=0)[:3], torch.ones(3, dtype=torch.float64))
    assert (scaled[3] == 0).all()
