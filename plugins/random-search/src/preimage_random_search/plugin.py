"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_optimizers"]


@hookimpl
def provide_optimizers() -> tuple[Component, ...]:
    """Return the record of random search."""
    return (
        Component(
            name="random-search",
            target="preimage_random_search.optimizer:RandomSearch",
            config="preimage_random_search.config:RandomSearchConfig",
            api="1.0",
            summary="Random search: random replacements propose, exact losses choose; needs no gradient.",
            traits=("space:text",),
            needs=("torch",),
            cite="arXiv:2408.06502",
        ),
    )
