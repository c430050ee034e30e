"""Random search over prompts: replacements drawn at random, exact losses choose among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preimage_random_search.config import RandomSearchConfig
    from preimage_random_search.optimizer import RandomSearch, RandomSearchState

__version__ = "0.1.0"

__all__ = ["RandomSearch", "RandomSearchConfig", "RandomSearchState"]

_HOMES = {"RandomSearch": "optimizer", "RandomSearchConfig": "config", "RandomSearchState": "optimizer"}


def __getattr__(name: str) -> Any:
    # Lazily, because listing plugins imports this package and must not import torch.
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
