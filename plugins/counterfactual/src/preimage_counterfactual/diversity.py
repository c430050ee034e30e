"""Several answers to one query that are near to it and unlike each other, by a determinantal point process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["select_diverse"]

_LIKENESS = 0.5
_NOTHING = 1e-9
"""A gain as small as this comes from a copy of what has been picked."""


def select_diverse(rows: Tensor, distances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return which of M candidates to answer to each of Q queries, and which of these count, ``(Q, count)`` each.

    The first is the nearest. Where candidates run out, or only copies are left, a place does not count.

    A set is as good as the determinant of its kernel ``L[i, j] = q[i] q[j] k(i, j)``, with the quality
    ``q = exp(-d / (2 m))`` of a candidate at distance d, where m is the median distance, and the likeness
    ``k = exp(-|x[i] - x[j]|² / (2 s²))`` of two, where s is half the median difference. The set is built greedily:
    the next candidate is the one that raises the determinant most, which a Cholesky factor tells row by row.

    Arguments:
        rows: candidates, ``(Q, M, D)``.
        distances: of the candidates, ``(Q, M)``; infinite where there is none.
        count: how many to select.
    """
    n_queries, n_candidates, _ = rows.shape
    present = distances < torch.inf
    middle = torch.where(present, distances, torch.nan).nanmedian(dim=1, keepdim=True).values.nan_to_num(1.0)
    cost = torch.where(present, distances - distances.amin(dim=1, keepdim=True), 0.0)
    quality = torch.exp(-cost / (2 * middle.abs().clamp_min(1e-12)))
    squared = torch.cdist(rows, rows).square()
    pairs = present[:, :, None] & present[:, None] & (squared > 1e-18)
    spread = torch.where(pairs, squared, torch.nan).flatten(1).nanmedian(dim=1).values.nan_to_num(1.0)
    likeness = torch.exp(-squared / (2 * (_LIKENESS**2 * spread)[:, None, None]))
    kernel = quality[:, :, None] * likeness * quality[:, None]
    gain = torch.where(present, kernel.diagonal(dim1=1, dim2=2), -torch.inf)
    # The nearest answer is always the first: it has the best quality, 1.
    factor = kernel.new_zeros(n_queries, n_candidates, 0)
    picked, fresh = [], []
    queries = torch.arange(n_queries, device=rows.device)
    for _ in range(count):
        best = gain.argmax(dim=1)
        picked.append(best)
        fresh.append(gain[queries, best] > _NOTHING)
        pivot = gain[queries, best].clamp_min(_NOTHING).sqrt()
        column = kernel[queries, best] - (factor @ factor[queries, best][:, :, None])[:, :, 0]
        column = column / pivot[:, None]
        factor = torch.cat([factor, column[:, :, None]], dim=2)
        gain = (gain - column.square()).scatter(1, best[:, None], -torch.inf)
    return torch.stack(picked, dim=1), torch.stack(fresh, dim=1)
