"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_distances", "provide_optimizers"]


@hookimpl
def provide_distances() -> tuple[Component, ...]:
    """Return the records of the distances between rows of features."""
    return ()


@hookimpl
def provide_optimizers() -> tuple[Component, ...]:
    """Return the records of the searches for counterfactual rows."""
    return ()
