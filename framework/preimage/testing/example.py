"""The smallest optimizer that keeps every rule: a pattern to start from, and what broken ones are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.api import Losses
from preimage.start import random_ids

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.search_space import SearchSpace

__all__ = ["HillClimb", "HillClimbState"]


@attrs.frozen(eq=False)
class HillClimbState:
    """The prompt that the next step changes.

    Attributes:
        current: token ids, ``(L,)``.
        done: there is nothing left to try.
    """

    current: Tensor
    done: bool = False


class HillClimb:
    """Replaces one token at random, 48 times a step, and moves to the best of these and the present prompt."""

    requires: ClassVar[frozenset[str]] = frozenset()
    rowwise: ClassVar[bool] = False
    State: ClassVar[type[HillClimbState]] = HillClimbState

    width = 48

    def start(self, space: SearchSpace, rng: torch.Generator, initial: Tensor | None) -> HillClimbState:
        """Return the state at the given ids ``(L,)``, or at four random tokens."""
        return HillClimbState(random_ids(space, rng, 4) if initial is None else initial)

    def step(self, space: SearchSpace, state: HillClimbState, rng: torch.Generator) -> Step[HillClimbState]:
        """Ask for the losses of the present prompt and of its neighbours, and move to the best."""
        candidates = torch.cat([state.current[None], self.neighbours(space, state.current, rng)])
        losses = yield Losses(candidates)
        return HillClimbState(candidates[losses.argmin()])

    def neighbours(self, space: SearchSpace, prompt: Tensor, rng: torch.Generator) -> Tensor:
        """Return copies of ``prompt (L,)`` with one token replaced, ``(B, L)``."""
        copies = prompt.repeat(self.width, 1)
        positions = torch.randint(len(prompt), (self.width, 1), generator=rng)
        drawn = torch.randint(len(space.allowed_ids), (self.width, 1), generator=rng)
        return copies.scatter(1, positions.to(prompt.device), space.allowed_ids[drawn.to(prompt.device)])
