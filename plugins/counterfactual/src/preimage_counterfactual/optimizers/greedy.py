"""Columns handed over from rows that exist, one after another, until the decision turns."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import torch

from preimage.api import Losses
from preimage_counterfactual.optimizers.neighbours import clearest_rows, unlike_neighbours

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.feature_space import FeatureSearchSpace

__all__ = ["copied_columns"]

_BEAM = 4
"""Rows of a query that go on where all donors hand over together, and donors that do."""


def copied_columns(
    space: FeatureSearchSpace, donors: int, most: int, queries: Tensor
) -> Generator[Losses, Any, Tensor]:
    """Look for rows that take at most `most` columns from known rows that are decided as wanted.

    Each donor hands over one column at a time, always the one that brings the margin down most. Donors are the
    nearest rows that are decided as wanted, so that what they hand over goes together. Where none of them turns the
    decision with so few columns, rows that are decided most clearly take their place; and where these do not
    either, all of them hand over together, and beside them the bounds themselves, to the few rows that got farthest.

    Arguments:
        space: knows the donors.
        donors: how many for each query.
        most: columns that may change.
        queries: those to look for, ``(Q,)``.

    Returns:
        The rows at the end of each path, ``(Q, donors, D)``, decided as wanted or not.
    """
    near, _ = unlike_neighbours(space, donors)
    ends, margins = yield from _handed_over(space, near[queries], queries, most)
    lost = (margins > 0).all(dim=1).nonzero().flatten()
    if not len(lost) or not len(space.known):
        return ends
    run = queries[lost]
    far = clearest_rows(space, donors, run)
    others, margins = yield from _handed_over(space, far, run, most)
    ends = ends.index_put((lost[:, None], torch.arange(others.shape[1])[None]), others)
    still = (margins > 0).all(dim=1).nonzero().flatten()
    if len(still):
        corners = torch.stack([space.lower[run[still]], space.upper[run[still]]], dim=1)
        corners = torch.where(corners.isfinite(), corners, space.reference[run[still], None])
        together = yield from _handed_together(space, torch.cat([far[still, :_BEAM], corners], dim=1), run[still], most)
        together = together[:, :donors]
        ends = ends.index_put((lost[still][:, None], torch.arange(together.shape[1])[None]), together)
    return ends


def _handed_over(
    space: FeatureSearchSpace, donors: Tensor, queries: Tensor, most: int
) -> Generator[Losses, Any, tuple[Tensor, Tensor]]:
    """Return rows and margins at the end of the paths of `donors`, ``(Q, K, D)``: ``(Q, K, D)`` and ``(Q, K)``."""
    n_queries, n_donors, width = donors.shape
    run = queries.repeat_interleave(n_donors)
    givers = space.round(donors.flatten(0, 1), run)
    rows = space.reference[run].clone()
    margins = rows.new_full((len(rows),), torch.inf)
    masks = torch.stack([space.columns == column for column in range(space.n_columns)])
    for _ in range(most):
        open_ = (margins > 0).nonzero().flatten()
        differs = (givers[open_] != rows[open_])[:, None] & masks
        path, column = differs.any(dim=2).nonzero().unbind(dim=1)
        if not len(path):
            break
        tried = torch.where(masks[column], givers[open_][path], rows[open_][path])
        terms = yield Losses(tried, run[open_][path], terms=True)
        margin = terms[:, 0]
        least = margins.new_full((len(open_),), torch.inf).scatter_reduce(0, path, margin, "amin")
        winners = ((margin == least[path]) & (margin < torch.inf)).nonzero().flatten()
        rows[open_[path[winners]]] = tried[winners]
        margins[open_] = least
    return rows.view(n_queries, n_donors, width), margins.view(n_queries, n_donors)


def _handed_together(
    space: FeatureSearchSpace, donors: Tensor, queries: Tensor, most: int
) -> Generator[Losses, Any, Tensor]:
    """Return the rows that take columns from any of the `donors`, ``(Q, K, D)``, and get farthest, ``(Q, B, D)``."""
    n_queries, n_donors, width = donors.shape
    givers = space.round(donors.flatten(0, 1), queries.repeat_interleave(n_donors)).view(donors.shape)
    masks = torch.stack([space.columns == column for column in range(space.n_columns)])
    rows = space.reference[queries, None].expand(-1, _BEAM, -1).clone()
    open_ = torch.arange(n_queries, device=rows.device)
    for _ in range(most):
        # Every row of the beam with every column of every donor in its place: (Q, B, K, C, D).
        before = rows[open_][:, :, None, None]
        tried = torch.where(masks, givers[open_][:, None, :, None], before).flatten(1, 3)
        terms = yield Losses(tried.flatten(0, 1), queries[open_].repeat_interleave(tried.shape[1]), terms=True)
        margin, order = terms[:, 0].view(len(open_), -1).sort(dim=1, stable=True)
        # The same columns in another order are the same row, and rows that are decided alike often are, too.
        again = torch.zeros_like(margin, dtype=torch.bool)
        again[:, 1:] = margin[:, 1:] == margin[:, :-1]
        best = torch.where(again, torch.inf, margin).argsort(dim=1, stable=True)[:, :_BEAM]
        chosen = order.gather(1, best)
        rows[open_] = tried.gather(1, chosen[:, :, None].expand(-1, -1, width))
        open_ = open_[margin[:, 0] > 0]
        if not len(open_):
            break
    return rows
