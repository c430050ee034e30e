"""Phrases from word lists, ranked and chained under any objective; and words that do nothing, dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preimage_interrogator.config import InterrogatorConfig, PruneConfig
    from preimage_interrogator.interrogator import Interrogator, InterrogatorState
    from preimage_interrogator.prune import Prune, PruneState

__version__ = "0.1.0"

__all__ = ["Interrogator", "InterrogatorConfig", "InterrogatorState", "Prune", "PruneConfig", "PruneState"]

_HOMES = {
    "Interrogator": "interrogator",
    "InterrogatorConfig": "config",
    "InterrogatorState": "interrogator",
    "Prune": "prune",
    "PruneConfig": "config",
    "PruneState": "prune",
}


def __getattr__(name: str) -> Any:
    # Lazily, because listing plugins imports this package and must not import torch.
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
