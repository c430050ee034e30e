"""Beginnings that prompts of a batch have in common, computed once.

Which these are is planned by `preimage.shared_beginnings`. The results are those of the plain tower up to
rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from preimage.shared_beginnings import FEWEST_ROWS, Branch, plan
from preimage_open_clip.tower import finish, project

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_open_clip.tower import TextTower

__all__ = ["Branch", "SharedPrefixes", "plan"]

Cache = list[tuple["Tensor", "Tensor"]]


class SharedPrefixes:
    """Runs a causal text tower over ids, each common beginning once; no gradient."""

    def __init__(self, tower: TextTower) -> None:
        self._tower = tower

    def pays(self, ids: Tensor) -> bool:
        """Tell whether ids, ``(B, L)``, are enough for sharing to be worth planning."""
        return len(ids) > 2 * FEWEST_ROWS and ids.shape[1] > 1

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
