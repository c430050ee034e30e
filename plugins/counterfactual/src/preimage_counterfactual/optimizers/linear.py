"""The closed form for scores that are linear in the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import torch

from preimage.api import Gradients, Losses
from preimage_counterfactual.optimizers.nearest import Bowl

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.feature_space import FeatureSearchSpace
    from preimage_counterfactual.config import LinearConfig

__all__ = ["Linear", "LinearState"]

_ROUNDED = 1e-9


@attrs.frozen(eq=False, kw_only=True)
class LinearState:
    """The half-spaces that are known to hold what is wanted.

    Attributes:
        current: the solution so far, ``(N, D)``.
        normals: of the half-spaces, ``(N, C, D)``.
        offsets: of the half-spaces, ``(N, C)``.
        depth: how far behind them each solution is to be, ``(N,)``.
        round: steps made.
        done: every query is answered, or there were rounds enough.
    """

    current: Tensor
    normals: Tensor
    offsets: Tensor
    depth: Tensor
    round: int = 0
    done: bool = False


class Linear:
    """Solves for the nearest row behind the decision boundary.

    Under a quadratic distance and with one boundary this is ``m + C w (t - wᵀm) / (wᵀ C w)``: one gradient, which
    is w, and one question whether the answer holds. Bounds and fixed columns are kept by an active set. Among several
    classes the solution may land in a third one; its boundary then joins the half-spaces, and since each of them
    holds all that is wanted, what is found in the end is nearest. Where values have to be whole numbers or levels, they
    are rounded, held, and the rest is solved again; when rounding undoes the decision, the next solution lies
    deeper.
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
        )

    def step(self, space: FeatureSearchSpace, state: LinearState, rng: Any) -> Step[LinearState]:
        """Add the half-space that the gradient shows, solve, and ask whether the solution holds."""
        everything = torch.arange(space.n_runs, device=space.device)
        terms, slopes = yield Gradients(state.current, everything, terms=True)
        normal = slopes[:, 0]
        offset = (normal * state.current).sum(dim=1) - terms[:, 0]
        normals = torch.cat([state.normals, normal[:, None]], dim=1)
        offsets = torch.cat([state.offsets, offset[:, None]], dim=1)
        bowl = Bowl.of(space)
        fluid = bowl.nearest(normals, offsets - state.depth[:, None])
        solution = self.settled(space, bowl, fluid, normals, offsets - state.depth[:, None], everything)
        answer = yield Losses(solution, everything, terms=True)
        wrong = answer[:, 0] > 0
        rounded = space.round(solution, everything)
        lacking = ((normals @ rounded[:, :, None])[:, :, 0] - offsets).amax(dim=1).clamp_min(0)
        depth = state.depth + torch.where(wrong, lacking, 0.0)
        count = state.round + 1
        done = count >= self.config.rounds or not bool(wrong.any())
        return LinearState(current=fluid, normals=normals, offsets=offsets, depth=depth, round=count, done=done)

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
