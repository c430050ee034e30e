"""What the distances between sets of pictures share: an encoder's vectors, in double precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from preimage.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from preimage.api.model import ImageTextEncoder

__all__ = ["OfSets"]


class OfSets:
    """A distance between sets of pictures, by the vectors of an encoder.

    Arguments:
        model: the encoder. The published figures use Inception's features; those of another encoder, such as a CLIP,
            are another scale, and only figures by one encoder compare.
    """

    domain = "image-set"
    differentiable = False
    symmetric = True
    metric = False

    def __init__(self, model: ImageTextEncoder) -> None:
        self._model = model

    def fit(self, data: Any) -> None:
        """There is nothing to learn."""

    def __call__(self, left: Sequence[Sequence[Image]], right: Sequence[Sequence[Image]]) -> Tensor:
        """Return the distances, ``(B,)``, between sets of pictures.

        Raises:
            InputError: a set has fewer than two pictures.
        """
        pairs = zip(left, right, strict=True)
        values = [self._between(self.features(one), self.features(other)) for one, other in pairs]
        return torch.tensor(values, dtype=torch.float64)

    @torch.no_grad()
    def features(self, pictures: Sequence[Image]) -> Tensor:
        """Return the vectors, ``(N, D)``, of a set.

        Raises:
            InputError: it has fewer than two pictures.
        """
        if len(pictures) < 2:
            message = f"A set has {len(pictures)} picture(s), but sets are compared by their spread: give two or more."
            raise InputError(message)
        return self._model.encode_images(list(pictures)).double().cpu()

    def _between(self, left: Tensor, right: Tensor) -> float:
        raise NotImplementedError
