"""Nominal columns: kept with probability r, else drawn anew, and what each level does to the numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CategoryLaw", "level_means"]

_PSEUDO_COUNT = 0.5
"""Added to the count of every level, so that one which the data do not show costs much, not infinitely much."""

_PRIOR_ROWS = 5.0
"""How many rows' worth of "no difference" a level's mean is weighed against: few rows prove little."""


@attrs.frozen(eq=False)
class CategoryLaw:
    """The joint law of one nominal column in a row and in its counterfactual, for each pair of their classes.

    With the same law p of levels on both sides this is lazy resampling, K(v'|v) = r [v' = v] + (1 - r) p(v'): it is
    reversible and keeps p. Where classes have levels in other shares, p and p', the share that is kept moves as
    little as it can (the coupling that leaves the most mass where it is), so that both margins still hold.
    """

    r: float
    """The probability of being kept."""
    joint: Tensor
    """π(v', v) for each class of the counterfactual and of the row, ``(C, C, L, L)``; every table sums to 1."""

    @classmethod
    def of(cls, r: float, levels: Tensor, labels: Tensor, classes: int) -> CategoryLaw:
        """Return the law of a column that the data show as `levels`, one-hot ``(N, L)``.

        Arguments:
            r: the probability of being kept.
            levels: one-hot rows.
            labels: the class of each row, ``(N,)``, from 0.
            classes: C, the number of classes.
        """
        counts = torch.zeros(classes, levels.shape[1], dtype=levels.dtype, device=levels.device)
        counts.index_add_(0, labels.to(levels.device), levels)
        shares = counts + _PSEUDO_COUNT
        shares = shares / shares.sum(dim=1, keepdim=True)
        independent = shares[:, None, :, None] * shares[None, :, None, :]
        return cls(r, r * _least_movement(shares) + (1 - r) * independent)

    @property
    def given(self) -> Tensor:
        """The probability of v' given v, ``(C, C, L, L)``; columns sum to 1."""
        return self.joint / self.joint.sum(dim=2, keepdim=True)

    @property
    def beyond_chance(self) -> Tensor:
        """π(v', v) / (p'(v') p(v)), ``(C, C, L, L)``."""
        return self.given / self.joint.sum(dim=3, keepdim=True)

    @property
    def lengths(self) -> Tensor:
        """How far each level lies from the origin, ``(L,)``, for data of one class.

        -2 log of π(v, v') / √(π(v, v) π(v', v')) is, for different levels, a sum of one number a level: the squared
        distance between corners of a simplex at these distances from the origin.
        """
        table = self.joint[0, 0]
        squares = table.diagonal().log() - 2 * table.sum(dim=0).log() - math.log(1 - self.r)
        return squares.clamp_min(0).sqrt()

    @property
    def squared_metric(self) -> Tensor:
        """-2 log of π(v', v) / √(π(v', v') π(v, v)), ``(C, C, L, L)``, each class pair by its own tables."""
        own = self.joint.diagonal(dim1=0, dim2=1).diagonal(dim1=0, dim2=1).log()  # (C, L)
        return own[:, None, :, None] + own[None, :, None, :] - 2 * self.joint.log()


def _least_movement(shares: Tensor) -> Tensor:
    """Return the couplings of each two rows of `shares`, ``(C, L)``, that keep most in place: ``(C, C, L, L)``."""
    left, right = shares[:, None, :], shares[None, :, :]
    stays = torch.minimum(left, right)
    more, fewer = left - stays, right - stays
    moved = more.sum(dim=2)[..., None, None]
    spread = more[..., :, None] * fewer[..., None, :] / moved.clamp_min(torch.finfo(shares.dtype).tiny)
    return torch.diag_embed(stays) + torch.where(moved > 0, spread, torch.zeros_like(spread))


def level_means(numbers: Tensor, levels: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the mean of the numbers of each class, ``(C, K)``, and what each level adds to it, ``(L, K)``.

    A regression on classes and levels together, in which what the levels add is drawn to zero by a few rows' worth
    of no difference: with one column and one class, n / (n + 5) of the level's mean difference.

    Arguments:
        numbers: the numeric columns, ``(N, K)``.
        levels: the one-hot floats of all nominal columns, ``(N, L)``.
        labels: the class of each row, ``(N,)``, from 0.
        classes: C, the number of classes.
    """
    member = torch.nn.functional.one_hot(labels.to(numbers.device), classes).to(numbers)
    design = torch.cat([member, levels], dim=1)
    penalty = torch.full_like(design[0], _PRIOR_ROWS)
    penalty[:classes] = 0.0
    solution = torch.linalg.lstsq(design.T @ design + torch.diag(penalty), design.T @ numbers).solution
    return solution[:classes], solution[classes:]
