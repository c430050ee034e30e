"""FUSE and its baselines: gradients of one model at the embeddings of another, whatever their tokenizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preimage_fuse.adapter import CaseQuality, Coverage, WordAdapter
    from preimage_fuse.config import FuseConfig, LinearConfig, SharedTokenConfig
    from preimage_fuse.fuse import Fuse
    from preimage_fuse.linear import Linear
    from preimage_fuse.shared_token import SharedToken
    from preimage_fuse.tensor_algebra import t_lstsq, t_pinv, t_product, t_transpose
    from preimage_fuse.words import WordTable, vocabulary_words

__version__ = "0.1.0"

__all__ = [
    "CaseQuality",
    "Coverage",
    "Fuse",
    "FuseConfig",
    "Linear",
    "LinearConfig",
    "SharedToken",
    "SharedTokenConfig",
    "WordAdapter",
    "WordTable",
    "t_lstsq",
    "t_pinv",
    "t_product",
    "t_transpose",
    "vocabulary_words",
]

_HOMES = {
    "CaseQuality": "adapter",
    "Coverage": "adapter",
    "Fuse": "fuse",
    "FuseConfig": "config",
    "Linear": "linear",
    "LinearConfig": "config",
    "SharedToken": "shared_token",
    "SharedTokenConfig": "config",
    "WordAdapter": "adapter",
    "WordTable": "words",
    "t_lstsq": "tensor_algebra",
    "t_pinv": "tensor_algebra",
    "t_product": "tensor_algebra",
    "t_transpose": "tensor_algebra",
    "vocabulary_words": "words",
}


def __getattr__(name: str) -> Any:
    # Lazily, because listing plugins imports this package and must not import torch.
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
