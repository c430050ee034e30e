"""Gradients towards the nearest row behind the decision boundary, for all queries at once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import torch

from preimage.api import Gradients
from preimage_counterfactual.optimizers.greedy import copied_columns
from preimage_counterfactual.optimizers.nearest import Bowl
from preimage_counterfactual.optimizers.neighbours import clearest_rows, unlike_neighbours
from preimage_counterfactual.optimizers.rays import Found, along, nearest_along
from preimage_counterfactual.optimizers.sparse import few_columns

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.feature_space import FeatureSearchSpace
    from preimage_counterfactual.config import GradientConfig

__all__ = ["Gradient", "GradientState"]

_SHRINKAGE = 0.1
_PATIENCE = 2
"""Rounds without a gain after which a query is left alone."""
_DONORS = 10
"""Known rows that are followed where the nearest leads nowhere, or hand over columns where only some may change."""


@attrs.frozen(eq=False, kw_only=True)
class GradientState:
    """Where the search for each query stands.

    Attributes:
        current: the best row on the boundary, ``(N, D)``; the query where there is none yet.
        cost: its distance, ``(N,)``; infinite where there is none yet.
        stride: which share of the next step is made, ``(N,)``.
        idle: how many rounds in a row have gained nothing worth having, ``(N,)``.
        free: what may move, bool ``(N, D)``: less than the space allows where few columns may change.
        round: rounds made.
        done: no query has gained in the last round, or there were rounds enough.
    """

    current: Tensor
    cost: Tensor
    stride: Tensor
    idle: Tensor
    free: Tensor
    round: int = 0
    done: bool = False


class Gradient:
    """Walks along the decision boundary to where it is nearest to the query.

    A round takes the gradient of the score at a row on the boundary, solves for the nearest row behind the plane
    that it spans, goes there, and comes back to the boundary on the ray from the middle of the distance (the row that
    costs least): a handful of points on the ray, then a handful between the two that enclose the boundary, narrow it
    down in two calls of the model. A step that does not lead nearer is halved. Under a quadratic distance the solution
    is the closed form, whose step is whitened by the covariance, so that four or five rounds are within a percent of
    the optimum. Under any other differentiable distance the step goes down its gradient within the plane, in
    the metric of the data.

    The first round starts at the query, and at the nearest row of the data that is decided as wanted, so that there is
    an answer wherever the path from there is free. Where what may not change undoes what that row had to give, its
    next neighbours are followed, and the rows that are decided most clearly.

    With at most k columns, the closed form gives up the least useful column after the other until k are left; where
    these do not reach the boundary, others that go farther do, or known rows hand over some of theirs. Later rounds
    move those columns alone.

    Where this differs from the usual search by gradients (Wachter et al.): the weight between margin and distance is
    not searched by trial, since on the boundary the closed form knows it; and what is kept is the nearest row that
    the model itself decides as wanted, not the row of the least weighted sum.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"gradient"})
    rowwise: ClassVar[bool] = True
    State: ClassVar[type[GradientState]] = GradientState

    def __init__(self, config: GradientConfig) -> None:
        self.config = config

    def start(self, space: FeatureSearchSpace, rng: Any, initial: Sequence[Tensor | None]) -> GradientState:
        """Return the state at the queries, or at the rows that are given for all of them."""
        given = [row for row in initial if row is not None]
        current = torch.stack(given) if given else space.reference
        return GradientState(
            current=current,
            cost=current.new_full((len(current),), torch.inf),
            stride=current.new_ones(len(current)),
            idle=torch.zeros(len(current), dtype=torch.int64, device=current.device),
            free=space.free,
        )

    def step(self, space: FeatureSearchSpace, state: GradientState, rng: Any) -> Step[GradientState]:
        """Make one round for the queries that still gain."""
        run = (state.idle < _PATIENCE).nonzero().flatten()
        current, free = state.current[run], state.free[run]
        solved = space.quadratic is not None
        terms, slopes = yield Gradients(current, run, terms="decision" if solved else True)
        offset = (slopes[:, 0] * current).sum(dim=1) - terms[:, 0] - self.config.depth
        bowl = self._bowl(space, state, run, free)
        if state.round == 0 and space.max_changed is not None:
            found, free = yield from self._few(space, bowl, slopes[:, 0], offset, run)
            return self.moved(space, state, run, found, free)
        if bowl is None:
            middle = space.reference[run]
            solution = self._descended(space, state, run, free, terms, slopes)
        else:
            middle = bowl.bottom()
            solution = bowl.nearest(slopes[:, :1], offset[:, None])
        target = current + state.stride[run, None] * (solution - current)
        if state.round == 0:
            found = yield from self._first(space, middle, target, run)
        else:
            wide = max(0.5 * 0.6 ** (state.round - 1), 0.02)
            found = yield from along(space, middle, target, run, low=1 - wide, high=1 + wide, points=self.config.points)
        return self.moved(space, state, run, found, free)

    def moved(
        self, space: FeatureSearchSpace, state: GradientState, run: Tensor, found: Found, free: Tensor
    ) -> GradientState:
        """Return the next state: nearer rows are taken over, and where there is none the stride is halved."""
        cost, stride = state.cost[run], state.stride[run]
        nearer = found.valid & (found.distances < cost)
        gains = nearer & ~((cost - found.distances) <= self.config.tolerance * found.distances.abs())
        # Where nothing has been found yet, the next gradient is taken where the search has got to.
        lost = ~found.valid & cost.isinf()
        wide = nearer | lost | (state.round == 0)
        if space.max_changed is not None:
            own = space.changed(found.rows, run)[:, space.columns] & space.free[run]
            free = torch.where(nearer[:, None], own, free)
        idle = state.idle.index_copy(0, run, torch.where(gains | lost, 0, state.idle[run] + 1))
        count = state.round + 1
        return GradientState(
            current=state.current.index_copy(
                0, run, torch.where((nearer | lost)[:, None], found.rows, state.current[run])
            ),
            cost=state.cost.index_copy(0, run, torch.where(nearer, found.distances, cost)),
            stride=state.stride.index_copy(0, run, torch.where(wide, (stride * 1.5).clamp_max(1.0), stride / 2)),
            idle=idle,
            free=state.free.index_copy(0, run, free),
            round=count,
            done=count >= self.config.rounds or not bool((idle < _PATIENCE).any()),
        )

    def _first(
        self, space: FeatureSearchSpace, middle: Tensor, target: Tensor, run: Tensor
    ) -> Generator[Any, Any, Found]:
        """Look on the rays through the first solution and a known row that is as wanted: the nearest, or others."""
        near, known = (found[run] for found in unlike_neighbours(space, _DONORS))
        ends = torch.cat([middle + 3 * (target - middle), torch.where(known, near[:, 0], target)])
        both, points = torch.cat([run, run]), self.config.points
        found = yield from along(space, torch.cat([middle, middle]), ends, both, points=points, stages=2)
        count = len(run)
        second = found.distances[count:] < found.distances[:count]
        rows = torch.where(
            second[:, None], found.rows[count:], torch.where(found.valid[:count, None], found.rows[:count], target)
        )
        costs = torch.minimum(found.distances[:count], found.distances[count:])
        lost = costs.isinf().nonzero().flatten()
        if len(lost) and len(space.known):
            # What may not change may undo all that the nearest row had to give: others are followed.
            others = torch.cat([near[lost, 1:], clearest_rows(space, _DONORS, run[lost])], dim=1)
            better, least = yield from nearest_along(space, middle[lost], others, run[lost], points=points, stages=2)
            rows = rows.index_copy(0, lost, torch.where((least < torch.inf)[:, None], better, rows[lost]))
            costs = costs.index_copy(0, lost, least)
        return Found(costs < torch.inf, rows, costs, found.share[:count])

    def _few(
        self, space: FeatureSearchSpace, bowl: Bowl | None, normal: Tensor, offset: Tensor, run: Tensor
    ) -> Generator[Any, Any, tuple[Found, Tensor]]:
        """Look on the rays through the solutions in which few columns move; return what may move from then on, too.

        Where no ray turns the decision, and where there is no closed form, known rows hand over columns.
        """
        assert space.max_changed is not None
        count = len(run)
        rows, costs, free = space.anchor[run], normal.new_full((count,), torch.inf), space.free[run]
        if bowl is not None:
            bowls = few_columns(space, bowl, normal, offset, run)
            middle = torch.cat([one.bottom() for one in bowls])
            solution = torch.cat([one.nearest(normal[:, None], offset[:, None]) for one in bowls])
            ends, many = middle + 3 * (solution - middle), run.repeat(len(bowls))
            found = yield from along(space, middle, ends, many, points=self.config.points, stages=2)
            costs, place = found.distances.view(-1, count).min(dim=0)
            # Where none leads there, the next gradient is taken at the solution that goes farthest.
            place = torch.where(costs < torch.inf, place, len(bowls) - 1)
            answers = torch.where(found.valid[:, None], found.rows, solution).view(len(bowls), count, -1)
            rows = answers[place, torch.arange(count)]
            free = bowls[-1].lower < bowls[-1].upper
        lost = costs.isinf().nonzero().flatten()
        if len(lost):
            ends = yield from copied_columns(space, _DONORS, space.max_changed, run[lost])
            begin = space.anchor[run[lost]]
            copied, least = yield from nearest_along(space, begin, ends, run[lost], points=self.config.points, stages=2)
            rows = rows.index_copy(0, lost, torch.where((least < torch.inf)[:, None], copied, rows[lost]))
            costs = costs.index_copy(0, lost, least)
        return Found(costs < torch.inf, rows, costs, torch.ones_like(costs)), free

    def _bowl(self, space: FeatureSearchSpace, state: GradientState, run: Tensor, free: Tensor) -> Bowl | None:
        if space.quadratic is None:
            return None
        if not space.groups or state.round == 0:
            return Bowl.of(space).rows(run).within(free, space.anchor[run])
        # Levels are chosen in the first round; the numbers are then solved for among them.
        grouped = torch.zeros_like(free)
        for group in space.groups:
            grouped[:, group] = True
        return Bowl.of(space, state.current).rows(run).within(free | grouped, space.anchor[run])

    def _descended(
        self,
        space: FeatureSearchSpace,
        state: GradientState,
        run: Tensor,
        free: Tensor,
        terms: Tensor,
        slopes: Tensor,
    ) -> Tensor:
        """Return a step down the distance within the plane of the boundary, in the metric of the data, ``(N, D)``."""
        rows = space.known if len(space.known) > 1 else space.reference
        spread = torch.cov(rows.T, correction=0).reshape(rows.shape[1], rows.shape[1])
        metric = (1 - _SHRINKAGE) * spread + _SHRINKAGE * torch.eye(len(spread), dtype=rows.dtype)
        normal, down = (slopes * free[:, None]).unbind(dim=1)
        along_normal, along_down = (normal @ metric) * free, (down @ metric) * free
        height = (normal * along_normal).sum(dim=1).clamp_min(1e-30)
        back = (terms[:, 0] + self.config.depth) / height
        at_query, current, reference = state.cost[run].isinf(), state.current[run], space.reference[run]
        tangent = along_down - along_normal * ((normal * along_down).sum(dim=1) / height)[:, None]
        moved = (current - reference).square().sum(dim=1).clamp_min(1e-30)
        size = (tangent.square().sum(dim=1) / moved).sqrt().clamp_min(1e-30)
        step = 0.5 * tangent / size[:, None]
        return current - torch.where(at_query[:, None], 0.0, step) - along_normal * back[:, None]
