"""One cell of an adapter: the map between words of `i` tokens in one model and `j` in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
from torch.nn import functional

from preimage_fuse.tensor_algebra import t_lstsq, t_product

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Cell", "fit_cell", "held_last", "pull_through", "stacked", "stretched"]

# The residual is measured on so many words at most.
_MEASURED = 512


@attrs.frozen(eq=False)
class Cell:
    """A fitted map.

    Attributes:
        weight: the tensor `w` with ``x * w`` near ``y``, slices first, ``(n, d, e)``.
        n_words: how many words it was fitted on.
        residual: ``|x * w - y| / |y|`` over the tokens of words that it was fitted on; where words are centred, 1 is
            no better than the mean word.
        held_out: the same on words that it was not fitted on, None without any.
    """

    weight: Tensor
    n_words: int
    residual: float
    held_out: float | None


def stacked(embedding: Tensor, ids: Tensor, depth: int) -> Tensor:
    """Return words as a tensor, ``(N, d, depth)``: tokens along the last axis, zeros behind the last one.

    Arguments:
        embedding: ``(V, d)``.
        ids: ``(N, count)``.
        depth: how many slices.
    """
    dtype = torch.promote_types(embedding.dtype, torch.float32)
    words = embedding.new_zeros(len(ids), embedding.shape[1], depth, dtype=dtype)
    # Zeros, not the embedding of a padding token: that is an ordinary vector to most models.
    words[..., : ids.shape[1]] = embedding.detach()[ids.to(embedding.device)].transpose(1, 2)
    return words


def stretched(words: Tensor, count: int) -> Tensor:
    """Return words as words of another number of tokens, ``(N, d, count)`` from ``(N, d, n)``.

    Each of their slices is the mean of those that stand for the same part of the word: two tokens become their mean,
    and one becomes two equal ones.

    >>> stretched(torch.tensor([[[1.0, 3.0]]]), 1), stretched(torch.tensor([[[1.0, 3.0]]]), 4)
    (tensor([[[2.]]]), tensor([[[1., 1., 3., 3.]]]))
    """
    return functional.adaptive_avg_pool1d(words, count)


def held_last(count: int, share: float) -> Tensor:
    """Return the places of `count` words, ``(count,)``, in an order in which those to hold out come last.

    They are spread evenly, so that every part of an ordered list is represented.

    >>> held_last(6, 0.4).tolist()
    [1, 2, 3, 4, 0, 5]
    """
    apart = torch.zeros(count, dtype=torch.bool)
    apart[torch.linspace(0, count - 1, int(share * count)).round().long()] = True
    return torch.cat([(~apart).nonzero().flatten(), apart.nonzero().flatten()])


def fit_cell(
    x: Tensor,
    y: Tensor,
    *,
    ridge: float,
    held_out: float = 0.0,
    observed: int | None = None,
    center: bool = False,
    weights: Tensor | None = None,
) -> Cell:
    """Return the map from `x` to `y`.

    Arguments:
        x: the words in the source, ``(N, d, n)``.
        y: the words in the target, ``(N, e, n)``.
        ridge: as a share of the mean eigenvalue of the equations, so that one value suits models whose embeddings
            differ in scale.
        held_out: the share of the words, the last ones, that it is not fitted on.
        observed: how many slices of `y` are to be met; all unless given.
        center: map the differences from the mean word. The map is then the slope of an affine one, which is all that
            a gradient needs.
        weights: how much each word counts, ``(N,)``; all the same unless given.
    """
    y = y.to(x.device)
    kept = len(x) - int(held_out * len(x))
    weights = x.new_ones(len(x), 1, 1) if weights is None else weights.to(x).view(-1, 1, 1)
    if center and kept:
        x, y = (words - (words * weights)[:kept].sum(dim=0) / weights[:kept].sum() for words in (x, y))
    # Least squares of rows times the roots of their weights are weighted least squares.
    x, y = x * weights.sqrt(), y * weights.sqrt()
    # The mean over all Fourier slices is that of the squared norm, by Parseval.
    scale = float(x[:kept].norm()) ** 2 / x.shape[1]
    weight = t_lstsq(x[:kept], y[:kept], ridge=ridge * scale, observed=observed, dtype=_exact(x))
    step = -(-kept // _MEASURED)
    return Cell(
        weight=weight.permute(2, 0, 1).contiguous(),
        n_words=kept,
        residual=_residual(x[:kept:step], y[:kept:step], weight),
        held_out=_residual(x[kept:], y[kept:], weight) if kept < len(x) else None,
    )


def pull_through(weight: Tensor, gradient: Tensor, count: int) -> Tensor:
    """Return the gradient at a word's source tokens, ``(N, count, d)``: ``gradient * transpose(w)``.

    This is the adjoint of ``x * w`` under the t-product, written out, since the tensors are only a few slices
    deep. It pads the gradient to the cell's depth with zeros and leaves out the slices behind `count`, as the fit
    pads the words.

    Arguments:
        weight: ``(n, d, e)``.
        gradient: at the word's target tokens, ``(N, j, e)``.
        count: how many tokens the word has in the source.
    """
    depth = len(weight)
    pulled = gradient.new_zeros(len(gradient), count, weight.shape[1])
    for place in range(min(count, depth)):
        for other in range(min(gradient.shape[1], depth)):
            pulled[:, place] += gradient[:, other] @ weight[(other - place) % depth].T
    return pulled


def _residual(x: Tensor, y: Tensor, weight: Tensor) -> float:
    # Behind a word's last token `y` is zero, and there is nothing to miss.
    missed, size = ((t_product(x, weight) - y) * y.any(dim=1, keepdim=True)).norm(), y.norm()
    return float(missed / size.clamp_min(torch.finfo(size.dtype).tiny))


def _exact(x: Tensor) -> torch.dtype:
    # The equations square the condition number, which single precision does not always survive.
    return torch.float32 if x.device.type == "mps" else torch.float64
