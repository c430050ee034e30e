"""Captions in the words of another model: only tokens that may be proposed, and no more than fit."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import torch

from preimage.prompts import proposable

if TYPE_CHECKING:
    from preimage.search_space import SearchSpace

__all__ = ["worded"]


def worded(space: SearchSpace, caption: str, longest: int | None = None) -> list[int]:
    """Return the token ids of a caption as a prompt; none where nothing of it may be proposed.

    Words that the space does not allow are left out. Of what is too long the end goes, word by word, and so it does
    where a text would not be read back as its ids.

    Arguments:
        space: says what is allowed, what fits and what is read back.
        caption: any text.
        longest: how many tokens at most, where that is fewer than fit.
    """
    words = _allowed_words(space, caption.split())
    if not words:
        return []
    shorter = space.encode([" ".join(words[:count]) for count in range(len(words), 0, -1)])
    limit = space.max_length if longest is None else min(longest, space.max_length)
    for ids, allowed in zip(shorter, proposable(space, shorter), strict=True):
        if allowed and len(ids) <= limit and space.is_stable(torch.tensor([ids], device=space.device)).item():
            return ids
    return []


def _allowed_words(space: SearchSpace, words: list[str]) -> list[str]:
    """Return the words that may be proposed, without the punctuation that may not."""
    bare = [word.strip(string.punctuation) for word in words]
    encoded = space.encode([*words, *bare])
    good = proposable(space, encoded)
    kept = []
    for index, word in enumerate(words):
        if good[index]:
            kept.append(word)
        elif good[len(words) + index]:
            kept.append(bare[index])
    return kept
