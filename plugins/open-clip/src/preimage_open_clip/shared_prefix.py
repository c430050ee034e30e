"""Beginnings that prompts of a batch have in common, computed once.

The candidates of a search mostly differ in one token. In a causal tower everything left of that token is the
same for all of them, and so are its keys and values. The prompts of a batch form a tree of beginnings: from its
root the *trunk* follows the most frequent token at each position. The trunk is run once, and its keys and values
are kept; the prompts that leave it at a position start from there, with the trunk's keys and values before them.
Prompts that leave it together may have a trunk of their own (several searches in one batch).

The results are those of the plain tower up to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import torch
from torch.nn import functional

from preimage_open_clip.tower import finish, project

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from preimage_open_clip.tower import TextTower

__all__ = ["Branch", "SharedPrefixes", "plan"]

# Fewer rows than this do not get a run of their own: each run costs the launch of every operation.
_FEWEST_ROWS = 24
# Share only where it leaves at most this part of the positions to compute.
_WORTHWHILE = 0.85


@attrs.frozen(eq=False)
class Branch:
    """Rows that are run together from position `start` on.

    Attributes:
        start: the first position that is computed; those before it come from the parent's first row.
        rows: indices of the rows; with `children` all of them are equal, and only the first is run.
        children: rows that leave the first row later.
    """

    start: int
    rows: NDArray[np.int64]
    children: tuple[Branch, ...] = ()

    def positions(self, length: int) -> int:
        """Return how many positions are computed in all, for rows of `length`."""
        own = 1 if self.children else len(self.rows)
        return own * (length - self.start) + sum(child.positions(length) for child in self.children)


def plan(ids: NDArray[np.int64]) -> Branch:
    """Return how to compute rows of ids, ``(B, T)``, whose last position is always computed.

    >>> branch = plan(np.array([[1, 2, 3, 9]] + [[1, 2, token, 9] for token in range(10, 40)]))
    >>> branch.start, branch.children[0].start, len(branch.children[0].rows)
    (0, 2, 30)
    """
    length = ids.shape[1]
    order = np.lexsort(ids.T[::-1])
    differs = ids[order[1:]] != ids[order[:-1]]
    # How long a beginning each row has in common with the one before it, in the order of the tree.
    common = np.where(differs.any(axis=1), differs.argmax(axis=1), length)
    return _grow(order, common, 0, length)


def _grow(rows: NDArray[np.int64], common: NDArray[np.int64], start: int, length: int) -> Branch:
    """Return the branch of sorted `rows` that have all positions before `start` in common."""
    alone = Branch(start, rows)
    if len(rows) <= _FEWEST_ROWS:
        return alone
    leaving = []
    first, last = 0, len(rows)
    while last - first > 1 and (fork := int(common[first : last - 1].min())) < length:
        cuts = first + 1 + np.flatnonzero(common[first : last - 1] == fork)
        bounds = np.concatenate([[first], cuts, [last]])
        widest = int(np.diff(bounds).argmax())
        low, high = int(bounds[widest]), int(bounds[widest + 1])
        leaving.append(_joined(rows, common, (first, low), (high, last), fork))
        first, last = low, high
    children = tuple(branch for group in _large_enough(leaving) for branch in _parted(*group, length))
    shared = Branch(start, rows[first:last], children)
    if not children or shared.positions(length) > _WORTHWHILE * alone.positions(length):
        return alone
    return shared


def _parted(fork: int, rows: NDArray[np.int64], common: NDArray[np.int64], length: int) -> list[Branch]:
    """Return branches for sorted `rows` that have all positions before `fork` in common.

    Rows with the same token at `fork` make a branch if they are many; all others are run together. So branches
    within branches fork ever later, and their depth is bounded by `length` however different the rows are.
    """
    bounds = np.concatenate([[0], 1 + np.flatnonzero(common == fork), [len(rows)]])
    spans = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    many = [(low, high) for low, high in spans if high - low >= _FEWEST_ROWS]
    few = [rows[low:high] for low, high in spans if high - low < _FEWEST_ROWS]
    branches = [_grow(rows[low:high], common[low : high - 1], fork, length) for low, high in many]
    return [*branches, Branch(fork, np.concatenate(few))] if few else branches


_Group = tuple[int, "NDArray[np.int64]", "NDArray[np.int64]"]


def _joined(
    rows: NDArray[np.int64],
    common: NDArray[np.int64],
    left: tuple[int, int],
    right: tuple[int, int],
    fork: int,
) -> _Group:
    """Return the rows of two neighbouring spans, which part at `fork`, as one sorted group."""
    seam = [fork] if left[1] > left[0] and right[1] > right[0] else []
    spans = (left, right)
    members = np.concatenate([rows[low:high] for low, high in spans])
    shared = np.concatenate(
        [common[left[0] : max(left[1] - 1, left[0])], seam, common[right[0] : max(right[1] - 1, right[0])]]
    )
    return fork, members, shared.astype(np.int64)


def _large_enough(groups: list[_Group]) -> list[_Group]:
    """Join small groups to the one that leaves earlier, of which every group has the beginning."""
    kept: list[_Group] = []
    for fork, members, shared in groups:
        if kept and (len(members) < _FEWEST_ROWS or len(kept[-1][1]) < _FEWEST_ROWS):
            earlier, others, theirs = kept.pop()
            kept.append((earlier, np.concatenate([others, members]), np.concatenate([theirs, [earlier], shared])))
        else:
            kept.append((fork, members, shared))
    return kept


Cache = list[tuple["Tensor", "Tensor"]]


class SharedPrefixes:
    """Runs a causal text tower over ids, each common beginning once; no gradient."""

    def __init__(self, tower: TextTower) -> None:
        self._tower = tower

    def pays(self, ids: Tensor) -> bool:
        """Tell whether ids, ``(B, L)``, are enough for sharing to be worth planning."""
        return len(ids) > 2 * _FEWEST_ROWS and ids.shape[1] > 1

    @torch.no_grad()
    def encode(self, ids: Tensor) -> Tensor:
        """Return the vectors, ``(B, D)``, of prompts given as ids, ``(B, L)``."""
        framed = self._tower.framed(ids)
        output = torch.empty(len(ids), self._tower.embedding.shape[1], dtype=self._tower.dtype, device=ids.device)
        self._run(plan(framed.cpu().numpy()), framed, [], output)
        return self._tower.pooled(output)

    def _run(self, branch: Branch, ids: Tensor, cache: Cache, output: Tensor) -> None:
        """Write the last block's output at the last position of the branch's rows into `output`, ``(B, d)``."""
        rows = torch.from_numpy(branch.rows).to(ids.device)
        taken = rows[:1] if branch.children else rows
        x, own = self._forward(ids[taken, branch.start :], branch.start, cache, keep=bool(branch.children))
        output[rows] = x
        for child in branch.children:
            before = [(key[:, :, : child.start], value[:, :, : child.start]) for key, value in own]
            self._run(child, ids, before, output)

    def _forward(self, ids: Tensor, start: int, cache: Cache, *, keep: bool) -> tuple[Tensor, Cache]:
        """Run rows ``(B, T)`` that begin at `start`, behind one row's cached keys and values.

        Returns:
            The output at the last position, ``(B, d)``, and each block's keys and values from position 0 on.
        """
        rows, length = ids.shape
        x = functional.embedding(ids, self._tower.embedding).to(self._tower.dtype)
        x = x + self._tower.positions(start, start + length)
        # Each position sees everything cached, and of the new ones those up to itself.
        mask = torch.ones(length, start + length, dtype=torch.bool, device=ids.device).tril(start)
        kept: Cache = []
        n_blocks = len(self._tower.blocks)
        for index, block in enumerate(self._tower.blocks):
            final = index == n_blocks - 1
            query, key, value = project(block, x, queries=1 if final else None)
            if start:
                before_key, before_value = cache[index]
                key = torch.cat([before_key.expand(rows, -1, -1, -1), key], dim=2)
                value = torch.cat([before_value.expand(rows, -1, -1, -1), value], dim=2)
            if keep:
                kept.append((key, value))
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=None if final else mask)
            x = finish(block, x[:, -1:] if final else x, attended)
        return x[:, 0], kept
