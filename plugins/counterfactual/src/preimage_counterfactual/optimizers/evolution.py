"""Evolution: populations of rows for all queries, each generation one call of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.api import Losses
from preimage_counterfactual.optimizers.neighbours import unlike_neighbours

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.feature_space import FeatureSearchSpace
    from preimage_counterfactual.config import EvolutionConfig

__all__ = ["Evolution", "EvolutionState"]


@attrs.frozen(eq=False, kw_only=True)
class EvolutionState:
    """The populations.

    Attributes:
        rows: the rows that live, best first, ``(N, P, D)``.
        fitness: what they are ordered by, least first, ``(N, P)``: see `Evolution.fitness`; infinite before the first
            generation.
        stale: generations since each query has gained, ``(N,)``.
        generation: generations made.
        done: there were generations enough, or no query gains any more.
    """

    rows: Tensor
    fitness: Tensor
    stale: Tensor
    generation: int = 0
    done: bool = False

    @property
    def current(self) -> Tensor:
        """The best row of each query, ``(N, D)``."""
        return self.rows[:, 0]


class Evolution:
    """Lets rows that are decided as wanted multiply the more the nearer they are.

    Rows on the ways from the query to known rows that are decided as wanted make the first population. A child
    takes each column from one of two parents of the better half. It may return columns to the query's values, be
    shifted by a fraction of the difference of two known rows, which moves together what moves together in the
    data, or take a column over from a known row, which is how levels change. The best of parents and children live on.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    rowwise: ClassVar[bool] = True
    State: ClassVar[type[EvolutionState]] = EvolutionState

    def __init__(self, config: EvolutionConfig) -> None:
        self.config = config

    def start(
        self, space: FeatureSearchSpace, rng: Sequence[torch.Generator], initial: Sequence[Tensor | None]
    ) -> EvolutionState:
        """Return populations on the ways from the queries, or from the rows that are given, to known rows."""
        size = self.config.population
        given = [row for row in initial if row is not None]
        begin = torch.stack(given) if given else space.reference
        donors, _ = unlike_neighbours(space, size)
        share = _each(rng, lambda own: torch.rand(size, 1, generator=own, dtype=begin.dtype)).sqrt()
        share[:, 0] = 0.0 if given else 1.0
        rows = begin[:, None] + share * (donors - begin[:, None])
        stale = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        return EvolutionState(rows=rows, fitness=rows.new_full(rows.shape[:2], torch.inf), stale=stale)

    def step(
        self, space: FeatureSearchSpace, state: EvolutionState, rng: Sequence[torch.Generator]
    ) -> Step[EvolutionState]:
        """Breed a generation, ask about it, and let the best live on."""
        size, width = state.rows.shape[1:]
        first = state.generation == 0
        children = state.rows if first else self.children(space, state, rng)
        # A query that gains no more is left alone, whatever the others of its batch do.
        live = (state.stale < self.config.patience).nonzero().flatten()
        run = live.repeat_interleave(size)
        rows = space.round(children[live].flatten(0, 1), run)
        terms = yield Losses(rows, run, terms=True)
        born, fitness = state.rows.clone(), torch.full_like(state.fitness, torch.inf)
        born[live] = rows.view(len(live), size, width)
        fitness[live] = self.fitness(space, rows, run, terms).view(len(live), size)
        every = torch.cat([state.rows, born], dim=1)
        order = torch.cat([state.fitness, fitness], dim=1)
        best, place = order.sort(dim=1, stable=True)
        survivors = every.gather(1, place[:, :size, None].expand(-1, -1, width))
        gained = best[:, 0] < state.fitness[:, 0] - self.config.tolerance
        stale = torch.where(gained, 0, state.stale + (0 if first else 1))
        count = state.generation + 1
        return EvolutionState(
            rows=survivors,
            fitness=best[:, :size],
            stale=stale,
            generation=count,
            done=count >= self.config.generations or not bool((stale < self.config.patience).any()),
        )

    def fitness(self, space: FeatureSearchSpace, rows: Tensor, run: Tensor, terms: Tensor) -> Tensor:
        """Return one number a row, ``(B,)``, less is better: below 0 for answers, by distance, else by margin."""
        margin, distance = terms.unbind(dim=1)
        lacking = margin.clamp_min(0)
        if space.max_changed is not None:
            lacking = lacking + (space.changed(rows, run).sum(dim=1) - space.max_changed).clamp_min(0)
        # Costs that ask for plausibility, too, may be negative; whatever they are, this rises with them.
        answers = distance / (1 + distance.abs()) - 2
        return torch.where(lacking > 0, lacking, answers)

    def children(self, space: FeatureSearchSpace, state: EvolutionState, rng: Sequence[torch.Generator]) -> Tensor:
        """Return one child for each member of the populations, ``(N, P, D)``."""
        n_runs, size, _ = state.rows.shape
        n_known, columns = max(1, len(space.known)), space.columns
        known = space.known if len(space.known) else space.reference

        def chances(own: torch.Generator) -> Tensor:
            return torch.rand(size, 3 * space.n_columns + 8, generator=own, dtype=state.rows.dtype)

        chance = _each(rng, chances)
        crossing, returning, taking = chance[:, :, :-8].split(space.n_columns, dim=2)
        mother, father, plus, minus, giver, kind, scale, rate = chance[:, :, -8:].unbind(dim=2)
        half = (size + 1) // 2
        every = torch.arange(n_runs, device=state.rows.device)[:, None]
        one, other = (state.rows[every, (place * half).long()] for place in (mother, father))
        child = torch.where((crossing < 0.5)[:, :, columns], one, other)
        cooling = 0.5 ** (4 * state.generation / self.config.generations)
        shift = known[(plus * n_known).long()] - known[(minus * n_known).long()]
        child = torch.where(
            (kind < 0.6)[:, :, None], child + self.config.mutation * cooling * scale[:, :, None] * shift, child
        )
        reference = space.reference[:, None].expand_as(child)
        back = (returning < 0.3 * rate[:, :, None])[:, :, columns]
        child = torch.where((kind > 0.4)[:, :, None] & back, reference, child)
        towards = (kind > 0.85)[:, :, None]
        child = torch.where(towards, reference + (1 - 0.3 * cooling * scale[:, :, None]) * (child - reference), child)
        taken = (taking < 1 / space.n_columns)[:, :, columns] & (scale < 0.5)[:, :, None]
        return torch.where(taken, known[(giver * n_known).long()], child)


def _each(rng: Sequence[torch.Generator], draw: Callable[[torch.Generator], Tensor]) -> Tensor:
    """Return what every run draws by its own generator, ``(N, …)``."""
    return torch.stack([draw(own) for own in rng])
