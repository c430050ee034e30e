"""Absolute differences in units of each column's median absolute deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from preimage_counterfactual.distances.base import Norm
from preimage_counterfactual.distances.covariance import estimate

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import MADConfig

__all__ = ["MADL1"]

_NORMAL = 1.4826
"""The standard deviation of a normal law in units of its median absolute deviation."""


class MADL1(Norm):
    """The sum of absolute differences, each divided by its column's median absolute deviation (MAD).

    Wachter, Mittelstadt and Russell, "Counterfactual explanations without opening the black box", 2017. A column
    of which more than half is one value has a MAD of zero: its standard deviation takes the place (divided by
    1.4826, which is what it would be in normal data); a constant column is left in its own units. Nominal columns
    count 1 a change.

    With ``whitened`` the scaled difference goes through the inverse root of the correlation matrix first, the
    symmetric one: sum |R^(-1/2) (difference / MAD)|, which is the same where columns are uncorrelated.

    >>> import torch
    >>> from preimage_counterfactual.distances.config import MADConfig
    >>> distance = MADL1(MADConfig())
    >>> distance.fit(torch.tensor([[0.0, 0.0], [1.0, 10.0], [2.0, 20.0]]))
    >>> distance(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 10.0]]))
    tensor([3.])
    """

    power: ClassVar[int] = 1
    least_rows: ClassVar[int] = 2
    invariance = "scale"

    def __init__(self, config: MADConfig) -> None:
        self.config = config
        self._matrix: Tensor | None = None

    def _learn(self, rows: Tensor, labels: Any) -> None:
        assert self._layout is not None
        deviation = _median((rows - _median(rows)).abs())
        spread = rows.std(dim=0, correction=0)
        deviation = torch.where(deviation > 0, deviation, spread / _NORMAL)
        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        nominal = [position for block in self._layout.blocks for position in block]
        deviation[nominal] = 1.0
        scale = self._layout.weights(in_block=0.5).to(rows) / deviation
        self._matrix = torch.diag(scale)
        if self.config.whitened:
            self._matrix = torch.diag(scale) @ self._inverse_root(rows, spread)

    def _inverse_root(self, rows: Tensor, spread: Tensor) -> Tensor:
        """Return R^(-1/2), ``(D, D)``, for the shrunk correlation matrix R."""
        covariance = estimate(rows, self.config.shrinkage).covariance
        deviations = covariance.diagonal().sqrt()
        deviations = torch.where(deviations > 0, deviations, torch.ones_like(deviations))
        values, directions = torch.linalg.eigh(covariance / deviations / deviations.unsqueeze(1))
        inverse = torch.where(values > 1e-10 * values[-1], values, torch.inf).rsqrt()
        symmetric: Tensor = (directions * inverse) @ directions.T
        return symmetric

    def _coordinates(self, rows: Tensor) -> Tensor:
        if self._matrix is None:
            raise self._unfitted()
        return rows @ self._matrix.to(rows)


def _median(rows: Tensor) -> Tensor:
    """Return each column's median, ``(D,)``: of an even count the mean of the middle two, unlike torch's own."""
    ordered = rows.sort(dim=0).values
    return (ordered[(len(rows) - 1) // 2] + ordered[len(rows) // 2]) / 2
