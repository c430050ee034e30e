"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_optimizers"]


@hookimpl
def provide_optimizers() -> tuple[Component, ...]:
    """Return the record of PEZ."""
    return (
        Component(
            name="pez",
            target="preimage_pez.optimizer:PEZ",
            config="preimage_pez.config:PEZConfig",
            api="1.0",
            summary="PEZ: embeddings follow the gradient at their nearest tokens, all runs in one batch.",
            traits=("space:text", "requires:gradient"),
            needs=("torch",),
            cite="arXiv:2302.03668",
        ),
    )
