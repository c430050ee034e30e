"""Normal scores: columns of any shape brought to the bell curve by their ranks, and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import torch

from preimage_counterfactual.distances.covariance import Whitening, ledoit_wolf_share, whiten

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Margins", "correlation", "mid_ranks"]


@attrs.frozen(eq=False)
class Margins:
    """The rising curve from each column's values to normal scores, u = Φ⁻¹(F(x)).

    F gives a value the share of rows below it and half of those equal (the mid-rank), so that a value's score
    depends on its rank alone. Between the values of the data the curve is straight, beyond them it goes on with
    the slope that spread and bell curve have on the whole.

    Attributes hold one row a column, padded on the right to the longest.
    """

    values: Tensor
    """The distinct values, rising, ``(K, V)``; padded with the last."""
    scores: Tensor
    """Their normal scores, ``(K, V)``."""
    lower: Tensor
    """Where each value's share of the bell curve begins, ``(K, V)``: between here and the next, draws are it."""
    upper: Tensor
    """Where it ends."""
    slope: Tensor
    """The rise of the score per unit beyond the data, ``(K,)``."""

    @classmethod
    def of(cls, numbers: Tensor) -> Margins:
        """Return the curves of a table's numeric columns, ``(N, K)``."""
        columns = [_curve(column) for column in numbers.T]
        longest = max((len(values) for values, *_ in columns), default=1)
        stacked = [numbers.new_zeros(len(columns), longest) for _ in range(4)]
        for row, curve in enumerate(columns):
            for target, points in zip(stacked, curve, strict=True):
                # The last point of the curve, and for `lower` the end of its share, so that knots go on rising.
                target[row] = curve[3][-1] if target is stacked[2] else points[-1]
                target[row, : len(points)] = points
        spread = numbers.std(dim=0, correction=0)
        slope = torch.where(spread > 0, 1 / spread.clamp_min(torch.finfo(spread.dtype).tiny), torch.ones_like(spread))
        values, scores, lower, upper = stacked
        return cls(values, scores, lower, upper, slope)

    def __call__(self, numbers: Tensor) -> Tensor:
        """Return the normal scores, ``(B, K)``, of numbers, ``(B, K)``; gradients follow the straight pieces."""
        return _along(numbers, self.values, self.scores, self.slope)

    def back(self, scores: Tensor) -> Tensor:
        """Return the numbers, ``(B, K)``, that have these scores.

        A value that several rows share owns its whole part of the bell curve, so that draws of a column with few
        values are such values, as often as in the data.
        """
        knots = torch.stack([self.lower, self.upper], dim=2).flatten(start_dim=1)
        values = self.values.repeat_interleave(2, dim=1)
        return _along(scores, knots, values, 1 / self.slope)


def _curve(column: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    values, counts = column.unique(return_counts=True)
    ends = counts.cumsum(0).to(column.dtype)
    middles = _score((ends - counts / 2) / len(column))
    edge = 0.5 / len(column)
    lower = _score(((ends - counts) / len(column)).clamp_min(edge))
    upper = _score((ends / len(column)).clamp_max(1 - edge))
    # A value of a single row is a point of a curve, not a step.
    single = counts == 1
    return values, middles, torch.where(single, middles, lower), torch.where(single, middles, upper)


def _score(shares: Tensor) -> Tensor:
    return math.sqrt(2) * torch.erfinv(2 * shares - 1)


def _along(given: Tensor, knots: Tensor, heights: Tensor, slope: Tensor) -> Tensor:
    """Return the heights, ``(B, K)``, of the curves through ``(K, V)`` points at `given`, ``(B, K)``."""
    last = knots.shape[1] - 1
    columns = given.T.contiguous()
    above = torch.searchsorted(knots, columns.detach()).clamp(1, max(last, 1)).clamp_max(last)
    below = (above - 1).clamp_min(0)
    x0, x1 = knots.gather(1, below), knots.gather(1, above)
    y0, y1 = heights.gather(1, below), heights.gather(1, above)
    run = x1 - x0
    share = torch.where(run > 0, (columns - x0) / torch.where(run > 0, run, 1.0), 1.0).clamp(0, 1)
    beyond = (columns - knots[:, -1:]).clamp_min(0) + (columns - knots[:, :1]).clamp_max(0)
    return (y0 + share * (y1 - y0) + beyond * slope.unsqueeze(1)).T


def correlation(numbers: Tensor, shrinkage: str | float) -> Whitening:
    """Return the whitening of the normal scores of a table, ``(N, K)``, which have mean 0 and variance 1.

    The correlation of scores follows from that of mid-ranks (Spearman's s) as 2 sin(π s / 6), which holds exactly
    for a Gaussian copula, and is then shrunk. Such a matrix may have small negative eigenvalues; they are left out.

    Raises:
        InputError: all rows are alike.
    """
    ranks = mid_ranks(numbers)
    apart = ranks - ranks.mean(dim=0)
    spread = apart.square().mean(dim=0).sqrt()
    scaled = apart / torch.where(spread > 0, spread, torch.ones_like(spread))
    spearman = scaled.T @ scaled / len(numbers)
    matrix = 2 * torch.sin(torch.pi * spearman / 6)
    matrix.diagonal().copy_((spread > 0).to(matrix))
    share = ledoit_wolf_share(scaled) if shrinkage == "ledoit-wolf" else float(shrinkage)
    shrunk = (1 - share) * matrix + share * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return whiten(torch.zeros_like(spread), shrunk)


def mid_ranks(numbers: Tensor) -> Tensor:
    """Return the rank of each value in its column, ``(N, K)``, from 1; equal values share the mean of theirs.

    >>> mid_ranks(torch.tensor([[3.0], [1.0], [3.0]])).flatten()
    tensor([2.5000, 1.0000, 2.5000])
    """
    ranks = torch.empty_like(numbers)
    for index, column in enumerate(numbers.T):
        _, inverse, counts = column.unique(return_inverse=True, return_counts=True)
        ends = counts.cumsum(0)
        ranks[:, index] = (ends - (counts - 1) / 2).to(numbers)[inverse]
    return ranks
