"""How much of a scene a text leaves unsaid: recovery measured against the truth, whatever words it uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from preimage_miniworld.parser import parse, shares

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_miniworld.config import SceneAttributesConfig

__all__ = ["SceneAttributes"]


class SceneAttributes:
    """The share of the attributes named by a true caption (right) that another text (left) does not name.

    The mean over the kinds that the caption names: colour, shape, texture, size, mood, relation, background. A text
    that names all of them, and more, is at distance zero; so is every text from a caption that names none.

    >>> from preimage_miniworld.config import SceneAttributesConfig
    >>> distance = SceneAttributes(SceneAttributesConfig())
    >>> distance(["tiny crimson thing"], ["a small striped red star in a meadow"]).item()
    0.6

    Arguments:
        config: has no options.
    """

    domain = "text"
    differentiable = False
    symmetric = False
    metric = False

    def __init__(self, config: SceneAttributesConfig) -> None:
        pass

    def fit(self, data: Any) -> None:
        """There is nothing to learn."""

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Tensor:
        """Return the shares that are missing, ``(B,)``, from 0 to 1."""
        pairs = zip(left, right, strict=True)
        return torch.tensor([_missing(said, truth) for said, truth in pairs], dtype=torch.float64)


def _missing(said: str, truth: str) -> float:
    scores = shares(parse(said), parse(truth)).values()
    return 1 - sum(scores) / len(scores) if scores else 0.0
