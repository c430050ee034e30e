"""Random search over prompts, the baseline of the prompt recovery study (arXiv:2408.06502)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.api import Losses
from preimage.candidates import (
    Candidates,
    Choices,
    best_choices,
    exhausted,
    lowest,
    propose,
    random_choices,
)
from preimage.start import initial_ids

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.search_space import SearchSpace
    from preimage_random_search.config import RandomSearchConfig

__all__ = ["RandomSearch", "RandomSearchState"]


@attrs.frozen(eq=False, kw_only=True)
class RandomSearchState:
    """The best prompts so far, best first.

    Attributes:
        prompts: token ids, ``(K, L)``.
        done: no other prompt exists.
    """

    prompts: Tensor
    done: bool = False

    @property
    def current(self) -> Tensor:
        """The best prompt so far, ``(L,)``."""
        return self.prompts[0]


class RandomSearch:
    """Replaces single tokens by random ones and keeps the best.

    A step asks for the losses of the present prompts, which the host remembers, and of `search_width` others.
    It never moves to a worse prompt. A replacement is drawn from a ball around the token that it replaces:
    the whole allowed vocabulary (``l0``), or its nearest neighbours (``embedding``).
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    rowwise: ClassVar[bool] = False
    State: ClassVar[type[RandomSearchState]] = RandomSearchState

    def __init__(self, config: RandomSearchConfig) -> None:
        self.config = config

    def start(self, space: SearchSpace, rng: torch.Generator, initial: Tensor | None) -> RandomSearchState:
        """Return the state at the given ids ``(L,)``, at the start text, or at random tokens."""
        ids = initial_ids(space, rng, self.config, initial)
        return RandomSearchState(prompts=ids[None])

    def step(self, space: SearchSpace, state: RandomSearchState, rng: torch.Generator) -> Step[RandomSearchState]:
        """Propose, ask for the losses of the old prompts and the new, and keep the best."""
        candidates = self.propose(space, state.prompts, rng)
        pool = torch.cat([state.prompts, candidates.ids])
        losses = yield Losses(pool)
        prompts = pool[lowest(losses, self.config.beam_width)]
        return RandomSearchState(prompts=prompts, done=exhausted(space, prompts))

    def propose(self, space: SearchSpace, prompts: Tensor, rng: torch.Generator) -> Candidates:
        """Return candidates that differ from ``prompts (K, L)`` in `n_replace` tokens each."""
        return propose(
            space,
            prompts,
            self.choices(space, prompts, rng),
            rng,
            width=self.config.search_width,
            n_replace=self.config.n_replace,
            filter_ids=self.config.filter_ids,
            rounds=self.config.filter_rounds,
        )

    def choices(self, space: SearchSpace, prompts: Tensor, rng: torch.Generator) -> Choices:
        """Return what may replace each token of ``prompts (K, L)``."""
        if self.config.ball == "l0":
            return random_choices(space, prompts, self.config.n_candidates_per_position, rng)
        near = math.ceil(self.config.nearest_fraction * len(space.allowed_ids))
        count = max(near, self.config.n_candidates_per_position)
        scores = _closeness(space.embedding.float(), prompts, self.config.metric)
        return best_choices(space, prompts, scores, count, rng)


def _closeness(embedding: Tensor, prompts: Tensor, metric: str) -> Tensor:
    """Return how near each row of ``embedding (V, d)`` is to each token of ``prompts (K, L)``: ``(K, L, V)``.

    Only the order within a position means anything, so terms that depend on the token alone are left out.
    """
    products: Tensor = embedding[prompts] @ embedding.T
    norms: Tensor = torch.linalg.vector_norm(embedding, dim=-1)
    if metric == "cosine":
        return products / norms.clamp_min(torch.finfo(embedding.dtype).tiny)
    return 2 * products - norms.square()
