"""Captions of the picture as prompts: greedy, by beams, or sampled, and ranked by any objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preimage_blip2.config import Blip2Config
    from preimage_blip2.optimizer import Blip2, Blip2State
    from preimage_blip2.wording import worded

__version__ = "0.1.0"

__all__ = ["Blip2", "Blip2Config", "Blip2State", "worded"]

_HOMES = {"Blip2": "optimizer", "Blip2Config": "config", "Blip2State": "optimizer", "worded": "wording"}


def __getattr__(name: str) -> Any:
    # Lazily, because listing plugins imports this package and must not import torch.
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
