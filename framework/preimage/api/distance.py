"""How near two inputs are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Distance"]


@runtime_checkable
class Distance(Protocol):
    """A number per pair, 0 for nothing in common with being apart.

    Attributes:
        domain: ``"features"``, ``"text"``, ``"image"`` or ``"image-set"``.
        differentiable: gradients reach both arguments.
        symmetric: ``d(a, b) == d(b, a)``.
        metric: symmetric, zero only between equals, and the triangle inequality holds.

    More is looked for and may be absent:

    - ``unbiased``: an answer is an estimate that is right on average only, so that it may fall below zero and need not
      be zero between equals.
    - ``grounded``, true if absent: zero between equals and never below. A cost that also asks how plausible the left
      side is, is not.
    - ``invariance``, of distances of features: under which re-coding of the columns, in the fitted data and in what is
      asked alike, answers stay: ``"none"`` (if absent), ``"scale"`` (each column by a factor and a shift of its own),
      ``"affine"``, or ``"monotone"`` (each column by a rising curve, at rows of the fitted data).
    - ``pairwise(left, right)``: the distance of every left, M of them, from every right, N: ``(M, N)``.
    - ``embed(inputs)``: coordinates ``(B, k)`` whose Euclidean distance a metric is.
    - ``sample(reference, count, generator, label=None)``: draws around each row ``(B, D)`` of features,
      ``(B, count, D)``; `label`, ``(B,)``, is the class that they are to have, where the distance knows classes.
    - ``quadratic(reference, label=None)``: the form (x' - c)ᵀ P (x' - c) that the distance of x' from each row
      ``(B, D)`` of features rises with, as an object with `centre` ``(B, D)``, `precision` and its inverse
      `covariance`, ``(D, D)`` or ``(B, D, D)``; or None.
    """

    domain: str
    differentiable: bool
    symmetric: bool
    metric: bool

    def fit(self, data: Any) -> None:
        """Learn from data, where the distance has anything to learn."""
        ...

    def __call__(self, left: Any, right: Any) -> Tensor:
        """Return the distances, ``(B,)``, between the rows of `left` and of `right`."""
        ...
