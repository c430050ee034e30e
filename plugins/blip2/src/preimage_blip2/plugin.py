"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_optimizers"]


@hookimpl
def provide_optimizers() -> tuple[Component, ...]:
    """Return the record of the captioner among the optimizers."""
    return (
        Component(
            name="blip2",
            target="preimage_blip2.optimizer:Blip2",
            config="preimage_blip2.config:Blip2Config",
            api="1.0",
            summary="Says what the picture shows: captions of a captioner, ranked by the objective, in one step.",
            traits=("space:text", "requires:captions"),
            needs=("torch",),
            cite="arXiv:2301.12597",
        ),
    )
