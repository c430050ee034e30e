"""The Mahalanobis distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from preimage_counterfactual.distances.base import Norm
from preimage_counterfactual.distances.covariance import Whitening, estimate
from preimage_counterfactual.distances.quadratic import Quadratic

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import MahalanobisConfig

__all__ = ["Mahalanobis"]


class Mahalanobis(Norm):
    """The Euclidean distance in whitened coordinates: the root of (x' - x)ᵀ S⁻¹ (x' - x).

    One-hot floats are numbers like the others; their block is singular, which shrinking mends. With
    ``shrinkage=0`` a singular covariance has its pseudo-inverse, so that a duplicated column counts once, and the
    answers do not depend on any linear re-coding of the columns; but steps that leave the plane of the data cost
    nothing, and equals are then not the only rows at distance zero.

    >>> import torch
    >>> from preimage_counterfactual.distances.config import MahalanobisConfig
    >>> distance = Mahalanobis(MahalanobisConfig(shrinkage=0.0))
    >>> distance.fit(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> distance(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([1.4142])
    """

    power: ClassVar[int] = 2
    least_rows: ClassVar[int] = 2

    def __init__(self, config: MahalanobisConfig) -> None:
        self.config = config
        self.invariance = "affine" if config.shrinkage == 0 else "scale"
        self._whitening: Whitening | None = None

    def _learn(self, rows: Tensor, labels: Any) -> None:
        self._whitening = estimate(rows, self.config.shrinkage)

    @property
    def whitening(self) -> Whitening:
        """The covariance as it was estimated.

        Raises:
            InputError: the distance has seen no data.
        """
        if self._whitening is None:
            raise self._unfitted()
        return self._whitening

    def _coordinates(self, rows: Tensor) -> Tensor:
        return rows @ self.whitening.factor

    def embed(self, rows: Tensor) -> Tensor:
        """Return whitened coordinates, ``(B, k)``, whose Euclidean distance is this one."""
        return self._coordinates(self._inside(rows)).to(rows)

    def quadratic(self, reference: Tensor, label: Any = None, reference_label: Any = None) -> Quadratic:
        """Return the square of the distance from each row of `reference`, ``(B, D)``."""
        centre = self._inside(reference)
        return Quadratic(centre, self.whitening.precision, self.whitening.covariance)
