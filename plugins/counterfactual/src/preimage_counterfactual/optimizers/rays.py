"""How far one must go from one row towards another: many rows, many points of each way, few calls of the model."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage.api import Losses

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.feature_space import FeatureSearchSpace

__all__ = ["Found", "along", "nearest_along"]


@attrs.frozen(eq=False)
class Found:
    """The best points that were found on B ways.

    Attributes:
        valid: whether there is one that is decided as wanted, bool ``(B,)``.
        rows: that point, rounded, ``(B, D)``; where there is none, the far end.
        distances: of these, ``(B,)``; infinite where there is none.
        share: how far along the way it is, ``(B,)``.
    """

    valid: Tensor
    rows: Tensor
    distances: Tensor
    share: Tensor


def along(
    space: FeatureSearchSpace,
    begin: Tensor,
    towards: Tensor,
    run: Tensor,
    *,
    low: float = 0.0,
    high: float = 1.0,
    points: int = 8,
    stages: int = 2,
) -> Generator[Losses, Any, Found]:
    """Look for the point of least distance that is decided as wanted, on the ways from `begin` to `towards`.

    The first stage asks about equally spaced points, each further one about as many points between the best and the
    one before it: with p points, s stages narrow a way down to about 1 / pˢ of it, for s calls of the model. Bisection
    would need 3 times as many calls with p = 8.

    Arguments:
        space: rounds, and knows the bounds.
        begin: ``(B, D)``.
        towards: ``(B, D)``.
        run: the query of each way, ``(B,)``.
        low: where on the way to begin to look; 0 is `begin`.
        high: where to end; 1 is `towards`, and more is beyond it.
        points: asked about in each stage, on each way.
        stages: how often to narrow down.
    """
    count = len(run)
    every = torch.arange(count, device=begin.device)
    owner = every.repeat_interleave(points)
    whole = torch.linspace(0, 1, points, dtype=begin.dtype, device=begin.device)
    between = torch.arange(1, points + 1, dtype=begin.dtype, device=begin.device) / (points + 1)
    lower, upper = begin.new_full((count,), low), begin.new_full((count,), high)
    best = Found(
        torch.zeros(count, dtype=torch.bool, device=begin.device),
        space.round(towards, run),
        begin.new_full((count,), torch.inf),
        upper,
    )
    for stage in range(stages):
        share = lower[:, None] + (upper - lower)[:, None] * (whole if stage == 0 else between)
        rows = begin[owner] + share.flatten()[:, None] * (towards - begin)[owner]
        rows = space.round(rows, run[owner])
        terms = yield Losses(rows, run[owner], terms=True)
        fits = terms[:, 0] <= 0
        if space.max_changed is not None:
            fits = fits & (space.changed(rows, run[owner]).sum(dim=1) <= space.max_changed)
        distances = torch.where(fits, terms[:, 1], torch.inf).view(count, points)
        least, place = distances.min(dim=1)
        better = least < best.distances
        chosen = share[every, place]
        best = Found(
            best.valid | better,
            torch.where(better[:, None], rows.view(count, points, -1)[every, place], best.rows),
            torch.where(better, least, best.distances),
            torch.where(better, chosen, best.share),
        )
        # Where this stage found nothing better, what is left to try lies beyond its last point.
        before = torch.where(place > 0, share[every, (place - 1).clamp_min(0)], lower)
        lower = torch.where(better, before, share[:, -1])
        upper = torch.where(better, chosen, upper)
    return best


def nearest_along(
    space: FeatureSearchSpace, begin: Tensor, ends: Tensor, run: Tensor, *, points: int, stages: int
) -> Generator[Losses, Any, tuple[Tensor, Tensor]]:
    """Return of each query the nearest row on several ways from one point, and its distance: ``(Q, D)`` and ``(Q,)``.

    Where there is none, the distance is infinite and the row the end of a way.

    Arguments:
        space: rounds rows.
        begin: ``(Q, D)``.
        ends: of the ways, ``(Q, K, D)``.
        run: the queries, ``(Q,)``.
        points: see `along`.
        stages: see `along`.
    """
    n_queries, count, width = ends.shape
    owner = torch.arange(n_queries, device=begin.device).repeat_interleave(count)
    found = yield from along(space, begin[owner], ends.flatten(0, 1), run[owner], points=points, stages=stages)
    cost, place = found.distances.view(n_queries, count).min(dim=1)
    rows = found.rows.view(n_queries, count, width)
    return rows[torch.arange(n_queries, device=rows.device), place], cost
