"""Columns handed over from rows that exist, one after another, until the decision turns."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import torch

from preimage.api import Losses
from preimage_counterfactual.optimizers.neighbours import unlike_neighbours

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.feature_space import FeatureSearchSpace

__all__ = ["copied_columns"]


def copied_columns(space: FeatureSearchSpace, donors: int, most: int) -> Generator[Losses, Any, Tensor]:
    """Look for rows that take at most `most` columns from a known row that is decided as wanted.

    Each donor hands over one column at a time, always the one that brings the margin down most. Donors are the
    nearest rows that are decided as wanted, so that what they hand over goes together; where none of them turns the
    decision with so few columns, rows that are decided most clearly take their place.

    Arguments:
        space: knows the donors.
        donors: how many for each query.
        most: columns that may change.

    Returns:
        The rows at the end of each donor's path, ``(N, donors, D)``, decided as wanted or not.
    """
    near, _ = unlike_neighbours(space, donors)
    ends, margins = yield from _handed_over(space, near, torch.arange(space.n_runs, device=space.device), most)
    lost = (margins > 0).all(dim=1).nonzero().flatten()
    if len(lost) and len(space.known):
        clear = space.known_margins[:, lost].topk(min(donors, len(space.known)), dim=0, largest=False).indices
        run = lost.repeat_interleave(len(clear))
        far = space.project(space.known[clear.T.flatten()], run).view(len(lost), len(clear), -1)
        others, _ = yield from _handed_over(space, far, lost, most)
        ends = ends.index_put((lost[:, None], torch.arange(others.shape[1])[None]), others)
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
