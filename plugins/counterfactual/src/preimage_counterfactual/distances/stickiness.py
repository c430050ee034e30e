"""How much of a row its counterfactual keeps, read off the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["UNLABELLED", "WITHIN_CLASSES", "from_neighbours"]

UNLABELLED = 0.9
"""r where no labels say which rows are unlike."""

WITHIN_CLASSES = 0.5
"""r where the law is class-conditional: the class mean does most of the way."""

_LEAST, _MOST = 0.05, 0.99
_ROWS = 2000


def from_neighbours(coordinates: Tensor, labels: Tensor) -> float:
    """Return the r at which a counterfactual is as far from its row as the nearest row of another class.

    Under the joint law E |b - a|² = 2 (1 - r) k in k whitened coordinates; setting that to the mean square m² of
    the distance to the nearest unlike row gives r = 1 - m² / (2 k), kept within 0.05 and 0.99. Of more than 2000
    rows, every so many-th is asked, so that the answer does not depend on anything drawn.

    Arguments:
        coordinates: whitened rows, ``(N, k)``.
        labels: the class of each, ``(N,)``.
    """
    if len(labels.unique()) < 2:
        return UNLABELLED
    asked = slice(None, None, -(-len(coordinates) // _ROWS))
    apart = torch.cdist(coordinates[asked], coordinates).square()
    alike = labels[asked].unsqueeze(1) == labels
    nearest = apart.masked_fill(alike.to(apart.device), torch.inf).amin(dim=1)
    r = 1 - float(nearest.mean()) / (2 * coordinates.shape[1])
    return min(max(r, _LEAST), _MOST)
