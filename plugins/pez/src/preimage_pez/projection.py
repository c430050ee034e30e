"""From embeddings to the allowed tokens that point most nearly the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.search_space import SearchSpace

__all__ = ["directions", "project"]

_SCORES = 1 << 25
"""Similarities held at once, 128 MiB of them in single precision."""

_DIRECTIONS: WeakKeyDictionary[SearchSpace, Tensor] = WeakKeyDictionary()
"""Per space, because normalising a vocabulary costs more than projecting a prompt; they go when the space goes."""


def directions(space: SearchSpace) -> Tensor:
    """Return the unit vectors of the allowed tokens, ``(A, d)``, in the order of ``space.allowed_ids``.

    They are made once for each space, and in single precision where the model's is half: with three digits the
    nearest of fifty thousand tokens cannot be told.
    """
    if space not in _DIRECTIONS:
        embedding = space.embedding[space.allowed_ids]
        precise = torch.promote_types(embedding.dtype, torch.float32)
        _DIRECTIONS[space] = normalize(embedding.detach().to(precise), dim=-1)
    return _DIRECTIONS[space]


def project(space: SearchSpace, embeddings: Tensor) -> Tensor:
    """Return the allowed token of highest cosine similarity for each of ``embeddings (..., d)``.

    Tokens that are not allowed are not among those compared, which is what a mask of minus infinity on their
    similarities comes to, for less work. Every embedding is projected by itself. Where several are equally
    near, which happens between copies only, any of them may be chosen.

    Arguments:
        space: says what is allowed.
        embeddings: of any length; they are not compared with each other, so their norms do not matter.

    Returns:
        Token ids, of the leading shape of `embeddings`.
    """
    vocabulary = directions(space)
    rows = embeddings.flatten(0, -2).to(vocabulary.dtype)
    at_once = max(1, _SCORES // len(vocabulary))
    nearest = torch.cat([(span @ vocabulary.T).argmax(dim=1) for span in rows.split(at_once)])
    return space.allowed_ids[nearest].view(embeddings.shape[:-1])
