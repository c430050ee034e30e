"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_optimizers"]


@hookimpl
def provide_optimizers() -> tuple[Component, ...]:
    """Return the record of the coordinate sweep."""
    return (
        Component(
            name="coordinate-sweep",
            target="preimage_coordinate_sweep.optimizer:CoordinateSweep",
            config="preimage_coordinate_sweep.config:CoordinateSweepConfig",
            api="1.0",
            summary="Coordinate sweep: the best token of a shortlist at one position after the other.",
            traits=("space:text",),
            needs=("torch",),
            cite="arXiv:1502.04759",
        ),
    )
