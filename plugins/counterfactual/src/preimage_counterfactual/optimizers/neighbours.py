"""Rows that exist and are decided as wanted."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.feature_space import FeatureSearchSpace

__all__ = ["clearest_rows", "unlike_neighbours"]


def unlike_neighbours(space: FeatureSearchSpace, count: int) -> tuple[Tensor, Tensor]:
    """Return for each query the nearest known rows that are decided as wanted, and whether there are any.

    Distances are taken after the rows have been made feasible: what a query may not change is the query's.

    Arguments:
        space: knows rows, how they are decided, and the distance.
        count: how many rows.

    Returns:
        Feasible rows, ``(N, count, D)``, and bool ``(N, 1)``. Where there are fewer, the nearest is repeated;
        where there are none, it is the query.
    """
    n_runs, n_known = space.n_runs, len(space.known)
    if n_known == 0:
        none = torch.zeros(n_runs, 1, dtype=torch.bool, device=space.device)
        return space.reference[:, None].expand(-1, count, -1), none
    wanted = space.known_margins <= 0
    distances = torch.where(wanted, _distances(space), torch.inf).T
    nearest, place = distances.topk(min(count, n_known), dim=1, largest=False)
    place = torch.where(nearest < torch.inf, place, place[:, :1])
    if place.shape[1] < count:
        place = torch.cat([place, place[:, :1].expand(-1, count - place.shape[1])], dim=1)
    run = torch.arange(n_runs, device=space.device).repeat_interleave(count)
    rows = space.project(space.known[place.flatten()], run).view(n_runs, count, -1)
    any_wanted = wanted.any(dim=0)[:, None]
    return torch.where(any_wanted[:, :, None], rows, space.reference[:, None]), any_wanted


def clearest_rows(space: FeatureSearchSpace, count: int, queries: Tensor) -> Tensor:
    """Return the known rows that are decided most clearly as wanted, made feasible, ``(Q, K, D)``.

    What a query may not change undoes sooner what its neighbours have to give than what these have. Where fewer rows
    are known than `count`, it is all of them.

    Arguments:
        space: knows rows, and how they are decided.
        count: how many rows.
        queries: those to look for, ``(Q,)``.
    """
    count = min(count, len(space.known))
    place = space.known_margins[:, queries].topk(count, dim=0, largest=False).indices.T
    rows = space.project(space.known[place.flatten()], queries.repeat_interleave(count))
    return rows.view(len(queries), count, rows.shape[1])


def _distances(space: FeatureSearchSpace) -> Tensor:
    """Return the distance of each known row from each query, ``(M, N)``."""
    n_runs, n_known = space.n_runs, len(space.known)
    everything_free = bool(space.free.all())
    if everything_free and hasattr(space.distance, "pairwise"):
        return _crossed(space)
    run = torch.arange(n_runs, device=space.device).repeat(n_known)
    rows = space.known.repeat_interleave(n_runs, dim=0)
    rows = rows if everything_free else space.project(rows, run)
    return space.distances(rows, run).view(n_known, n_runs)


def _crossed(space: FeatureSearchSpace) -> Tensor:
    """Return the same by products of matrices, one for each pair of classes that there is."""
    pairwise: Any = space.distance.pairwise  # type: ignore[attr-defined]
    if space.wanted is None or space.labels is None or "left_label" not in inspect.signature(pairwise).parameters:
        alike: Tensor = pairwise(space.known, space.reference)
        return alike
    distances = space.known.new_empty(len(space.known), space.n_runs)
    pairs, kind = torch.stack([space.wanted, space.labels]).unique(dim=1, return_inverse=True)
    for place, (wanted, present) in enumerate(pairs.T):
        own = kind == place
        target = wanted.expand(len(space.known))
        distances[:, own] = pairwise(space.known, space.reference[own], target, present.expand(int(own.sum())))
    return distances
