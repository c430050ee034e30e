"""FUSE: a map for each pair of numbers of tokens, under the t-product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional

from preimage_fuse.adapter import Case, WordAdapter
from preimage_fuse.cells import Cell, held_last, pull_through, stacked, stretched
from preimage_fuse.config import FuseConfig

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_fuse.words import WordTable

__all__ = ["Fuse"]


_STRETCHED = 512
"""So many words of each other case are learned from in any case."""


class Fuse(WordAdapter[FuseConfig]):
    """The adapter of FUSE ("Finding unified semantic embeddings").

    Words of `i` tokens in the source and `j` in the target are tensors ``X (N, d, n)`` and ``Y (N, e, n)``, tokens
    along the last axis, ``n = max(i, j)``, zeros behind the last token. Each case ``(i, j)`` has the tensor ``W``
    for which ``X * W`` is nearest to ``Y`` under the t-product, and a gradient ``G`` at the word's target tokens
    goes back as ``G * transpose(W)``. What ``X * W`` holds behind the last target token is left free, since nothing
    reads it; ``padding="zero"`` asks for zeros there, as the paper does, at the price of worse maps for words of fewer
    tokens in the target than in the source. Words of a case that was not fitted use the map of the nearest case; where
    there is none they get no gradient. `coverage` counts both.

    Where it differs from the authors' code: the grid has both numbers of tokens as axes, not the target's alone; a case
    learns from words of another number of target tokens, too, `stretched` to its own, because a search puts any word of
    as many source tokens in a word's place (``stretched=0`` turns it off); longer words are not cut off to make lengths
    agree; words are centred (``center=False`` turns it off); the transpose
    reverses the slices, without which it is no adjoint beyond two tokens; words are learned as they stand behind a
    space, too, in their own case; a ridge keeps cases of few words from exploding; unknown words get the nearest map
    or zero, never noise.

    Source: arXiv:2408.04816.

    >>> from preimage.testing.toy import toy_tokens
    >>> from preimage_fuse.config import FuseConfig
    >>> import torch
    >>> ours, theirs = toy_tokens(width=6, seed=0), toy_tokens(width=5, seed=1)
    >>> adapter = Fuse(FuseConfig(use_cache=False), source=ours, target=theirs)
    >>> adapter.fit()
    >>> ids = torch.tensor(ours.encode(["amber fern"]))
    >>> adapter.pull_back(ids, torch.tensor(adapter.translate(ids)), torch.ones(1, 2, 5)).shape
    torch.Size([1, 2, 6])
    """

    name: ClassVar[str] = "fuse"

    @property
    def _longest_word(self) -> int:
        return self.config.max_subtokens

    def _fit(self, table: WordTable) -> dict[Case, Cell]:
        cells = {}
        for case in sorted({(ours, theirs) for ours, _ in table.cases for _, theirs in table.cases}):
            cell = self._fit_case(table, case)
            if cell is not None:
                cells[case] = cell
        return cells

    def _fit_case(self, table: WordTable, case: Case) -> Cell | None:
        """Return the map of a case, learned from its own words and from others of as many source tokens."""
        depth, count = max(case), case[1]
        x, y, weights = [], [], []
        for other in table.cases:
            weight = 1.0 if other == case else self.config.stretched
            if other[0] != case[0] or not weight:
                continue
            # Of other cases a part is enough where a case has many words itself: the time goes with their number.
            most = None if other == case else max(_STRETCHED, len(table.cases.get(case, ())) // 3)
            ours, theirs = (ids[:most] for ids in table.ids(other))
            x.append(stacked(self.source.embedding, ours, depth))
            words = stretched(stacked(self.target.embedding, theirs, other[1]), count)
            y.append(functional.pad(words, (0, depth - count)))
            weights.append(words.new_full((len(words),), weight))
        n_words = sum(map(len, x))
        if n_words < self.config.min_examples_per_case:
            return None
        order = held_last(n_words, self.config.held_out)
        observed = count if self.config.padding == "free" else None
        return self._fit_cell(torch.cat(x)[order], torch.cat(y)[order], observed, torch.cat(weights)[order])

    def _cell_for(self, case: Case, cells: Mapping[Case, Cell]) -> Case | None:
        if case in cells:
            return case

        def distance(fitted: Case) -> tuple[int, int, Case]:
            apart = abs(fitted[0] - case[0]) + abs(fitted[1] - case[1])
            return apart, -cells[fitted].n_words, fitted

        return min(cells, key=distance, default=None)

    def _pull(self, weight: Tensor, gradient: Tensor, count: int) -> Tensor:
        return pull_through(weight, gradient, count)
