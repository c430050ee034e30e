"""The closed form for scores that are linear in the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import torch

from preimage.api import Gradients, Losses
from preimage_counterfactual.optimizers.nearest import Bowl
from preimage_counterfactual.optimizers.neighbours import unlike_neighbours
from preimage_counterfactual.optimizers.sparse import few_columns

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.feature_space import FeatureSearchSpace
    from preimage_counterfactual.config import LinearConfig

__all__ = ["Linear", "LinearState"]

_ROUNDED = 1e-9
_SAME = 1e-9


@attrs.frozen(eq=False, kw_only=True)
class LinearState:
    """The half-spaces that are known to hold what is wanted.

    Attributes:
        current: the solution so far, ``(N, D)``.
        normals: of the half-spaces, ``(N, C, D)``.
        offsets: of the half-spaces, ``(N, C)``.
        depth: how far behind them each solution is to be, ``(N,)``.
        answered: which queries have an answer, bool ``(N,)``.
        round: steps made.
        done: every query is answered, or there were rounds enough.
    """

    current: Tensor
    normals: Tensor
    offsets: Tensor
    depth: Tensor
    answered: Tensor
    round: int = 0
    done: bool = False


class Linear:
    """Solves for the nearest row behind the decision boundary.

    Under a quadratic distance and with one boundary this is ``m + C w (t - wᵀm) / (wᵀ C w)``: one gradient, which
    is w, and one question whether the answer holds. Bounds and fixed columns are kept by an active set. Among several
    classes the solution may land in a third one; its boundary then joins the half-spaces, and since each of them
    holds all that is wanted, what is found in the end is nearest. Where values have to be whole numbers or levels, they
    are rounded, held, and the rest is solved again; when rounding undoes the decision, the next solution lies
    deeper, and has the levels of a known row that is decided as wanted. Where only some columns may change, several
    sets of them are solved for and asked about at once: those that are best for the boundary that has just been met,
    and those that are for the mean of all boundaries, since columns that lead behind one may lead away from another.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"gradient"})
    rowwise: ClassVar[bool] = True
    needs_quadratic: ClassVar[bool] = True
    needs_linear: ClassVar[bool] = True
    State: ClassVar[type[LinearState]] = LinearState

    def __init__(self, config: LinearConfig) -> None:
        self.config = config

    def start(self, space: FeatureSearchSpace, rng: Any, initial: Sequence[Tensor | None]) -> LinearState:
        """Return the state at the queries, or at the rows that are given for all of them."""
        given = [row for row in initial if row is not None]
        current = torch.stack(given) if given else space.reference
        n_runs, width = current.shape
        return LinearState(
            current=current,
            normals=current.new_zeros(n_runs, 0, width),
            offsets=current.new_zeros(n_runs, 0),
            depth=current.new_full((n_runs,), self.config.depth),
            answered=torch.zeros(n_runs, dtype=torch.bool, device=current.device),
        )

    def step(self, space: FeatureSearchSpace, state: LinearState, rng: Any) -> Step[LinearState]:
        """Add the half-space that the gradient shows, solve, and ask whether the solution holds."""
        run = (~state.answered).nonzero().flatten()
        current, depth = state.current[run], state.depth[run]
        terms, slopes = yield Gradients(current, run, terms="decision")
        normal = slopes[:, 0]
        offset = (normal * current).sum(dim=1) - terms[:, 0]
        normals, offsets = self.extended(state, normal, offset, run)
        own, behind = normals[run], offsets[run] - depth[:, None]
        bowls = [Bowl.of(space, self.categories(space, state)).rows(run)]
        if space.max_changed is not None:
            planes = [(normal, offset - depth)]
            if state.round:
                planes.append(_mean(own, behind))
            bowls = [few for plane in planes for few in few_columns(space, bowls[0], *plane, run)]
        fluids = [bowl.nearest(own, behind) for bowl in bowls]
        solutions = [
            self.settled(space, bowl, fluid, own, behind, run) for bowl, fluid in zip(bowls, fluids, strict=True)
        ]
        answer = yield Losses(torch.cat(solutions), run.repeat(len(bowls)), terms=True)
        margin = answer[:, 0].view(len(bowls), -1)
        holds, count = (margin <= 0).any(dim=0), state.round + 1
        answered = state.answered.index_put((run,), holds)
        if holds.all():
            return attrs.evolve(state, answered=answered, round=count, done=True)
        # Of several sets of columns that goes on which lacks least.
        best, every = margin.argmin(dim=0), torch.arange(len(run), device=space.device)
        fluid, solution = (torch.stack(rows)[best, every] for rows in (fluids, solutions))
        lacking = (own @ space.round(solution, run)[:, :, None])[:, :, 0] - offsets[run]
        lacking = lacking.nan_to_num(neginf=0).amax(dim=1).clamp_min(0)
        return LinearState(
            current=state.current.index_copy(0, run, fluid),
            normals=normals,
            offsets=offsets,
            depth=state.depth.index_add(0, run, lacking),
            answered=answered,
            round=count,
            done=count >= self.config.rounds,
        )

    def extended(self, state: LinearState, normal: Tensor, offset: Tensor, run: Tensor) -> tuple[Tensor, Tensor]:
        """Return the half-spaces with those that queries add, where they add any: normals and offsets."""
        known = (state.normals[run] - normal[:, None]).abs().amax(dim=2) <= _SAME * normal.abs().amax(dim=1)[:, None]
        new = ~known.any(dim=1)
        if not new.any():
            return state.normals, state.offsets
        # A half-space that holds everything takes the place of one that is known already.
        normals = torch.zeros_like(state.current).index_put((run[new],), normal[new])
        offsets = torch.full_like(state.depth, torch.inf).index_put((run[new],), offset[new])
        return torch.cat([state.normals, normals[:, None]], dim=1), torch.cat([state.offsets, offsets[:, None]], dim=1)

    def categories(self, space: FeatureSearchSpace, state: LinearState) -> Tensor | None:
        """Return rows whose levels to take on, ``(N, D)``: from round to round those of another known row."""
        if not space.groups or state.round == 0:
            return None
        rows, _ = unlike_neighbours(space, state.round)
        run = torch.arange(space.n_runs, device=space.device)
        return space.round(rows[:, -1], run)

    def settled(
        self, space: FeatureSearchSpace, bowl: Bowl, fluid: Tensor, normals: Tensor, offsets: Tensor, run: Tensor
    ) -> Tensor:
        """Return the solution, ``(N, D)``, with the values that rounding changes held where it puts them."""
        rounded = space.round(fluid, run)
        held = (rounded - fluid).abs() > _ROUNDED
        if not held.any():
            return fluid
        still = attrs.evolve(
            bowl, lower=torch.where(held, rounded, bowl.lower), upper=torch.where(held, rounded, bowl.upper)
        )
        return still.nearest(normals, offsets)


def _mean(normals: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of half-spaces, each as steep as the others: ``(N, D)`` and ``(N,)``.

    It holds all that is in each of them.
    """
    size = normals.norm(dim=2)
    share = torch.where(offsets.isfinite() & (size > 0), 1 / size, 0.0)
    return (normals * share[:, :, None]).sum(dim=1), (offsets.nan_to_num(posinf=0.0) * share).sum(dim=1)
