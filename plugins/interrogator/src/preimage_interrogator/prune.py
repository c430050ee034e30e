"""Words that do nothing, dropped: leave-one-out credit for every word of a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.errors import ConstraintError
from preimage.prompts import losses_of, proposable
from preimage.start import TextStart, initial_ids

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.search_space import SearchSpace
    from preimage_interrogator.config import PruneConfig

__all__ = ["Prune", "PruneState"]


@attrs.frozen(eq=False, kw_only=True)
class PruneState:
    """The prompt that is left, and what its words are worth.

    Attributes:
        current: the prompt's token ids, ``(L,)``.
        words: the words whose credits were measured last: those of `current` once the search is done, and one
            more, the dropped one, before.
        credits: by how much the loss rises without each word, ``(W,)``; negative for a word that harms, infinite
            for one that cannot be left out.
        lowest: the lowest loss of the prompts so far.
        done: no word can go.
    """

    current: Tensor
    words: tuple[str, ...] = ()
    credits: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.float64))
    lowest: float = torch.inf
    done: bool = False


class Prune:
    """Drops the word whose absence hurts least, one a step, while the loss rises by at most `tolerance`.

    Words are what spaces separate. Losses are compared with the lowest one met, so that many small rises do not
    add up to more than the tolerance. The credits are in the state, of all words before each drop and at the end.

    The host's best is the prompt of lowest loss, of equal losses the shorter: words that harm or do exactly nothing
    are gone from the result, those that the tolerance lets go are gone from `current` alone.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    rowwise: ClassVar[bool] = False
    State: ClassVar[type[PruneState]] = PruneState

    def __init__(self, config: PruneConfig) -> None:
        self.config = config

    def start(self, space: SearchSpace, rng: torch.Generator, initial: Tensor | None) -> PruneState:
        """Return the state at the given ids ``(L,)`` or at the start text.

        Raises:
            ConstraintError: there is nothing to prune, or it does not fit.
        """
        given = self.config.given
        if initial is None and given is None:
            message = (
                "There is no prompt to prune: give it as optim_str_init, or put prune behind a stage that finds one."
            )
            raise ConstraintError(message)
        return PruneState(current=initial_ids(space, rng, given or TextStart(), initial))

    def step(self, space: SearchSpace, state: PruneState, rng: torch.Generator) -> Step[PruneState]:
        """Ask for the losses without each word, and drop the one that is missed least if it may go."""
        current = state.current.tolist()
        (text,) = space.decode(state.current[None])
        words = text.split()
        shorter = space.encode([" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))])
        possible = torch.tensor(proposable(space, shorter, current), dtype=torch.bool)
        asked = [prompt for prompt, good in zip(shorter, possible.tolist(), strict=True) if good]
        answers = yield from losses_of([current, *asked], space.device)
        loss = float(answers[0])
        losses = torch.full((len(words),), torch.inf, dtype=torch.float64)
        losses[possible] = answers[1:]
        state = attrs.evolve(
            state, words=tuple(words), credits=losses - loss, lowest=min(state.lowest, loss), done=True
        )
        if not possible.any():
            return state
        place = int(losses.argmin())
        if not float(losses[place]) <= state.lowest + self.config.tolerance:
            return state
        return attrs.evolve(state, current=torch.tensor(shorter[place], device=space.device), done=False)
