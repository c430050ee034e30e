"""AdamW, Loshchilov and Hutter (arXiv:1711.05101), as a function: states of a search are never written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Moments", "adamw"]


@attrs.frozen(eq=False)
class Moments:
    """What AdamW remembers of the gradients ``g`` so far, each of the shape of the parameters.

    Attributes:
        first: the decaying mean of ``g``.
        second: the decaying mean of ``g * g``.
    """

    first: Tensor
    second: Tensor


def adamw(
    parameters: Tensor,
    gradient: Tensor,
    moments: Moments,
    step: int,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Tensor, Moments]:
    """Return parameters and moments after one update; every element is updated by itself.

    The same numbers as `torch.optim.AdamW`. A gradient that has always been zero moves nothing.

    Arguments:
        parameters: of any shape.
        gradient: of the same shape.
        moments: zeros before the first step.
        step: the number of updates made before.
        lr: the learning rate.
        weight_decay: decoupled: parameters shrink by ``lr * weight_decay`` of themselves.
        betas: how much of each moment is kept.
        eps: added to the root of the second moment.

    >>> zeros = torch.zeros(2)
    >>> moved, _ = adamw(torch.ones(2), torch.tensor([3.0, 0.0]), Moments(zeros, zeros), 0, lr=0.1, weight_decay=0.0)
    >>> moved
    tensor([0.9000, 1.0000])
    """
    keep_first, keep_second = betas
    first = torch.lerp(gradient, moments.first, keep_first)
    second = keep_second * moments.second + (1 - keep_second) * gradient.square()
    # Both moments start at zero and are too small at first by these factors.
    share_first, share_second = 1 - keep_first ** (step + 1), 1 - keep_second ** (step + 1)
    direction = first / ((second / share_second).sqrt() + eps)
    moved = parameters * (1 - lr * weight_decay) - (lr / share_first) * direction
    return moved, Moments(first, second)
