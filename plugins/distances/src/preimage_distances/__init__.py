"""How near two texts, two pictures, or two sets of pictures are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preimage_distances.config import (
        EditDistanceConfig,
        FrechetDistanceConfig,
        ImageSimilarityConfig,
        KernelDistanceConfig,
        MeanSquaredErrorConfig,
        StructuralSimilarityConfig,
        TextSimilarityConfig,
        WordsConfig,
    )
    from preimage_distances.frechet import FrechetDistance
    from preimage_distances.kernel import Estimate, KernelDistance
    from preimage_distances.pixels import MeanSquaredError, StructuralSimilarity
    from preimage_distances.vectors import ImageSimilarity, TextSimilarity
    from preimage_distances.words import EditDistance, ExactMatch, TokenF1

__version__ = "0.1.0"

_HOMES = {
    "EditDistance": "words",
    "EditDistanceConfig": "config",
    "Estimate": "kernel",
    "ExactMatch": "words",
    "FrechetDistance": "frechet",
    "FrechetDistanceConfig": "config",
    "ImageSimilarity": "vectors",
    "ImageSimilarityConfig": "config",
    "KernelDistance": "kernel",
    "KernelDistanceConfig": "config",
    "MeanSquaredError": "pixels",
    "MeanSquaredErrorConfig": "config",
    "StructuralSimilarity": "pixels",
    "StructuralSimilarityConfig": "config",
    "TextSimilarity": "vectors",
    "TextSimilarityConfig": "config",
    "TokenF1": "words",
    "WordsConfig": "config",
}

__all__ = [
    "EditDistance",
    "EditDistanceConfig",
    "Estimate",
    "ExactMatch",
    "FrechetDistance",
    "FrechetDistanceConfig",
    "ImageSimilarity",
    "ImageSimilarityConfig",
    "KernelDistance",
    "KernelDistanceConfig",
    "MeanSquaredError",
    "MeanSquaredErrorConfig",
    "StructuralSimilarity",
    "StructuralSimilarityConfig",
    "TextSimilarity",
    "TextSimilarityConfig",
    "TokenF1",
    "WordsConfig",
]


def __getattr__(name: str) -> Any:
    # Lazily, because listing plugins imports this package and must not import torch.
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
