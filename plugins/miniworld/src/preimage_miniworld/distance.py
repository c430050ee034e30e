"""How much of a scene a text leaves unsaid, or a picture does not show: recovery measured against the truth."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from preimage_miniworld.attributes import load_attributes, recognised, shown
from preimage_miniworld.parser import parse, shares

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from preimage_miniworld.config import PictureAttributesConfig, SceneAttributesConfig

__all__ = ["PictureAttributes", "SceneAttributes"]

_WEIGHTS = Path(__file__).parent / "models" / "attributes.safetensors"
_SIDE = 64


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


class PictureAttributes:
    """The share of what a picture (right) shows, by the classifier of attributes, that another (left) does not show.

    Counted are colour, shape, texture, size and face of each object, how many there are and how they stand, and the
    background. The classifier has learned from rendered pictures alone and is right about nearly all of them
    (docs/miniworld.md), so that a rendered picture on the right is the truth.

    >>> from preimage_miniworld.config import PictureAttributesConfig
    >>> from preimage_miniworld.data import demo_scenes
    >>> (_, heart, _), (_, flower, _) = demo_scenes()[:2]
    >>> PictureAttributes(PictureAttributesConfig())([heart, heart], [heart, flower]).tolist()
    [0.0, 0.7142857142857143]

    Arguments:
        config: has no options.
    """

    domain = "image"
    differentiable = False
    symmetric = False
    metric = False

    def __init__(self, config: PictureAttributesConfig) -> None:
        pass

    def fit(self, data: Any) -> None:
        """There is nothing to learn."""

    def __call__(self, left: Sequence[Image], right: Sequence[Image]) -> Tensor:
        """Return the shares that are missing, ``(B,)``, from 0 to 1; pictures of other sizes are scaled to 64 x 64."""
        said, truth = (recognised(_classifier(), _pixels(pictures)) for pictures in (left, right))
        counted = shown(truth)
        return ((said != truth) & counted).sum(1) / counted.sum(1).double()


@functools.cache
def _classifier() -> torch.nn.Module:
    return load_attributes(_WEIGHTS)


def _pixels(pictures: Sequence[Image]) -> np.ndarray[Any, Any]:
    """Return pictures as ``(N, 64, 64, 3)`` of 0 to 255."""
    scaled = [picture.convert("RGB").resize((_SIDE, _SIDE)) for picture in pictures]
    return np.stack([np.asarray(picture) for picture in scaled])
