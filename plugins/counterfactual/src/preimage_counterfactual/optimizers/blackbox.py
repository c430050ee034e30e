"""From rows that exist towards the query, with nothing known of the model but its answers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import torch

from preimage.api import Losses
from preimage_counterfactual.optimizers.greedy import copied_columns
from preimage_counterfactual.optimizers.nearest import Bowl
from preimage_counterfactual.optimizers.neighbours import clearest_rows, unlike_neighbours
from preimage_counterfactual.optimizers.rays import along, nearest_along

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.feature_space import FeatureSearchSpace
    from preimage_counterfactual.config import BlackBoxConfig

__all__ = ["BlackBox", "BlackBoxState"]

_RIDGE = 1e-2


@attrs.frozen(eq=False, kw_only=True)
class BlackBoxState:
    """Where the search for each query stands.

    Attributes:
        current: the best row that is decided as wanted, ``(N, D)``; the query where there is none.
        cost: its distance, ``(N,)``; infinite where there is none.
        round: steps made.
        done: nothing can be thinned any more, or there were rounds enough.
    """

    current: Tensor
    cost: Tensor
    round: int = 0
    done: bool = False


class BlackBox:
    """Pulls rows that are decided as wanted back to the query, then thins what they change.

    The first step looks for the nearest known rows that are decided as wanted and follows the ways from the query
    to them up to where the decision turns. Where the distance is a quadratic form one more way is followed: the
    closed form for the plane that fits the margins of the known rows best, in which columns that hang together move
    together. Every later step tries to take back changes that make the answer farther, single columns and
    whole sets of the smallest at once, and goes back on the way from the query again.

    With at most k columns the first step is a best-first search instead: each of several known rows hands over
    one column after another, always the one that turns the decision most, until it turns; what has been handed
    over is then pulled back.

    All questions of all queries are asked in one call of the model.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    rowwise: ClassVar[bool] = True
    State: ClassVar[type[BlackBoxState]] = BlackBoxState

    def __init__(self, config: BlackBoxConfig) -> None:
        self.config = config

    def start(self, space: FeatureSearchSpace, rng: Any, initial: Sequence[Tensor | None]) -> BlackBoxState:
        """Return the state at the queries, or at the rows that are given for all of them."""
        given = [row for row in initial if row is not None]
        current = torch.stack(given) if given else space.reference
        return BlackBoxState(current=current, cost=current.new_full((len(current),), torch.inf))

    def step(self, space: FeatureSearchSpace, state: BlackBoxState, rng: Any) -> Step[BlackBoxState]:
        """Find rows to begin with, or thin those that have been found."""
        if state.round == 0:
            return (yield from self._found(space, state))
        return (yield from self._thinned(space, state))

    def _found(self, space: FeatureSearchSpace, state: BlackBoxState) -> Generator[Any, Any, BlackBoxState]:
        n_runs = space.n_runs
        every = torch.arange(n_runs, device=space.device)
        points, stages = self.config.points, self.config.stages
        if space.max_changed is None:
            ends = self.ends(space)
        else:
            ends = yield from copied_columns(space, self.config.donors, space.max_changed, every)
        rows, cost = yield from nearest_along(space, space.reference, ends, every, points=points, stages=stages)
        lost = cost.isinf().nonzero().flatten()
        if len(lost) and space.max_changed is None and len(space.known):
            # What has been fixed for the query may undo what its neighbours have to give: ask those farther on.
            ends, begin = clearest_rows(space, self.config.donors, lost), space.reference[lost]
            rows[lost], cost[lost] = yield from nearest_along(space, begin, ends, lost, points=points, stages=stages)
        found = cost < torch.inf
        rows = torch.where(found[:, None], rows, state.current)
        done = self.config.rounds == 0 or not bool(found.any())
        return BlackBoxState(current=rows, cost=cost, round=1, done=done)

    def ends(self, space: FeatureSearchSpace) -> Tensor:
        """Return the rows that ways from each query lead to, ``(N, K, D)``."""
        ends, _ = unlike_neighbours(space, self.config.neighbours)
        if space.quadratic is None or len(space.known) < 2:
            return ends
        bowl = Bowl.of(space)
        middle = space.known.mean(dim=0)
        centred, level = space.known - middle, space.known_margins.mean(dim=0)
        gram = centred.T @ centred + _RIDGE * len(centred) * torch.eye(centred.shape[1], dtype=centred.dtype)
        normal = torch.linalg.solve(gram, centred.T @ (space.known_margins - level)).T.contiguous()
        spread = space.known_margins.std(dim=0, correction=0)
        offset = (normal * middle).sum(dim=1) - level - spread
        bent = bowl.nearest(normal[:, None], offset[:, None])
        return torch.cat([ends, (space.reference + 2 * (bent - space.reference))[:, None]], dim=1)

    def _thinned(self, space: FeatureSearchSpace, state: BlackBoxState) -> Generator[Any, Any, BlackBoxState]:
        run, rows = self.thinner(space, state)
        current, cost = state.current, state.cost
        gained = False
        if len(run):
            terms = yield Losses(rows, run, terms=True)
            distances = torch.where(terms[:, 0] <= 0, terms[:, 1], torch.inf)
            current, cost, gained = _taken(current, cost, rows, distances, run)
        if gained:
            live = (cost < state.cost).nonzero().flatten()
            found = yield from along(
                space, space.reference[live], current[live], live, low=0.5, points=self.config.points, stages=1
            )
            current, cost, _ = _taken(current, cost, found.rows, found.distances, live)
        count = state.round + 1
        return BlackBoxState(current=current, cost=cost, round=count, done=count > self.config.rounds or not gained)

    def thinner(self, space: FeatureSearchSpace, state: BlackBoxState) -> tuple[Tensor, Tensor]:
        """Return rows that change less than the current ones and are nearer, ``(B, D)``, and whose they are, ``(B,)``.

        For each query these are the columns whose return brings most, one by one, and the smallest changes together:
        the smallest two, four, eight and so on.
        """
        live = (state.cost < torch.inf).nonzero().flatten()
        current, reference = state.current[live], space.reference[live]
        changed = space.changed(current, live)
        n_live, n_columns = changed.shape
        size = torch.zeros_like(changed, dtype=current.dtype)
        size.index_add_(1, space.columns, (current - reference).abs())
        rank = torch.where(changed, size, torch.inf).argsort(dim=1).argsort(dim=1)
        single = torch.eye(n_columns, dtype=torch.bool, device=current.device)
        singles = (single & changed[:, None]).flatten(0, 1)
        doublings = [2**power for power in range(1, n_columns.bit_length())]
        sets = torch.stack([(rank < length) & changed for length in doublings], dim=1).flatten(0, 1)
        back = torch.cat([singles, sets])[:, space.columns]
        owner = torch.arange(n_live, device=current.device)
        owner = torch.cat([owner.repeat_interleave(n_columns), owner.repeat_interleave(len(doublings))])
        rows = space.round(torch.where(back, reference[owner], current[owner]), live[owner])
        gain = state.cost[live][owner] - space.distances(rows, live[owner])
        gain = torch.where(back.any(dim=1), gain, -torch.inf)
        worth_it = self.config.tolerance * state.cost[live][owner].abs()
        # Only the most promising singles are worth a call of the model.
        of_singles = gain[: n_live * n_columns].view(n_live, n_columns)
        bar = of_singles.topk(min(self.config.singles, n_columns), dim=1).values[:, -1:]
        ask = torch.cat([(of_singles >= bar).flatten(), torch.ones(len(sets), dtype=torch.bool)]) & (gain > worth_it)
        return live[owner[ask]], rows[ask]


def _taken(current: Tensor, cost: Tensor, rows: Tensor, distances: Tensor, run: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Return the current rows and costs with the nearest of `rows` taken over where it is nearer."""
    least = cost.scatter_reduce(0, run, distances, "amin")
    winners = ((distances == least[run]) & (distances < cost[run])).nonzero().flatten()
    if not len(winners):
        return current, cost, False
    current = current.clone()
    current[run[winners]] = rows[winners]
    return current, least, True
