"""The nearest point whose coordinates sum to one, within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["nearest_in_simplex"]

_HALVINGS = 60
_EXACT = 1e-12
"""How little the sum of a row may differ from 1 where nothing needs to be found."""


def nearest_in_simplex(points: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return for each row of `points`, ``(B, L)``, the nearest row between the bounds that sums to 1.

    It is ``clamp(p - t)`` with one shift ``t`` a row, which makes the sum fall steadily, so that halving finds it.
    Where the sum is 1 without a shift, as it is of every level that exists, none is looked for.

    Arguments:
        points: ``(B, L)``.
        lower: ``(B, L)``, with a sum of at most 1.
        upper: ``(B, L)``, with a sum of at least 1.

    >>> ones = torch.ones(1, 3)
    >>> nearest_in_simplex(torch.tensor([[0.9, 0.5, 0.0]]), 0 * ones, ones)
    tensor([[0.7000, 0.3000, 0.0000]])
    """
    rows = torch.clamp(points, lower, upper)
    off = ((rows.sum(dim=1) - 1).abs() > _EXACT).nonzero().flatten()
    if len(off):
        rows[off] = _shifted(points[off], lower[off], upper[off])
    return rows


def _shifted(points: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    low = (points - upper).amin(dim=1, keepdim=True)
    high = (points - lower).amax(dim=1, keepdim=True)
    for _ in range(_HALVINGS):
        shift = (low + high) / 2
        above = torch.clamp(points - shift, lower, upper).sum(dim=1, keepdim=True) > 1
        low, high = torch.where(above, shift, low), torch.where(above, high, shift)
    return torch.clamp(points - (low + high) / 2, lower, upper)
