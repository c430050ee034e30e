"""AutoDAN, Zhu et al. (arXiv:2310.15140)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.api import Gradients, Losses, NextTokens
from preimage.candidates import lowest
from preimage.start import initial_ids
from preimage_autodan.scale import standardised

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.search_space import SearchSpace
    from preimage_autodan.config import AutoDANConfig

__all__ = ["AutoDAN", "AutoDANState"]

# What a language model calls impossible is a token's last choice; minus infinity would mean that it is unexplored.
_IMPOSSIBLE = -1e4
_AT_ONCE = 64
"""Prompts read back in one call, where fewer are wanted."""


@attrs.frozen(eq=False, kw_only=True)
class AutoDANState:
    """The prompts written so far, and what is known of the token to come.

    Tokens to come are counted among the ``A`` allowed ones, so that no other can be meant.

    Attributes:
        prompts: token ids, ``(K, L)``, best first; `L` grows, from 0 where no text is continued.
        likelihood: the log-probability of what was written of each prompt, ``(K,)`` float64.
        log_probs: of each token to come, ``(K, A)`` float64; ``(K, 0)`` until the position's first round.
        scores: of each token to come, ``(K, A)`` float64; minus infinity where it has not been explored.
        dummy: the token at which the next gradient is taken, ``(K,)``.
        favourite: the best token that is explored, ``(K,)``; -1 before a round.
        settled: whether a round has left the favourite as it was, bool ``(K,)``.
        waiting: prompts that may be gone on with later, each ``(L,)``, the best first.
        waiting_likelihood: the log-probability of each, ``(N,)`` float64.
        waiting_costs: what each is chosen by, ``(N,)`` float64; the lower, the better.
        rounds: how many there were at this position.
        done: the prompts are finished.
    """

    prompts: Tensor
    likelihood: Tensor
    log_probs: Tensor
    scores: Tensor
    dummy: Tensor
    favourite: Tensor
    settled: Tensor
    waiting: tuple[Tensor, ...] = ()
    waiting_likelihood: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.float64))
    waiting_costs: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.float64))
    rounds: int = 0
    done: bool = False

    @property
    def current(self) -> Tensor:
        """The best of the prompts written so far, ``(L,)``; empty before the first token."""
        return self.prompts[0]

    @classmethod
    def at(cls, prompts: Tensor, likelihood: Tensor, *, done: bool) -> AutoDANState:
        """Return the state before anything is known of the token that follows ``prompts (K, L)``."""
        unknown = torch.full((len(prompts),), -1, device=prompts.device)
        return cls(
            prompts=prompts,
            likelihood=likelihood,
            log_probs=likelihood.new_empty(len(prompts), 0),
            scores=likelihood.new_empty(len(prompts), 0),
            dummy=unknown,
            favourite=unknown,
            settled=unknown > 0,
            done=done,
        )


class AutoDAN:
    """Writes a prompt from left to right, each token chosen by the objective and by a language model.

    A step is one round at one position:

    1. the language model says how likely each token is there, once for all rounds at the position;
    2. the gradient is taken at a dummy token in that place, and the `search_width` tokens of highest
       ``-gradient_weight * gradient + log p`` are selected;
    3. those not explored in an earlier round are scored, ``-objective_weight * loss + log p``;
    4. where the best of all explored tokens is the one of the round before, the position is settled; otherwise
       the next dummy is drawn from the softmax of the scores.

    When every beam is settled the best tokens are fixed and the next position begins, until the prompt has
    `prompt_length` tokens. A prompt to start from is the text that is continued; one of that length is finished.

    A round costs a gradient for each beam, and the losses of the selected tokens that are new.

    Where this differs from the paper:

    - the gradient is standardised over the allowed tokens, so that `gradient_weight` means the same for every
      model, precision and objective;
    - a weight of the language model's term does not change how likely its tokens are;
    - explored tokens keep their scores between the rounds at a position, so the most promising is never lost;
    - the first dummy is the most likely token, not an arbitrary one;
    - tokens that are not allowed are neither selected nor drawn, and prompts that read back as other tokens only
      where no token among those looked through gives one that does not;
    - with several beams each has log-probabilities, gradient, dummy and selection of its own. They are compared
      by ``-objective_weight * loss`` plus the log-probability of all that was written;
    - with ``strategy="uniform-cost"`` the best explored prompts wait, and whichever is best of all, however long, is
      gone on with. Log-probabilities add up along a prompt, so that this turns back where going on disappoints.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"gradient", "next-token"})
    rowwise: ClassVar[bool] = False
    State: ClassVar[type[AutoDANState]] = AutoDANState

    def __init__(self, config: AutoDANConfig) -> None:
        self.config = config

    def start(self, space: SearchSpace, rng: torch.Generator, initial: Tensor | None) -> AutoDANState:
        """Return the state behind the given ids ``(L,)`` or the start text, or before the first token.

        Raises:
            ConstraintError: the finished prompt would not fit, or the start text has no token.
        """
        length = self.config.prompt_length
        space.check_length(length, "The finished prompt")
        if initial is None and self.config.optim_str_init is None and self.config.optim_ids_init is None:
            ids = torch.empty(0, dtype=torch.int64, device=space.device)
        else:
            ids = initial_ids(space, rng, self.config, initial)
        likelihood = torch.zeros(1, dtype=torch.float64, device=ids.device)
        return AutoDANState.at(ids[None], likelihood, done=len(ids) >= length)

    def step(self, space: SearchSpace, state: AutoDANState, rng: torch.Generator) -> Step[AutoDANState]:
        """Make one round at the current position, and write a token when it has settled all beams."""
        if not state.rounds:
            # Asked of the prompts without a dummy, so the answer is about the place that the new token takes.
            log_probs = yield NextTokens(state.prompts)
            state = self.opened(space, state, log_probs)
        beams = (~state.settled).nonzero().flatten()
        losses, gradient = yield Gradients(_followed(space, state, beams, state.dummy[beams]))
        # The loss came with the gradient, so the dummy is explored for nothing.
        state = self.scored(state, beams, state.dummy[beams], losses)
        parent, token = self.selected(space, state, beams, gradient[:, -1])
        if len(parent):
            losses = yield Losses(_followed(space, state, parent, token))
            state = self.scored(state, parent, token, losses)
        state = _judged(state)
        if state.settled.all() or state.rounds >= self.config.max_inner_rounds:
            return self.written(space, state)
        return self.drawn(state, rng)

    def opened(self, space: SearchSpace, state: AutoDANState, log_probs: Tensor) -> AutoDANState:
        """Return the state that knows how likely each token is, from ``(K, V)``, with the likeliest as dummies."""
        known = log_probs.double()[:, space.allowed_ids].clamp(min=_IMPOSSIBLE)
        dummy = [self._readable(space, prompt, row, 1) for prompt, row in zip(state.prompts, known, strict=True)]
        return attrs.evolve(state, log_probs=known, scores=torch.full_like(known, -torch.inf), dummy=torch.cat(dummy))

    def selected(
        self, space: SearchSpace, state: AutoDANState, beams: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what to score: the beam of each token and the token, ``(B,)`` both; none is explored already.

        Arguments:
            space: judges which prompts read back.
            state: what is known of the position.
            beams: those to select for, ``(N,)``.
            gradient: at the dummy of each, ``(N, d)``.
        """
        # In single precision at least, because half precision makes neighbouring tokens indistinguishable.
        gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        change = (gradient @ space.embedding.to(gradient.dtype).T)[:, space.allowed_ids].double()
        preliminary = state.log_probs[beams] - self.config.gradient_weight * standardised(change)
        width = self.config.search_width // len(state.prompts)
        parents, tokens = [beams[:0]], [beams[:0]]
        for beam, row in zip(beams.tolist(), preliminary, strict=True):
            chosen = self._readable(space, state.prompts[beam], row, width)
            new = chosen[state.scores[beam, chosen] == -torch.inf]
            parents.append(torch.full_like(new, beam))
            tokens.append(new)
        return torch.cat(parents), torch.cat(tokens)

    def scored(self, state: AutoDANState, parent: Tensor, token: Tensor, losses: Tensor) -> AutoDANState:
        """Return the state that knows the losses of some tokens of some beams, ``(B,)`` all three."""
        scores = state.scores.clone()
        scores[parent, token] = state.log_probs[parent, token] - self.config.objective_weight * losses.double()
        return attrs.evolve(state, scores=scores)

    def drawn(self, state: AutoDANState, rng: torch.Generator) -> AutoDANState:
        """Return the state with a new dummy for each beam that is not settled, drawn from what is explored."""
        if self.config.temperature == 0:
            return attrs.evolve(state, dummy=state.favourite)
        dummy = state.dummy.clone()
        for beam in (~state.settled).nonzero().flatten().tolist():
            scores = state.scores[beam]
            chance = torch.softmax((scores - scores.max()) / self.config.temperature, dim=0)
            dummy[beam] = torch.multinomial(chance.to(rng.device), 1, generator=rng)[0]
        return attrs.evolve(state, dummy=dummy)

    def written(self, space: SearchSpace, state: AutoDANState) -> AutoDANState:
        """Return the state behind the best tokens, each fixed to the prompt that it was explored for.

        Which of them go on, and which prompts wait to be gone on with, is the strategy's choice.
        """
        costs = -(state.scores + state.likelihood[:, None]).flatten()
        best = lowest(costs, max(self.config.beam_width, self.config.frontier_size + 1))
        parent, token = best // state.scores.shape[1], best % state.scores.shape[1]
        prompts = [*state.waiting, *_followed(space, state, parent, token)]
        likelihood = torch.cat(
            [state.waiting_likelihood.to(costs), state.likelihood[parent] + state.log_probs[parent, token]]
        )
        waiting = state.waiting_costs.to(costs)
        developed, kept = self.config.next(waiting, costs[best])
        following = AutoDANState.at(
            torch.stack([prompts[place] for place in developed.tolist()]),
            likelihood[developed],
            done=len(prompts[int(developed[0])]) >= self.config.prompt_length,
        )
        return attrs.evolve(
            following,
            waiting=tuple(prompts[place] for place in kept.tolist()),
            waiting_likelihood=likelihood[kept],
            waiting_costs=torch.cat([waiting, costs[best]])[kept],
        )

    def _readable(self, space: SearchSpace, prompt: Tensor, scores: Tensor, width: int) -> Tensor:
        """Return the up to `width` tokens of highest score ``(A,)`` with which ``prompt (L,)`` reads back.

        Where none is found they are returned as they are: the host scores the text that they read back as, and
        the next token may complete what this one has begun.
        """
        order = scores.argsort(descending=True, stable=True)
        if not self.config.filter_ids:
            return order[:width]
        kept = order[:0]
        for part in order[: self.config.search_width * self.config.filter_rounds].split(max(width, _AT_ONCE)):
            rows = torch.cat([prompt.expand(len(part), -1), space.allowed_ids[part, None]], dim=1)
            kept = torch.cat([kept, part[space.is_stable(rows)]])[:width]
            if len(kept) == width:
                break
        return kept if len(kept) else order[:width]


def _judged(state: AutoDANState) -> AutoDANState:
    """Return the state with its favourites, and the beams settled for which a round has changed nothing."""
    favourite = state.scores.argmax(dim=1)
    everything = (state.scores != -torch.inf).all(dim=1)
    return attrs.evolve(
        state,
        favourite=favourite,
        settled=state.settled | (favourite == state.favourite) | everything,
        rounds=state.rounds + 1,
    )


def _followed(space: SearchSpace, state: AutoDANState, parent: Tensor, token: Tensor) -> Tensor:
    """Return the ids of prompts with a token behind each, ``(B, L + 1)``; `token` counts among the allowed."""
    return torch.cat([state.prompts[parent], space.allowed_ids[token, None]], dim=1)
