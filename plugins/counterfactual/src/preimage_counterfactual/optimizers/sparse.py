"""Which few columns to move, where only so many may change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.optimizers.nearest import Bowl

__all__ = ["columns_to_keep"]


def columns_to_keep(bowl: Bowl, normal: Tensor, offset: Tensor, columns: Tensor, count: int) -> Tensor:
    """Return which floats belong to the `count` columns that are worth moving, bool ``(N, D)``.

    Begins with the nearest point on the plane ``normal · x = offset`` and gives up one column after another, each
    time the one whose return to the query costs least. Where the rest follows freely, returning coordinate j costs
    ``d[j]² / V[j, j]``, where V is the covariance within the plane; the rest then moves by ``-V[:, j] d[j] / V[j, j]``
    and V loses what it knew of j. This is backward elimination in closed form: no gradient, no call of the model.

    Arguments:
        bowl: the forms of the distances; what is fixed in them is given up first.
        normal: ``(N, D)``.
        offset: ``(N,)``.
        columns: the column of each float, ``(D,)``.
        count: how many columns to keep.
    """
    n_runs, width = normal.shape
    n_columns = int(columns.max()) + 1
    held = bowl.lower == bowl.upper
    reference = torch.where(held, bowl.lower, bowl.bottom())
    covariance, centre = bowl.given(held, torch.where(held, bowl.lower, 0.0))
    covariance = covariance.expand(n_runs, -1, -1)
    along = torch.einsum("nij,nj->ni", covariance, normal)
    height = (along * normal).sum(dim=1).clamp_min(1e-30)
    point = centre - along * (((normal * centre).sum(dim=1) - offset) / height)[:, None]
    within = covariance - along[:, :, None] * along[:, None] / height[:, None, None]
    step = point - reference
    kept = torch.zeros(n_runs, n_columns, dtype=torch.bool).index_put(
        tuple(torch.stack([torch.arange(n_runs).repeat_interleave(width), columns.repeat(n_runs)])),
        ~held.flatten(),
        accumulate=True,
    )
    every = torch.arange(n_runs)
    for _ in range(n_columns - count):
        variance = within.diagonal(dim1=1, dim2=2)
        cost = torch.where(variance > 1e-9, step.square() / variance.clamp_min(1e-9), torch.where(held, 0.0, torch.inf))
        by_column = cost.new_zeros(n_runs, n_columns).index_add_(1, columns, cost)
        by_column = torch.where(kept, by_column, torch.inf)
        worst = by_column.argmin(dim=1)
        over = (kept.sum(dim=1) > count) & (by_column[every, worst] < torch.inf)
        if not over.any():
            break
        for place in range(int(torch.bincount(columns).max())):
            float_of = _nth_float(columns, worst, place)
            valid = over & (float_of >= 0)
            index = float_of.clamp_min(0)
            spread = within[every, :, index]
            own = spread[every, index]
            usable = valid & (own > 1e-9)
            factor = torch.where(usable, 1 / own.clamp_min(1e-9), 0.0)
            step = step - spread * (step[every, index] * factor)[:, None]
            within = within - spread[:, :, None] * spread[:, None] * factor[:, None, None]
        kept[every[over], worst[over]] = False
    return kept[:, columns] & ~held


def _nth_float(columns: Tensor, column: Tensor, place: int) -> Tensor:
    """Return the position of the float with number `place` of each column, ``(N,)``; -1 where it has fewer."""
    matches = columns[None] == column[:, None]
    order = matches.cumsum(dim=1) - 1
    hit = matches & (order == place)
    return torch.where(hit.any(dim=1), hit.int().argmax(dim=1), -1)
