"""Searches that start from one query and end apart: in each of them another column has been moved beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.reach import TableReach

__all__ = ["detours"]

_LEAST, _MOST = 0.25, 1.0


def detours(reach: TableReach, times: int, seed: int, n_free: int = 1) -> tuple[Tensor, Tensor]:
    """Return what each of `times` searches for each query is held at, and where, ``(N * times, D)`` both.

    The first searches are free. Every other one holds a random number at a quarter to one standard deviation from the
    query's, up or down as far as its bounds allow; what goes together with that column may follow, so that the detour
    costs little where a distance knows of it. A column of levels is held at another permitted level.
    Which column it is, which way and how far depends on the seed and the search, not on the query.

    Arguments:
        reach: of the queries.
        times: searches for each of them.
        seed: of the choice.
        n_free: how many searches of each query begin at the query itself.

    Returns:
        Values, and which of them are held, bool.
    """
    rng = torch.Generator().manual_seed(seed)
    columns, free = reach.columns, reach.free
    movable = columns[free.any(dim=0)].unique()
    values = reach.reference.repeat_interleave(times, dim=0).clone()
    held = torch.zeros_like(values, dtype=torch.bool)
    if not len(movable):
        return values, held
    grouped = {int(columns[group.start]): group for group in reach.groups}
    order = torch.cat([movable[torch.randperm(len(movable), generator=rng)] for _ in range(-(-times // len(movable)))])
    for place in range(n_free, times):
        column = int(order[place - n_free])
        share, up = torch.rand(2, generator=rng).tolist()
        step = (_LEAST + (_MOST - _LEAST) * share) * (1 if up < 0.5 else -1)
        rows = slice(place, None, times)
        if column in grouped:
            _hold_level(reach, values, held, rows, grouped[column], share)
            continue
        (at,) = (columns == column).nonzero().flatten().tolist()
        before, lower, upper = reach.reference[:, at], reach.lower[:, at], reach.upper[:, at]
        after = before + step
        after = torch.where((after > upper) | (after < lower), before - step, after)
        values[rows, at] = torch.clamp(after, lower, upper)
        held[rows, at] = free[:, at]
    return values, held


def _hold_level(reach: TableReach, values: Tensor, held: Tensor, rows: slice, group: slice, share: float) -> None:
    """Hold a block at a level that is permitted and not the query's, where there is one."""
    own = reach.reference[:, group] > 0
    others = (reach.upper[:, group] > 0) & ~own
    count = others.sum(dim=1)
    pick = (share * count).long().clamp_max((count - 1).clamp_min(0))
    chosen = others & (others.cumsum(dim=1) - 1 == pick[:, None])
    able = (count > 0) & reach.free[:, group].any(dim=1)
    values[rows, group] = torch.where(able[:, None], chosen.to(values), values[rows, group])
    held[rows, group] = able[:, None].expand_as(chosen)
