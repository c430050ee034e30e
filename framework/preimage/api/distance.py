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

    Two more are looked for and may be absent. ``complement`` is what one less the distance is called, where that is
    how people know it: ``"SSIM"``. ``unbiased`` says that an answer is an estimate that is right on average only, so
    that it may fall below zero and need not be zero between equals.
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
