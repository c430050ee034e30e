"""Losses with their slopes at the input embeddings of discrete tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["with_gradient"]


def with_gradient(loss_of: Callable[[Tensor], Tensor], ids: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Return losses, ``(B,)``, and their gradients, ``(B, L, d)``, of one forward and one backward pass.

    Arguments:
        loss_of: returns the losses, ``(B,)``, of embeddings ``(B, L, d)``; no row's depends on another row.
        ids: token ids, ``(B, L)``.
        table: the embedding of each token, ``(V, d)``.

    >>> losses, gradient = with_gradient(
    ...     lambda embeddings: embeddings.square().sum(dim=(1, 2)), torch.tensor([[1, 0]]), torch.tensor([[0.5], [3.0]])
    ... )
    >>> losses.tolist(), gradient.flatten().tolist()
    ([9.25], [6.0, 1.0])
    """
    embeddings = functional.embedding(ids, table).detach().requires_grad_()
    with torch.enable_grad():
        losses = loss_of(embeddings)
        # No row's loss depends on another row, so the gradient of the sum holds each row's own.
        (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
    return losses.detach(), gradient
