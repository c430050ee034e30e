"""What is asked of rows of features: a decision, a distance, and which rows may leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

from preimage.api.objective import GradientObjective, Objective
from preimage.chunks import Chunks
from preimage.errors import AssemblyError, NonFiniteLossError

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.feature_space import FeatureSearchSpace

__all__ = ["FeatureEvaluation", "FeatureProblem"]


@attrs.frozen(eq=False)
class FeatureEvaluation:
    """What is known of candidates once they have been rounded to rows that can be written down.

    Attributes:
        rows: the rounded candidates, ``(B, D)``: everything else is about them.
        terms: margin and distance, ``(B, 2)`` float64.
        eligible: decided as wanted, with no more columns changed than allowed, bool ``(B,)``.
    """

    rows: Tensor
    terms: Tensor
    eligible: Tensor


class FeatureProblem:
    """A decision and a distance over one search space.

    Values are those of the *rounded* row, as the user's own model decides it: an answer cannot fall apart when
    it is written down. Gradients are those at the row itself, where whole numbers and levels are still fluid.

    Arguments:
        space: what an optimizer may propose, and the distance.
        decision: its loss is a margin: not above 0 where the row is decided as its query wants.
        weights: of margin and distance, where an optimizer asks for their sum.
        batch_size: rows in one call of the model at most; halved for good when memory runs out.

    Raises:
        AssemblyError: the decision is bound to another number of queries.
    """

    def __init__(
        self,
        space: FeatureSearchSpace,
        decision: Objective,
        *,
        weights: tuple[float, float] = (1.0, 1.0),
        batch_size: int | None = None,
    ) -> None:
        if decision.n_targets != space.n_runs:
            message = (
                f"The decision is bound to {decision.n_targets} queries and {space.n_runs} are searched for: bind it "
                "to the queries of the space."
            )
            raise AssemblyError(message)
        self.space = space
        self.decision = decision
        self.weights = torch.tensor(weights, dtype=torch.float64, device=space.device)
        self._chunks = Chunks(batch_size)

    def losses(self, candidates: Tensor, run: Tensor) -> FeatureEvaluation:
        """Round candidates, ``(B, D)``, and ask the user's model and the distance about them.

        Raises:
            NonFiniteLossError: the model or the distance answered NaN.
            CapacityError: not even one row fits into memory.
        """
        rows = self.space.round(candidates, run)
        margin = rows.new_empty(len(rows))
        for span, values in self._chunks(lambda span: self.decision.loss(rows[span], run[span]), len(rows), "row"):
            margin[span] = values
        terms = torch.stack([margin, self.space.distances(rows, run)], dim=1)
        self._check(terms)
        eligible = margin <= 0
        if self.space.max_changed is not None:
            eligible &= self.space.changed(rows, run).sum(dim=1) <= self.space.max_changed
        return FeatureEvaluation(rows, terms, eligible)

    def gradients(self, candidates: Tensor, run: Tensor, *, distance: bool = True) -> tuple[Tensor, Tensor]:
        """Return margin and distance, ``(B, 2)``, and their gradients, ``(B, 2, D)``, at the candidates themselves.

        Without `distance` it is the margin alone, ``(B, 1)`` and ``(B, 1, D)``.

        Raises:
            AssemblyError: the decision or the distance has no gradient.
            NonFiniteLossError: the model or the distance answered NaN.
        """
        followed = self.space.distance.differentiable or not distance
        if not isinstance(self.decision, GradientObjective) or not followed:
            what = "The model" if followed else type(self.space.distance).__name__
            message = (
                f"{what} has no gradient and the optimizer asks for one: use a search that needs none, such as "
                "counterfactual-blackbox, or another model or distance."
            )
            raise AssemblyError(message)
        rows = self.space.project(candidates, run)
        margin, steepest = rows.new_empty(len(rows)), torch.empty_like(rows)
        function = self.decision.loss_and_gradient
        for span, (values, slopes) in self._chunks(lambda span: function(rows[span], run[span]), len(rows), "row"):
            margin[span], steepest[span] = values, slopes
        columns = [(margin, steepest)]
        if distance:
            columns.append(self._distance_and_gradient(rows, run))
        terms, gradients = (torch.stack(parts, dim=1) for parts in zip(*columns, strict=True))
        self._check(terms)
        return terms, self.space.reach.pull_back(gradients)

    def _distance_and_gradient(self, rows: Tensor, run: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = rows.detach().requires_grad_()
            distance = self.space.distances(leaf, run)
            (gradient,) = torch.autograd.grad(distance.sum(), leaf)
        return distance.detach(), gradient

    def _check(self, terms: Tensor) -> None:
        if not terms.isnan().any():
            return
        row, column = terms.isnan().nonzero()[0].tolist()
        what = (type(self.decision).__name__, type(self.space.distance).__name__)[column]
        message = (
            f"{what} answered NaN for candidate {row} of {len(terms)}, so that candidates cannot be compared: check "
            "the model and the columns' bounds."
        )
        raise NonFiniteLossError(message)
