"""Greedy coordinate gradient, Zou et al. (arXiv:2307.15043)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.api import Gradients, Losses
from preimage.candidates import Candidates, best_choices, exhausted, lowest, propose, unique_rows
from preimage.start import initial_ids

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.search_space import SearchSpace
    from preimage_gcg.config import GCGConfig

__all__ = ["GCG", "GCGState"]


@attrs.frozen(eq=False, kw_only=True)
class GCGState:
    """The prompts to go on from, best first.

    Attributes:
        prompts: token ids, ``(N, L)``: the buffer, or without one the beams.
        losses: of the prompts, ``(N,)``; infinite until the first step has measured the start.
        velocity: the gradients that led to each prompt, added up with decay, ``(N, L, d)`` float32.
        done: no other prompt exists.
    """

    prompts: Tensor
    losses: Tensor
    velocity: Tensor
    done: bool = False

    @property
    def current(self) -> Tensor:
        """The prompt that the next step starts from, ``(L,)``."""
        return self.prompts[0]

    def measured(self, losses: Tensor, gradient: Tensor, momentum: float) -> GCGState:
        """Return the state that knows losses ``(K,)`` and gradients ``(K, L, d)`` of its ``K`` beams."""
        n_beams = len(losses)
        velocity = momentum * self.velocity[:n_beams] + gradient.float()
        return attrs.evolve(
            self,
            losses=torch.cat([losses, self.losses[n_beams:]]),
            velocity=torch.cat([velocity, self.velocity[n_beams:]]),
        )

    def moved(self, candidates: Candidates, losses: Tensor, beam_width: int, buffer_size: int) -> GCGState:
        """Return the state at the best of `candidates`, whose losses are ``(B,)``, or at the buffer's best.

        The `beam_width` best candidates enter the buffer, and the `buffer_size` best of all stay in it.
        Without a buffer they take the place of the prompts that they came from, whether better or worse.
        """
        chosen = lowest(losses, beam_width)
        arrived = GCGState(
            prompts=candidates.ids[chosen],
            losses=losses[chosen],
            velocity=self.velocity[candidates.parent[chosen]],
        )
        if not buffer_size:
            return arrived
        prompts = torch.cat([self.prompts, arrived.prompts])
        known = torch.cat([self.losses, arrived.losses])
        different = unique_rows(prompts)
        kept = different[lowest(known[different], buffer_size)]
        return GCGState(
            prompts=prompts[kept],
            losses=known[kept],
            velocity=torch.cat([self.velocity, arrived.velocity])[kept],
        )


class GCG:
    """Replaces single tokens by what the gradient favours and moves to the replacement of lowest loss.

    A step costs one gradient for each beam and the losses of `search_width` candidates.

    Where this differs from the original and from nanoGCG:

    - positions are drawn uniformly for each candidate, as in nanoGCG; the original spreads them evenly;
    - tokens that are not allowed never enter the top k, however few are allowed, and neither does the token
      that stands at the position already;
    - candidates are distinct, none equals a prompt that they were made from, and what the filter rejects is
      drawn again; where none survives, the state stays and the next step draws afresh;
    - ties in the gradient are broken at random, which matters when it vanishes;
    - the buffer starts with the start text alone and fills with the best candidates of the first steps, where
      nanoGCG fills it with random texts;
    - with several beams each is expanded with its own gradient, and the best candidates of all go on;
    - momentum, Zhang and Wei (arXiv:2405.01229), follows each prompt from its parent; the scale of a gradient
      has no effect on its top k, so the new one enters with weight 1;
    - mellowmax is an option of objectives whose loss is made of tokens.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"gradient"})
    rowwise: ClassVar[bool] = False
    State: ClassVar[type[GCGState]] = GCGState

    def __init__(self, config: GCGConfig) -> None:
        self.config = config

    def start(self, space: SearchSpace, rng: torch.Generator, initial: Tensor | None) -> GCGState:
        """Return the state at the given ids ``(L,)``, at the start text, or at random tokens."""
        ids = initial_ids(space, rng, self.config, initial)
        return GCGState(
            prompts=ids[None],
            losses=torch.full((1,), torch.inf, dtype=torch.float64, device=ids.device),
            velocity=torch.zeros(1, len(ids), space.embedding.shape[1], device=ids.device),
            done=exhausted(space, ids[None]),
        )

    def step(self, space: SearchSpace, state: GCGState, rng: torch.Generator) -> Step[GCGState]:
        """Ask for the beams' gradients, propose, ask for the candidates' losses, and move."""
        beams = state.prompts[: self.config.beam_width]
        losses, gradient = yield Gradients(beams)
        state = state.measured(losses, gradient, self.config.momentum)
        candidates = self.propose(space, beams, state.velocity[: len(beams)], rng)
        if not len(candidates):
            return attrs.evolve(state, done=exhausted(space, beams))
        losses = yield Losses(candidates.ids)
        return state.moved(candidates, losses, self.config.beam_width, self.config.buffer_size)

    def propose(self, space: SearchSpace, prompts: Tensor, gradient: Tensor, rng: torch.Generator) -> Candidates:
        """Return candidates that differ from ``prompts (K, L)`` in `n_replace` tokens each.

        The gradient, ``(K, L, d)``, times a token's embedding is, up to a constant, the first-order change of
        the loss when that token is put in; the `topk` lowest of each position are proposed.
        """
        # In single precision, because half precision makes neighbouring tokens indistinguishable.
        scores = -(gradient.float() @ space.embedding.float().T)
        choices = best_choices(space, prompts, scores, self.config.topk, rng)
        return propose(
            space,
            prompts,
            choices,
            rng,
            width=self.config.search_width,
            n_replace=self.config.n_replace,
            filter_ids=self.config.filter_ids,
            rounds=self.config.filter_rounds,
        )
