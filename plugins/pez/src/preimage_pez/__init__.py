"""PEZ: embeddings follow the gradient at the tokens nearest to them, many pictures and restarts in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preimage_pez.config import PEZConfig
    from preimage_pez.optimizer import PEZ, PEZState

__version__ = "0.1.0"

__all__ = ["PEZ", "PEZConfig", "PEZState"]

_HOMES = {"PEZ": "optimizer", "PEZConfig": "config", "PEZState": "optimizer"}


def __getattr__(name: str) -> Any:
    # Lazily, because listing plugins imports this package and must not import torch.
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
