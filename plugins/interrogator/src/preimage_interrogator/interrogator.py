"""Phrases ranked and chained, as clip-interrogator does it, under any objective over texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.candidates import lowest
from preimage.prompts import losses_of, proposable
from preimage.start import TextStart, initial_ids
from preimage_interrogator.phrases import gather

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.search_space import SearchSpace
    from preimage_interrogator.config import InterrogatorConfig

__all__ = ["Interrogator", "InterrogatorState"]


Chain = tuple[tuple[int, ...], tuple[int, ...], float]
"""The token ids of a chain, which phrases it was made of, in their order, and its loss; infinite before it is known."""


@attrs.frozen(eq=False, kw_only=True)
class InterrogatorState:
    """The chains so far and the round that looks for their next phrases.

    Attributes:
        current: the best chain's token ids, ``(L,)``; none before the first phrase.
        chains: those that this round develops, the best first.
        waiting: those that may be developed later, the best first.
        phrases: all phrases, one a line.
        n_first: the first phrase of a chain is one of so many, from the beginning of `phrases`.
        pool: which phrases this round tries, ``(N,)``.
        losses: of each chain with each of them appended that is not part of it, for as many as were asked about,
            ``(n,)``; infinite (or minus infinity for negative phrases) where it does not fit.
        ranking: all phrases by their losses in the first round, best first, ``(P,)``; empty until it is over.
        ranked_losses: these losses, ``(P,)``.
        done: no chain is left to develop.
    """

    current: Tensor
    chains: tuple[Chain, ...]
    phrases: str
    n_first: int
    pool: Tensor
    waiting: tuple[Chain, ...] = ()
    losses: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.float64))
    ranking: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.int64))
    ranked_losses: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.float64))
    done: bool = False

    @property
    def texts(self) -> list[str]:
        """The phrases."""
        return self.phrases.split("\n")

    @property
    def chained(self) -> tuple[int, ...]:
        """Which phrases the best chain was made of, in their order."""
        return self.chains[0][1]

    @property
    def loss(self) -> float:
        """The best chain's loss; infinite before it is known."""
        return self.chains[0][2]

    @property
    def extensions(self) -> list[tuple[int, int]]:
        """What the round tries: the place of a chain, and a phrase that is not part of it."""
        pool = self.pool.tolist()
        return [
            (place, phrase)
            for place, (_, chained, _) in enumerate(self.chains)
            for phrase in pool
            if phrase not in chained
        ]


class Interrogator:
    """Appends the phrase that lowers the loss most, until none does.

    The first round tries every phrase: alone, or behind the text to start from. Later rounds try those that were
    best in it. Rounds take several steps where they have more than `search_width` phrases to try, and choose when
    all losses are known. With a `beam_width`, or with the strategy of uniform costs, several chains are kept in play.

    Differences from clip-interrogator: the ranking is exact, in both directions, however many steps it takes
    (there, every chunk keeps an equal share, and the last pass forgets to be reversed); every prompt is scored as
    it is read, whole (there, only the token count of the finished prompt is looked at); the caption is whatever
    the search starts from; several chains may be developed; and any objective will do.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    rowwise: ClassVar[bool] = False
    State: ClassVar[type[InterrogatorState]] = InterrogatorState

    def __init__(self, config: InterrogatorConfig) -> None:
        self.config = config

    def start(self, space: SearchSpace, rng: torch.Generator, initial: Tensor | None) -> InterrogatorState:
        """Return the state at the given ids ``(L,)``, at the start text, or at an empty chain.

        Raises:
            InputError: a word list cannot be read or has no phrase.
            ConstraintError: a phrase or the start is too long, or no phrase may be proposed.
        """
        config = self.config
        phrases = gather(space, config.lists, config.phrases)
        given = config.given or TextStart()
        empty = initial is None and config.given is None
        current = torch.empty(0, dtype=torch.int64) if empty else initial_ids(space, rng, given, initial)
        return InterrogatorState(
            current=current.to(space.device),
            chains=((tuple(current.tolist()), (), torch.inf),),
            phrases="\n".join(phrases.texts),
            # A text to start from stands in the place of the first list's phrase.
            n_first=phrases.n_first if empty else len(phrases.texts),
            pool=torch.arange(len(phrases.texts)),
        )

    def step(self, space: SearchSpace, state: InterrogatorState, rng: torch.Generator) -> Step[InterrogatorState]:
        """Ask for the losses of the next phrases, and choose among them when all of the round are known."""
        worst = -torch.inf if self.config.negative else torch.inf
        asked = len(state.losses)
        chunk = state.extensions[asked : asked + self.config.search_width]
        prompts = self.extended(space, state, chunk)
        known = [token for ids, _, _ in state.chains for token in ids]
        fits = torch.tensor(proposable(space, prompts, known), dtype=torch.bool)
        new = [prompt for prompt, good in zip(prompts, fits.tolist(), strict=True) if good]
        # The chains themselves, too, once they have tokens: the host remembers them, and where nothing fits they are
        # all there is.
        chains = [list(ids) for ids, _, _ in state.chains if ids]
        answers = yield from losses_of(new + chains, space.device)
        losses = torch.full((len(chunk),), worst, dtype=torch.float64)
        losses[fits] = answers[: len(new)]
        state = attrs.evolve(state, losses=torch.cat([state.losses.cpu(), losses]))
        if chains:
            measured = zip(state.chains, answers[len(new) :].tolist(), strict=True)
            state = attrs.evolve(state, chains=tuple((ids, chained, loss) for (ids, chained, _), loss in measured))
        return state if len(state.losses) < len(state.extensions) else self.chosen(space, state)

    def extended(
        self, space: SearchSpace, state: InterrogatorState, extensions: Sequence[tuple[int, int]]
    ) -> list[list[int]]:
        """Return the ids of chains, told by their places, with a phrase appended to each."""
        texts, separator = state.texts, self._separator(space)
        begun = [f"{space.decode(torch.tensor([ids]))[0]}{separator}" if ids else "" for ids, _, _ in state.chains]
        return space.encode([f"{begun[place]}{texts[phrase]}" for place, phrase in extensions])

    def chosen(self, space: SearchSpace, state: InterrogatorState) -> InterrogatorState:
        """Return the state with the chains of a complete round that go on, or done."""
        sign = -1.0 if self.config.negative else 1.0
        costs, extensions = sign * state.losses, state.extensions
        if not len(state.ranking):
            order = lowest(costs, len(costs))
            state = attrs.evolve(state, ranking=state.pool.cpu()[order], ranked_losses=state.losses[order])
            state = attrs.evolve(state, pool=self._best(state))
        wanted = [
            self._wanted(state, *extension, cost) for extension, cost in zip(extensions, costs.tolist(), strict=True)
        ]
        waiting = torch.tensor([sign * loss for _, _, loss in state.waiting], dtype=torch.float64)
        places = self.config.next(waiting, torch.where(torch.tensor(wanted, dtype=torch.bool), costs, torch.inf))
        developed, kept = ([self._chain(space, state, extensions, place) for place in part.tolist()] for part in places)
        if not developed:
            return attrs.evolve(state, done=True)
        growing, kept = ([chain for chain in part if self._may_grow(space, chain)] for part in (developed, kept))
        if not growing and kept:
            growing = [kept.pop(0)]
        everywhere = set.intersection(*(set(chained) for _, chained, _ in (*growing, *kept))) if growing else set()
        pool = torch.tensor([phrase for phrase in state.pool.tolist() if phrase not in everywhere], dtype=torch.int64)
        return attrs.evolve(
            state,
            current=torch.tensor(developed[0][0], device=space.device),
            chains=tuple(growing or developed),
            waiting=tuple(kept),
            pool=pool,
            losses=state.losses[:0],
            done=not growing or not len(pool),
        )

    def _wanted(self, state: InterrogatorState, place: int, phrase: int, cost: float) -> bool:
        """Tell whether a chain may go on with a phrase: it helps, or the chain is too short without it."""
        ids, chained, loss = state.chains[place]
        if not ids:
            return phrase < state.n_first
        return len(chained) < self.config.min_phrases or cost < (-loss if self.config.negative else loss)

    def _chain(
        self, space: SearchSpace, state: InterrogatorState, extensions: Sequence[tuple[int, int]], place: int
    ) -> Chain:
        """Return one of the waiting chains or, behind them, of the round's extensions."""
        if place < len(state.waiting):
            return state.waiting[place]
        index = place - len(state.waiting)
        parent, phrase = extensions[index]
        (prompt,) = self.extended(space, state, [(parent, phrase)])
        return tuple(prompt), (*state.chains[parent][1], phrase), float(state.losses[index])

    def _may_grow(self, space: SearchSpace, chain: Chain) -> bool:
        """Tell whether a chain has room for another phrase."""
        ids, chained, _ = chain
        return len(chained) < self.config.max_phrases and len(ids) < space.max_length

    def _best(self, state: InterrogatorState) -> Tensor:
        """Return the phrases of the first round that later rounds try, best first."""
        ranked = state.ranking
        if state.n_first < len(ranked):
            return ranked[ranked >= state.n_first][: self.config.intermediate_count]
        # One more, because a phrase that a chain has is not tried again.
        return ranked[: self.config.intermediate_count + 1]

    def _separator(self, space: SearchSpace) -> str:
        """Return what stands between phrases: the user's separator, or a space where it may not be proposed."""
        separator = self.config.separator
        if not separator.strip():
            return separator
        return separator if proposable(space, space.encode([separator.strip()]))[0] else " "
