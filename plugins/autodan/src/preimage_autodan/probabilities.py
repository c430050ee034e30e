"""Numbers put on a common scale: log-probabilities that a weight has changed, and gradients of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["normalised", "standardised"]

# Of the logarithm of the sum of probabilities: what single precision leaves of zero over a large vocabulary.
_ROUNDING = 1e-3
_HALVINGS = 60
_LARGEST_FACTOR = 1e6


def normalised(log_probs: Tensor) -> Tensor:
    """Return each row of ``(K, V)`` times the factor that makes its probabilities add up to 1, in float64.

    What the host tells are the log-probabilities of language models times the weights of their terms. A weight says
    how much fluency counts in the loss; it should not say once more how much it counts against the gradient.
    The factor of one model is the inverse of its weight. Rows that have none stay as they are: those of weight zero or
    below, and those of a model that is certain.

    >>> truth = torch.tensor([[0.5, 0.25, 0.25]]).log()
    >>> normalised(0.02 * truth).exp()
    tensor([[0.5000, 0.2500, 0.2500]], dtype=torch.float64)
    """
    log_probs = log_probs.double()
    total = log_probs.logsumexp(dim=1, keepdim=True)
    # The sum falls as the factor grows, from the size of the vocabulary to zero, so halving intervals finds it.
    low, high = torch.zeros_like(total), torch.full_like(total, _LARGEST_FACTOR)
    possible = (log_probs.amax(dim=1, keepdim=True) * _LARGEST_FACTOR < -1) & (total.abs() > _ROUNDING)
    if not possible.any():
        return log_probs
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = (log_probs * middle).logsumexp(dim=1, keepdim=True) > 0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return torch.where(possible, log_probs * high, log_probs)


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
