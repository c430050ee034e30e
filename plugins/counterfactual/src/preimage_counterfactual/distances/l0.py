"""How many columns have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from preimage_counterfactual.distances.base import FeatureDistance
from preimage_counterfactual.distances.layout import Layout

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import L0Config

__all__ = ["L0"]

_ENTRIES = 4_000_000
"""How many differences `pairwise` holds at once."""


class L0(FeatureDistance):
    """The number of columns whose values differ; a nominal column counts once, whatever it changes to.

    >>> import torch
    >>> from preimage_counterfactual.distances.config import L0Config
    >>> L0(L0Config())(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 5.0, 4.0]]))
    tensor([2.])
    """

    differentiable = False
    # "No more than a tolerance" does not carry over from one pair to the next.
    metric = False

    def __init__(self, config: L0Config) -> None:
        self.config = config

    def _learn(self, rows: Tensor, labels: Any) -> None:
        pass

    def _count(self, apart: Tensor) -> Tensor:
        layout = self._layout or Layout(apart.shape[-1])
        changed = apart.abs() > self.config.tolerance
        count = changed[..., list(layout.numeric)].sum(dim=-1)
        for block in layout.blocks:
            count = count + changed[..., list(block)].any(dim=-1)
        return torch.where(apart.isnan().any(dim=-1), torch.nan, count.to(torch.float64))

    def _paired(self, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        return self._count(left - right)

    def _crossed(self, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        rows = max(1, _ENTRIES // max(1, right.numel()))
        return torch.cat([self._count(part.unsqueeze(1) - right) for part in left.split(rows)])
