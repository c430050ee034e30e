"""A baseline: one least-squares map for all words, whatever their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch

from preimage_fuse.adapter import Case, WordAdapter
from preimage_fuse.cells import Cell, held_last
from preimage_fuse.config import LinearConfig

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_fuse.words import WordTable

__all__ = ["Linear"]

_ALL: Case = (1, 1)


class Linear(WordAdapter[LinearConfig]):
    """One matrix from the mean of a word's source embeddings to the mean of its target embeddings.

    Backward, each token of a word gets the same: the adjoint of taking the mean, of the map, and of using the mean
    for every target token.
    """

    name: ClassVar[str] = "linear"

    @property
    def _longest_word(self) -> int:
        return self.config.max_subtokens

    def _fit(self, table: WordTable) -> dict[Case, Cell]:
        if not len(table):
            return {}
        order = held_last(len(table), self.config.held_out)
        x = _means(self.source.embedding, table.source_ids)
        y = _means(self.target.embedding, table.target_ids)
        return {_ALL: self._fit_cell(x[order], y[order])}

    def _cell_for(self, case: Case, cells: Mapping[Case, Cell]) -> Case | None:
        return _ALL if cells else None

    def _pull(self, weight: Tensor, gradient: Tensor, count: int) -> Tensor:
        pulled = gradient.sum(dim=1) @ weight[0].T / count
        return pulled.unsqueeze(1).expand(-1, count, -1)


def _means(embedding: Tensor, words: tuple[tuple[int, ...], ...]) -> Tensor:
    """Return the mean embedding of each word's tokens as one slice, ``(N, d, 1)``."""
    counts = torch.tensor([len(ids) for ids in words], device=embedding.device)
    tokens = torch.tensor([token for ids in words for token in ids], device=embedding.device)
    dtype = torch.promote_types(embedding.dtype, torch.float32)
    sums = embedding.new_zeros(len(words), embedding.shape[1], dtype=dtype)
    place = torch.repeat_interleave(torch.arange(len(words), device=embedding.device), counts)
    sums.index_add_(0, place, embedding.detach()[tokens].to(dtype))
    return (sums / counts.unsqueeze(1)).unsqueeze(-1)
