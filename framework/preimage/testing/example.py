"""The smallest optimizers that keep every rule: patterns to start from, and what broken ones are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.api import Losses
from preimage.start import random_ids

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.feature_space import FeatureSearchSpace
    from preimage.search_space import SearchSpace

__all__ = ["HillClimb", "HillClimbState", "RowClimb", "RowClimbState"]


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


@attrs.frozen(eq=False)
class RowClimbState:
    """Where the search for each query stands.

    Attributes:
        current: the row that the next step starts from, ``(N, D)``.
        worth: what it is worth, ``(N,)``, less is better: its margin as long as that is above 0, then below 0.
        round: steps made.
        done: there were steps enough.
    """

    current: Tensor
    worth: Tensor
    round: int = 0
    done: bool = False


class RowClimb:
    """Shifts each query's row at random, 64 times a step, ever less, and moves to the best of these and the present."""

    requires: ClassVar[frozenset[str]] = frozenset()
    rowwise: ClassVar[bool] = True
    State: ClassVar[type[RowClimbState]] = RowClimbState

    width = 64
    rounds = 15

    def start(
        self, space: FeatureSearchSpace, rng: Sequence[torch.Generator], initial: Sequence[Tensor | None]
    ) -> RowClimbState:
        """Return the state at the queries, or at the rows that are given for all of them."""
        given = [row for row in initial if row is not None]
        current = torch.stack(given) if given else space.reference
        return RowClimbState(current, current.new_full((len(current),), torch.inf))

    def step(
        self, space: FeatureSearchSpace, state: RowClimbState, rng: Sequence[torch.Generator]
    ) -> Step[RowClimbState]:
        """Ask for the margins and distances of the present rows and of their neighbours, and move to the best."""
        rows = torch.cat([state.current[:, None], self.neighbours(space, state, rng)], dim=1)
        n_runs, count, width = rows.shape
        run = torch.arange(n_runs, device=rows.device).repeat_interleave(count)
        terms = yield Losses(rows.view(-1, width), run, terms=True)
        margin, distance = terms.view(n_runs, count, 2).unbind(dim=2)
        # Distances may be negative; whatever they are, this rises with them, and is below every margin.
        worth = torch.where(margin <= 0, distance / (1 + distance.abs()) - 2, margin)
        least, place = worth.min(dim=1)
        best = rows[torch.arange(n_runs, device=rows.device), place]
        better = least < state.worth
        return RowClimbState(
            torch.where(better[:, None], best, state.current),
            torch.minimum(least, state.worth),
            state.round + 1,
            done=state.round + 1 >= self.rounds,
        )

    def neighbours(self, space: FeatureSearchSpace, state: RowClimbState, rng: Sequence[torch.Generator]) -> Tensor:
        """Return rows around the present ones, half of them on the way back to the query as well, ``(N, B, D)``."""
        shape = (self.width, state.current.shape[1])
        noise = torch.stack([torch.randn(shape, generator=own, dtype=state.current.dtype) for own in rng])
        back = torch.stack([torch.rand(self.width, 1, generator=own, dtype=state.current.dtype) for own in rng])
        back[:, ::2] = 0
        present = state.current[:, None]
        shifted = present + back * (space.reference[:, None] - present) + 1.5 * 0.85**state.round * noise
        return space.round(shifted.flatten(0, 1), torch.arange(len(present)).repeat_interleave(self.width)).view(
            noise.shape
        )
