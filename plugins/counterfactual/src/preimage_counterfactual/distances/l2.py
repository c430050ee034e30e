"""The Euclidean distance."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from preimage_counterfactual.distances.base import Norm
from preimage_counterfactual.distances.layout import Layout
from preimage_counterfactual.distances.quadratic import Quadratic

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import L2Config

__all__ = ["L2"]


class L2(Norm):
    """The Euclidean distance; a change of a nominal column counts 1.

    >>> import torch
    >>> from preimage_counterfactual.distances.config import L2Config
    >>> L2(L2Config())(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]))
    tensor([5.])
    """

    power: ClassVar[int] = 2

    def __init__(self, config: L2Config) -> None:
        self.config = config

    def _learn(self, rows: Tensor, labels: Any) -> None:
        pass

    def _weights(self, rows: Tensor) -> Tensor:
        return (self._layout or Layout(rows.shape[1])).weights(in_block=sqrt(0.5)).to(rows)

    def _coordinates(self, rows: Tensor) -> Tensor:
        return rows * self._weights(rows)

    def embed(self, rows: Tensor) -> Tensor:
        """Return coordinates, ``(B, D)``, whose Euclidean distance is this one."""
        return self._coordinates(self._inside(rows)).to(rows)

    def quadratic(self, reference: Tensor, label: Any = None, reference_label: Any = None) -> Quadratic:
        """Return the square of the distance from each row of `reference`, ``(B, D)``."""
        centre = self._inside(reference)
        squares = self._weights(centre).square()
        return Quadratic(centre, torch.diag(squares), torch.diag(1 / squares))
