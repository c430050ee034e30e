"""Searches that start from one query and may change different columns each, for answers that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.reach import TableReach

__all__ = ["subspaces"]


def subspaces(reach: TableReach, times: int, seed: int) -> Tensor:
    """Return what each of `times` searches for each query may change, bool ``(N * times, D)``.

    The first may change everything that its query allows. Every other may change a random half of the columns, at
    least one of them; which half depends on the seed and the search, not on the query.
    """
    columns = reach.columns
    n_columns = int(columns.max()) + 1
    rng = torch.Generator().manual_seed(seed)
    order = torch.rand(times, n_columns, generator=rng)
    # Halves of the columns that can change at all in any of the queries.
    movable = torch.zeros(n_columns, dtype=torch.bool).index_put((columns[reach.free.any(dim=0)],), torch.tensor(True))
    order[:, ~movable] = torch.inf
    half = max(1, int(movable.sum()) // 2)
    chosen = torch.zeros(times, n_columns, dtype=torch.bool)
    chosen.scatter_(1, order.argsort(dim=1)[:, :half], True)
    chosen[0] = True
    return (chosen[:, columns] | reach.space.follower).repeat(len(reach.reference), 1)
