"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_optimizers"]


@hookimpl
def provide_optimizers() -> tuple[Component, ...]:
    """Return the record of GCG."""
    return (
        Component(
            name="gcg",
            target="preimage_gcg.optimizer:GCG",
            config="preimage_gcg.config:GCGConfig",
            api="1.0",
            summary="Greedy coordinate gradient: token gradients propose, exact losses choose.",
            traits=("space:text", "requires:gradient"),
            needs=("torch",),
            cite="arXiv:2307.15043",
        ),
    )
