"""The sum of absolute differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from preimage_counterfactual.distances.base import Norm
from preimage_counterfactual.distances.layout import Layout

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import L1Config

__all__ = ["L1"]


class L1(Norm):
    """The sum of absolute differences; a change of a nominal column counts 1.

    >>> import torch
    >>> from preimage_counterfactual.distances.config import L1Config
    >>> L1(L1Config())(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]]))
    tensor([3.])
    """

    power: ClassVar[int] = 1

    def __init__(self, config: L1Config) -> None:
        self.config = config

    def _learn(self, rows: Tensor, labels: Any) -> None:
        pass

    def _coordinates(self, rows: Tensor) -> Tensor:
        layout = self._layout or Layout(rows.shape[1])
        return rows * layout.weights(in_block=0.5).to(rows)
