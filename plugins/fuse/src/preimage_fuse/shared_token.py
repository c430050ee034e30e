"""A baseline: what both models know as one token is the same thing, and nothing else is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from preimage_fuse.adapter import Case, WordAdapter
from preimage_fuse.alignment import WordPair, align_tokens
from preimage_fuse.cells import Cell, held_last, stacked
from preimage_fuse.config import SharedTokenConfig

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_fuse.spans import Spans
    from preimage_fuse.words import WordTable

__all__ = ["SharedToken"]

_ONE: Case = (1, 1)


class SharedToken(WordAdapter[SharedTokenConfig]):
    """The identity on tokens that both models have.

    Replacing a token by another shared one should change the loss by what the target's embeddings and gradient
    say: ``E_source[v] · g = E_target[v'] · h``, but for a constant, for every token `v` that both have, `h` being the
    gradient at the target. The gradient `g` that comes nearest to this for all shared tokens is the pull-back of the
    least-squares map between their embeddings; with no more shared tokens than dimensions it is met exactly. Tokens
    that stand for the same characters in both rows are pulled back, all others get no gradient.
    """

    name: ClassVar[str] = "shared-token"

    @property
    def _longest_word(self) -> int:
        return 1

    def _align(self, source: Spans, target: Spans) -> list[WordPair]:
        pairs = align_tokens(source, target)
        served = {pair.source[0] for pair in pairs}
        alone = [WordPair((place, 1), (0, 0)) for place in range(len(source.ids)) if place not in served]
        return [*pairs, *alone]

    def _fit(self, table: WordTable) -> dict[Case, Cell]:
        if _ONE not in table.cases:
            return {}
        order = held_last(len(table), self.config.held_out)
        ours, theirs = (ids[order] for ids in table.ids(_ONE))
        x, y = stacked(self.source.embedding, ours, 1), stacked(self.target.embedding, theirs, 1)
        return {_ONE: self._fit_cell(x, y)}

    def _cell_for(self, case: Case, cells: Mapping[Case, Cell]) -> Case | None:
        return _ONE if _ONE in cells else None

    def _pull(self, weight: Tensor, gradient: Tensor, count: int) -> Tensor:
        return gradient @ weight[0].T
