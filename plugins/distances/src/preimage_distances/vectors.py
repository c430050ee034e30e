"""Distances by what a model makes of texts and pictures: one less the cosine between their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from preimage.api.model import ImageTextEncoder, TextEncoder
    from preimage_distances.config import ImageSimilarityConfig, TextSimilarityConfig

__all__ = ["ImageSimilarity", "TextSimilarity"]


class _OfVectors:
    """What the distances of this module share."""

    differentiable = False
    symmetric = True
    metric = False

    def fit(self, data: Any) -> None:
        """There is nothing to learn."""

    @torch.no_grad()
    def __call__(self, left: Sequence[Any], right: Sequence[Any]) -> Tensor:
        """Return the distances, ``(B,)``, from 0 for one direction to 2 for opposite ones."""
        if not len(left) and not len(right):
            return torch.empty(0, dtype=torch.float64)
        one, other = self._vectors(left).double(), self._vectors(right).double()
        # Half the squared distance of unit vectors is one less their cosine, without the loss of digits near zero.
        return (one - other).square().sum(dim=1) / 2

    def _vectors(self, inputs: Sequence[Any]) -> Tensor:
        raise NotImplementedError


class TextSimilarity(_OfVectors):
    """One less the cosine between two texts in a text encoder's space.

    A text that is longer than the model reads is cut to what it reads, as sentence encoders do.

    Arguments:
        config: has no options.
        model: the encoder.
    """

    domain = "text"

    def __init__(self, config: TextSimilarityConfig, *, model: TextEncoder) -> None:
        self._model = model

    def _vectors(self, inputs: Sequence[str]) -> Tensor:
        """Return the unit vectors, ``(N, D)``, of texts."""
        space = self._model.space
        rows = [ids[: space.max_length] for ids in space.encode(list(inputs))]
        # One by one, because only rows of one length go in a batch; two texts seldom have the same.
        tensors = [torch.tensor([ids], dtype=torch.long, device=space.device) for ids in rows]
        return torch.cat([self._model.encode_tokens(ids) for ids in tensors])


class ImageSimilarity(_OfVectors):
    """One less the cosine between two pictures in an image encoder's space.

    Arguments:
        config: has no options.
        model: the encoder.
    """

    domain = "image"

    def __init__(self, config: ImageSimilarityConfig, *, model: ImageTextEncoder) -> None:
        self._model = model

    def _vectors(self, inputs: Sequence[Image]) -> Tensor:
        """Return the unit vectors, ``(N, D)``, of pictures."""
        return self._model.encode_images(list(inputs))
