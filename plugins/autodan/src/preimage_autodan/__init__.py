"""AutoDAN: readable prompts, written token by token as gradient and language model agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preimage_autodan.config import AutoDANConfig
    from preimage_autodan.optimizer import AutoDAN, AutoDANState

__version__ = "0.1.0"

__all__ = ["AutoDAN", "AutoDANConfig", "AutoDANState"]

_HOMES = {"AutoDAN": "optimizer", "AutoDANConfig": "config", "AutoDANState": "optimizer"}


def __getattr__(name: str) -> Any:
    # Lazily, because listing plugins imports this package and must not import torch.
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
