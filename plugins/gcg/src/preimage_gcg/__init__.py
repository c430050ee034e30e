"""Greedy coordinate gradient: token gradients propose replacements, exact losses choose among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preimage_gcg.config import GCGConfig
    from preimage_gcg.optimizer import GCG, GCGState

__version__ = "0.1.0"

__all__ = ["GCG", "GCGConfig", "GCGState"]

_HOMES = {"GCG": "optimizer", "GCGConfig": "config", "GCGState": "optimizer"}


def __getattr__(name: str) -> Any:
    # Lazily, because listing plugins imports this package and must not import torch.
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
