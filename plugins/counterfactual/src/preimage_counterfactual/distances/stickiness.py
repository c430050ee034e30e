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
_PAIRS = 4_000_000
"""Distances that are held at a time."""


def from_neighbours(coordinates: Tensor, labels: Tensor) -> float:
    """Return the r of a counterfactual that is the same individual with another label.

    The nearest row with another label is another individual as well. How far that alone sets rows apart shows in the
    nearest row with the same label, and what comes of independent reasons adds up in squares: the label's own part is
    m² - s², the mean squares of the distances to the nearest unlike and the nearest alike row. Under the joint law
    E |b - a|² = 2 (1 - r) k in k whitened coordinates, so that r = 1 - (m² - s²) / (2 k), kept within 0.05 and 0.99.
    Columns that have nothing to do with the labels add to m² what they add to s², and bring r nearer to 1: the more
    columns there are, the smaller the part of a row that its label is.

    Of more than 2000 rows, every so many-th is asked, so that the answer does not depend on anything drawn. A row that
    is alone in its class is not asked.

    Arguments:
        coordinates: whitened rows, ``(N, k)``.
        labels: the class of each, ``(N,)``.

    >>> ladder = torch.tensor([[0.0], [0.2], [1.0], [1.2]])  # the next of the same class is 0.2 away
    >>> round(from_neighbours(ladder, torch.tensor([0, 0, 1, 1])), 2)  # 1 - (0.82 - 0.04) / 2
    0.61
    """
    if len(labels.unique()) < 2:
        return UNLABELLED
    asked = torch.arange(0, len(coordinates), -(-len(coordinates) // _ROWS))
    nearest = [_nearest(coordinates, labels, some) for some in asked.split(max(1, _PAIRS // len(coordinates)))]
    unlike, own = torch.cat(nearest, dim=1)
    share = (unlike - own)[own < torch.inf]
    if not len(share):
        return UNLABELLED
    r = 1 - float(share.mean()) / (2 * coordinates.shape[1])
    return min(max(r, _LEAST), _MOST)


def _nearest(coordinates: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """Return squared distances from some rows to the nearest with another label and with the same, ``(2, n)``."""
    apart = torch.cdist(coordinates[asked], coordinates).square()
    apart[torch.arange(len(asked)), asked] = torch.inf
    alike = (labels[asked].unsqueeze(1) == labels).to(apart.device)
    unlike = apart.masked_fill(alike, torch.inf).amin(dim=1)
    return torch.stack([unlike, apart.masked_fill_(~alike, torch.inf).amin(dim=1)])
