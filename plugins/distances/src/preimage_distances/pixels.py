"""Distances between pictures, pixel by pixel: what no encoder had a hand in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from preimage.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_distances.config import MeanSquaredErrorConfig, StructuralSimilarityConfig

__all__ = ["MeanSquaredError", "StructuralSimilarity"]

_Pixels = np.ndarray[Any, np.dtype[np.float64]]


class _OfPixels:
    """What the distances of this module share: RGB in 0 to 1, both pictures at one size."""

    domain = "image"
    differentiable = False
    symmetric = True
    metric = False

    def __init__(self, size: int | None) -> None:
        self._size = size

    def fit(self, data: Any) -> None:
        """There is nothing to learn."""

    def __call__(self, left: Sequence[Image.Image], right: Sequence[Image.Image]) -> Tensor:
        """Return the distances, ``(B,)``, between pictures.

        Raises:
            InputError: a picture is too small for the distance.
        """
        pairs = zip(left, right, strict=True)
        return torch.tensor([self._between(*self._pixels(one, other)) for one, other in pairs], dtype=torch.float64)

    def _between(self, left: _Pixels, right: _Pixels) -> float:
        raise NotImplementedError

    def _pixels(self, *pictures: Image.Image) -> list[_Pixels]:
        """Return pictures as arrays ``(H, W, 3)`` of one size."""
        width = self._size or min(picture.width for picture in pictures)
        height = self._size or min(picture.height for picture in pictures)
        scaled = [
            picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
            if picture.size != (width, height)
            else picture.convert("RGB")
            for picture in pictures
        ]
        return [np.asarray(picture, dtype=np.float64) / 255 for picture in scaled]


class MeanSquaredError(_OfPixels):
    """The mean squared difference of the pixels' colours, from 0 to 1.

    Arguments:
        config: at which size pixels are compared.
    """

    def __init__(self, config: MeanSquaredErrorConfig) -> None:
        super().__init__(config.size)

    def _between(self, left: _Pixels, right: _Pixels) -> float:
        return float(np.square(left - right).mean())


class StructuralSimilarity(_OfPixels):
    """One less the structural similarity, the mean over windows and colour channels.

    It is computed by scikit-image, as Wang et al. (2004) define it in "Image quality assessment: from error visibility
    to structural similarity".

    Arguments:
        config: the window's width, and at which size pixels are compared.
    """

    def __init__(self, config: StructuralSimilarityConfig) -> None:
        super().__init__(config.size)
        self._config = config

    def _between(self, left: _Pixels, right: _Pixels) -> float:
        config = self._config
        height, width = left.shape[:2]
        if min(height, width) < config.window_size:
            message = (
                f"Two pictures are compared at {width} x {height} pixels, but the window of SSIM has "
                f"{config.window_size} a side: give larger pictures, the option size, or a smaller sigma."
            )
            raise InputError(message)
        options: dict[str, Any] = {"gaussian_weights": True, "sigma": config.sigma, "use_sample_covariance": False}
        return float(1 - structural_similarity(left, right, data_range=1.0, channel_axis=2, **options))
