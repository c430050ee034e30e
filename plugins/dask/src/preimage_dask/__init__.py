"""Runs carried out by the workers of a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preimage_dask.config import DaskConfig
    from preimage_dask.executor import DaskExecutor

__version__ = "0.1.0"

__all__ = ["DaskConfig", "DaskExecutor"]

_HOMES = {"DaskConfig": "config", "DaskExecutor": "executor"}


def __getattr__(name: str) -> Any:
    # Lazily, because listing plugins imports this package and must not import Dask.
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
