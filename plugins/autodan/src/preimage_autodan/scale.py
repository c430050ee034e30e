"""Numbers put on a common scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["standardised"]


def standardised(values: Tensor) -> Tensor:
    """Return each row of ``(K, A)`` with mean 0 and standard deviation 1; zeros where all are equal.

    >>> standardised(torch.tensor([[1.0, 3.0], [5.0, 5.0]]))
    tensor([[-1.,  1.],
            [ 0.,  0.]])
    """
    centred = values - values.mean(dim=1, keepdim=True)
    spread = centred.square().mean(dim=1, keepdim=True).sqrt()
    # What rounding leaves of equal values is not blown up.
    flat = spread <= values.abs().amax(dim=1, keepdim=True) * torch.finfo(values.dtype).eps * 8
    return torch.where(flat, 0.0, centred / torch.where(flat, 1.0, spread))
