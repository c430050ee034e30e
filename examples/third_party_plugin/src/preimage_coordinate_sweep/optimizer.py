"""The coordinate sweep: every token of a shortlist at one position, the best stays, then the next position."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.api import Losses
from preimage.start import initial_ids, random_ids

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.search_space import SearchSpace
    from preimage_coordinate_sweep.config import CoordinateSweepConfig

__all__ = ["CoordinateSweep", "CoordinateSweepState"]


@attrs.frozen(eq=False, kw_only=True)
class CoordinateSweepState:
    """Where the sweep stands.

    Attributes:
        current: token ids, ``(L,)``.
        shortlist: the tokens that are tried, ``(S,)``.
        position: where the next step tries them.
        settled: how many positions in a row kept their token.
        restarts: how many are left.
        done: no replacement helps and no restart is left.
    """

    current: Tensor
    shortlist: Tensor
    position: int = 0
    settled: int = 0
    restarts: int = 0
    done: bool = False


class CoordinateSweep:
    """Tries all of a shortlist at one position, keeps the best, and goes on to the next position.

    A step asks for the losses of the present prompt, which the host remembers, and of one prompt for each token of
    the shortlist. Within a start it never moves to a worse prompt, so it ends where no single replacement helps.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    rowwise: ClassVar[bool] = False
    State: ClassVar[type[CoordinateSweepState]] = CoordinateSweepState

    def __init__(self, config: CoordinateSweepConfig) -> None:
        self.config = config

    def start(self, space: SearchSpace, rng: torch.Generator, initial: Tensor | None) -> CoordinateSweepState:
        """Return the state at the given ids ``(L,)``, at the start text, or at random tokens."""
        # The generator lives on the CPU: one seed draws the same tokens on every device.
        drawn = torch.randperm(len(space.allowed_ids), generator=rng)[: self.config.shortlist_size]
        return CoordinateSweepState(
            current=initial_ids(space, rng, self.config, initial),
            shortlist=space.allowed_ids[drawn.to(space.device)],
            restarts=self.config.restarts,
        )

    def step(self, space: SearchSpace, state: CoordinateSweepState, rng: torch.Generator) -> Step[CoordinateSweepState]:
        """Try the shortlist at one position, move to the best, and begin again where nothing helps."""
        candidates = self.propose(space, state)
        losses = yield Losses(candidates)
        best = int(losses.argmin())
        settled = state.settled + 1 if best == 0 else 0
        state = attrs.evolve(
            state, current=candidates[best], position=(state.position + 1) % len(state.current), settled=settled
        )
        if settled < len(state.current):
            return state
        if not state.restarts:
            return attrs.evolve(state, done=True)
        fresh = random_ids(space, rng, len(state.current))
        return attrs.evolve(state, current=fresh, position=0, settled=0, restarts=state.restarts - 1)

    def propose(self, space: SearchSpace, state: CoordinateSweepState) -> Tensor:
        """Return the present prompt and those with another token at the position, ``(B, L)``.

        Prompts whose text would be read as other tokens are left out.
        """
        others = state.shortlist[state.shortlist != state.current[state.position]]
        replaced = state.current.repeat(len(others), 1)
        replaced[:, state.position] = others
        return torch.cat([state.current[None], replaced[space.is_stable(replaced)]])
