"""Which few columns to move, where only so many may change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.feature_space import FeatureSearchSpace
    from preimage_counterfactual.optimizers.nearest import Bowl

__all__ = ["few_columns", "supports"]

_FLAT = 1e-9
_FAR = 1e6
"""How far columns without bounds are thought to reach."""


def few_columns(space: FeatureSearchSpace, bowl: Bowl, normal: Tensor, offset: Tensor, run: Tensor) -> list[Bowl]:
    """Return the forms in which only so many columns may move as the space allows, cheapest first; see `supports`.

    Arguments:
        space: knows the limit, and where each query stays in what it does not move.
        bowl: the forms of the queries `run`.
        normal: ``(N, D)``.
        offset: ``(N,)``.
        run: the queries, ``(N,)``.
    """
    assert space.max_changed is not None
    anchor = space.anchor[run]
    # A column that is held away from the query has changed already.
    left = (space.max_changed - space.changed(anchor, run).sum(dim=1)).clamp_min(0)
    sets = supports(bowl, anchor, normal, offset, space.columns, left)
    return [bowl.within(free, anchor) for free in sets]


def supports(
    bowl: Bowl, anchor: Tensor, normal: Tensor, offset: Tensor, columns: Tensor, counts: Tensor
) -> list[Tensor]:
    """Return sets of columns that are worth moving, each as the floats that belong to them, bool ``(N, D)``.

    Which columns bring a row behind the plane ``normal · x = offset`` cheaply is a matter of the distance, and which
    bring it there at all is one of their bounds. So columns are given up one after another, always the one whose
    return costs least; and when k, 2k, 4k and so on are left, those k of them make a set that reach farthest within
    their bounds. The first set is the cheapest if no bound is met, the last one goes as far as k numbers can.

    Where the rest follows freely, returning coordinate j costs ``d[j]² / V[j, j]``, where V is the covariance within
    the plane; the rest then moves by ``-V[:, j] d[j] / V[j, j]`` and V loses what it knew of j. This is backward
    elimination in closed form: no gradient, no call of the model.

    Arguments:
        bowl: the forms of the distances; what is fixed in them is never moved.
        anchor: where columns are that do not move, ``(N, D)``.
        normal: ``(N, D)``.
        offset: ``(N,)``.
        columns: the column of each float, ``(D,)``.
        counts: how many columns each query may move, k, ``(N,)``.
    """
    n_runs = len(normal)
    n_columns, count = int(columns.max()) + 1, int(counts.max())
    every = torch.arange(n_runs, device=normal.device)
    held = bowl.lower == bowl.upper
    covariance, centre = bowl.given(held, torch.where(held, bowl.lower, 0.0))
    covariance = covariance.expand(n_runs, -1, -1)
    along = torch.einsum("nij,nj->ni", covariance, normal)
    height = (along * normal).sum(dim=1).clamp_min(1e-30)
    point = centre - along * (((normal * centre).sum(dim=1) - offset) / height)[:, None]
    within = covariance - along[:, :, None] * along[:, None] / height[:, None, None]
    step = point - anchor
    room = (torch.where(normal > 0, bowl.lower, bowl.upper) - anchor).clamp(-_FAR, _FAR)
    reach = torch.zeros(n_runs, n_columns, dtype=normal.dtype).index_add_(1, columns, (-normal * room).clamp_min(0))
    kept = torch.zeros(n_runs, n_columns, dtype=normal.dtype).index_add_(1, columns, (~held).to(normal)) > 0
    sets = [_farthest(reach, kept, counts)]
    for left in range(n_columns - 1, count - 1, -1):
        variance = within.diagonal(dim1=1, dim2=2)
        cost = torch.where(
            variance > _FLAT, step.square() / variance.clamp_min(_FLAT), torch.where(held, 0.0, torch.inf)
        )
        by_column = torch.where(kept, torch.zeros_like(reach).index_add_(1, columns, cost), torch.inf)
        worst = by_column.argmin(dim=1)
        over = (kept.sum(dim=1) > left) & (by_column[every, worst] < torch.inf)
        for place in range(int(torch.bincount(columns).max())):
            float_of = _nth_float(columns, worst, place)
            index = float_of.clamp_min(0)
            spread = within[every, :, index]
            own = spread[every, index]
            usable = over & (float_of >= 0) & (own > _FLAT)
            factor = torch.where(usable, 1 / own.clamp_min(_FLAT), 0.0)
            step = step - spread * (step[every, index] * factor)[:, None]
            within = within - spread[:, :, None] * spread[:, None] * factor[:, None, None]
        kept[every[over], worst[over]] = False
        share = left // max(count, 1)
        if left == share * count and share.bit_count() == 1:
            sets.append(_farthest(reach, kept, counts))
    return [one[:, columns] & ~held for one in reversed(sets)]


def _farthest(reach: Tensor, among: Tensor, counts: Tensor) -> Tensor:
    """Return which columns of a set reach farthest, so many of each query, bool ``(N, C)``."""
    rank = torch.where(among, reach, -1.0).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return among & (rank < counts[:, None])


def _nth_float(columns: Tensor, column: Tensor, place: int) -> Tensor:
    """Return the position of the float with number `place` of each column, ``(N,)``; -1 where it has fewer."""
    matches = columns[None] == column[:, None]
    order = matches.cumsum(dim=1) - 1
    hit = matches & (order == place)
    return torch.where(hit.any(dim=1), hit.int().argmax(dim=1), -1)
