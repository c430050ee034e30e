"""Phrases ranked and chained, as clip-interrogator does it, under any objective over texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.candidates import lowest
from preimage.start import TextStart, initial_ids
from preimage_interrogator.phrases import gather
from preimage_interrogator.requests import losses_of, proposable

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.search_space import SearchSpace
    from preimage_interrogator.config import InterrogatorConfig

__all__ = ["Interrogator", "InterrogatorState"]


@attrs.frozen(eq=False, kw_only=True)
class InterrogatorState:
    """The chain so far and the round that looks for its next phrase.

    Attributes:
        current: the chain's token ids, ``(L,)``; none before the first phrase.
        loss: of the chain; infinite before it is known.
        phrases: all phrases, one a line.
        n_first: the first phrase of a chain is one of so many, from the beginning of `phrases`.
        chained: which phrases were appended, in their order.
        pool: which phrases this round tries, ``(N,)``.
        losses: of the chain with each of them appended, for as many as were asked about, ``(n,)``; infinite (or
            minus infinity for negative phrases) where it does not fit.
        ranking: all phrases by their losses in the first round, best first, ``(P,)``; empty until it is over.
        ranked_losses: these losses, ``(P,)``.
        done: the chain is complete.
    """

    current: Tensor
    phrases: str
    n_first: int
    pool: Tensor
    loss: float = torch.inf
    chained: tuple[int, ...] = ()
    losses: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.float64))
    ranking: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.int64))
    ranked_losses: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.float64))
    done: bool = False

    @property
    def texts(self) -> list[str]:
        """The phrases."""
        return self.phrases.split("\n")


class Interrogator:
    """Appends the phrase that lowers the loss most, until none does.

    The first round tries every phrase: alone, or behind the text to start from. Later rounds try those that were
    best in it. Rounds take several steps where they have more than `search_width` phrases to try, and choose when
    all losses are known.

    Differences from clip-interrogator: the ranking is exact, in both directions, however many steps it takes
    (there, every chunk keeps an equal share, and the last pass forgets to be reversed); every prompt is scored as
    it is read, whole (there, only the token count of the finished prompt is looked at); the caption is whatever
    the search starts from; and any objective will do.
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
            phrases="\n".join(phrases.texts),
            # A text to start from stands in the place of the first list's phrase.
            n_first=phrases.n_first if empty else len(phrases.texts),
            pool=torch.arange(len(phrases.texts)),
        )

    def step(self, space: SearchSpace, state: InterrogatorState, rng: torch.Generator) -> Step[InterrogatorState]:
        """Ask for the losses of the next phrases, and choose one when all of the round are known."""
        worst = -torch.inf if self.config.negative else torch.inf
        asked = len(state.losses)
        chunk = state.pool[asked : asked + self.config.search_width].tolist()
        texts = state.texts
        prompts = self.extended(space, state.current, [texts[index] for index in chunk])
        current = state.current.tolist()
        fits = torch.tensor(proposable(space, prompts, current))
        new = [prompt for prompt, good in zip(prompts, fits.tolist(), strict=True) if good]
        # The chain itself, too, once it has tokens: the host remembers it, and where nothing fits it is all there is.
        answers = yield from losses_of(new + [current] * bool(current), space.device)
        losses = torch.full((len(chunk),), worst, dtype=torch.float64)
        losses[fits] = answers[: len(new)]
        state = attrs.evolve(
            state,
            losses=torch.cat([state.losses.cpu(), losses]),
            loss=float(answers[-1]) if current else state.loss,
        )
        return state if len(state.losses) < len(state.pool) else self.chosen(space, state)

    def extended(self, space: SearchSpace, chain: Tensor, phrases: list[str]) -> list[list[int]]:
        """Return the ids of `chain`, ``(L,)``, with each of the phrases appended."""
        if not len(chain):
            return space.encode(phrases)
        (text,) = space.decode(chain[None])
        separator = self._separator(space)
        return space.encode([f"{text}{separator}{phrase}" for phrase in phrases])

    def chosen(self, space: SearchSpace, state: InterrogatorState) -> InterrogatorState:
        """Return the state with the best phrase of a complete round appended, or done."""
        config = self.config
        scores = -state.losses if config.negative else state.losses
        order = lowest(scores, len(scores))
        ranked, losses = state.pool.cpu()[order], state.losses[order]
        first_round = not len(state.ranking)
        if first_round:
            state = attrs.evolve(state, ranking=ranked, ranked_losses=losses)
        choosable = ranked < state.n_first if first_round else torch.ones_like(ranked, dtype=torch.bool)
        place = int(choosable.int().argmax())
        phrase, loss = int(ranked[place]), float(losses[place])
        better = loss > state.loss if config.negative else loss < state.loss
        wanted = better or not len(state.current) or len(state.chained) < config.min_phrases
        if not (wanted and torch.isfinite(losses[place])):
            return attrs.evolve(state, done=True)
        (prompt,) = self.extended(space, state.current, [state.texts[phrase]])
        pool = self._pool(state, ranked, phrase) if first_round else state.pool.cpu()[state.pool.cpu() != phrase]
        chained = (*state.chained, phrase)
        full = len(chained) >= config.max_phrases or len(prompt) >= space.max_length
        return attrs.evolve(
            state,
            current=torch.tensor(prompt, device=space.device),
            loss=loss,
            chained=chained,
            pool=pool,
            losses=state.losses[:0],
            done=full or not len(pool),
        )

    def _pool(self, state: InterrogatorState, ranked: Tensor, phrase: int) -> Tensor:
        """Return the best phrases of the first round, best first, that later rounds try."""
        if state.n_first < len(ranked):
            ranked = ranked[ranked >= state.n_first]
        return ranked[ranked != phrase][: self.config.intermediate_count]

    def _separator(self, space: SearchSpace) -> str:
        """Return what stands between phrases: the user's separator, or a space where it may not be proposed."""
        separator = self.config.separator
        if not separator.strip():
            return separator
        return separator if proposable(space, space.encode([separator.strip()]))[0] else " "
