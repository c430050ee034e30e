"""What makes one input better than another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from preimage.api.space import FeatureSpace, TextSpace

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GradientObjective", "NextTokenObjective", "Objective"]


@runtime_checkable
class Objective(Protocol):
    """One number per candidate, lower is better, bound to a model and to one or more targets.

    A batch equals its rows one by one, whatever else is in it. Candidates come complete: the host has put the
    prompt into the term's template, has translated it into the objective's own space and has made all rows
    equally long. An objective is built by the catalogue as ``target(config, model=…, targets=[…])``. One that asks
    further models lists them as ``models``, so that a result says which weights it was found with.
    """

    @property
    def space(self) -> TextSpace | FeatureSpace:
        """Where its candidates live."""
        ...

    @property
    def n_targets(self) -> int:
        """How many targets it was bound to."""
        ...

    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each candidate, ``(B,)``, without a gradient.

        Arguments:
            candidates: token ids ``(B, L)``, or features ``(B, D)``.
            target: the index of each row's target, ``(B,)``.
        """
        ...


@runtime_checkable
class GradientObjective(Objective, Protocol):
    """An objective that also says in which direction its input should move."""

    def loss_and_gradient(self, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses, ``(B,)``, and their gradients.

        The gradient is taken with respect to the input embeddings at the discrete tokens, ``(B, L, d)``, or to
        the features, ``(B, D)``; row ``i`` is the gradient of row ``i``'s own loss.
        """
        ...


@runtime_checkable
class NextTokenObjective(Objective, Protocol):
    """An objective of a language model, which also knows what is likely to come next."""

    def next_token_log_probs(self, ids: Tensor, target: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, V)``, of the token that follows each row of `ids`, ``(B, L)``."""
        ...
