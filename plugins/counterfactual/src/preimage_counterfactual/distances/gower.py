"""Gower's distance of mixed columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from preimage_counterfactual.distances.base import Norm

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import GowerConfig

__all__ = ["Gower"]


class Gower(Norm):
    """The mean over columns of each one's difference as a share of its range; a nominal column gives 0 or 1.

    Gower, "A general coefficient of similarity and some of its properties", 1971. A constant column has no range
    and is left in its own units.

    >>> import torch
    >>> from preimage_counterfactual.distances.config import GowerConfig
    >>> distance = Gower(GowerConfig())
    >>> distance.fit(torch.tensor([[0.0, 0.0], [4.0, 10.0]]))
    >>> distance(torch.tensor([[1.0, 5.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([0.3750])
    """

    power: ClassVar[int] = 1
    least_rows: ClassVar[int] = 2
    invariance = "scale"

    def __init__(self, config: GowerConfig) -> None:
        self.config = config
        self._scale: Tensor | None = None

    def _learn(self, rows: Tensor, labels: Any) -> None:
        assert self._layout is not None
        span = rows.amax(dim=0) - rows.amin(dim=0)
        span = torch.where(span > 0, span, torch.ones_like(span))
        nominal = [position for block in self._layout.blocks for position in block]
        # A level that the data do not show has no range either, and its column still gives 0 or 1.
        span[nominal] = 1.0
        columns = len(self._layout.numeric) + len(self._layout.blocks)
        self._scale = self._layout.weights(in_block=0.5).to(rows) / span / columns

    def _coordinates(self, rows: Tensor) -> Tensor:
        if self._scale is None:
            raise self._unfitted()
        return rows * self._scale.to(rows)
