"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_optimizers"]


@hookimpl
def provide_optimizers() -> tuple[Component, ...]:
    """Return the records of the interrogator and of pruning."""
    return (
        Component(
            name="interrogator",
            target="preimage_interrogator.interrogator:Interrogator",
            config="preimage_interrogator.config:InterrogatorConfig",
            api="1.0",
            summary="Ranks the phrases of word lists and chains the best, one after the other; needs no gradient.",
            traits=("space:text",),
            needs=("torch",),
            cite="https://github.com/pharmapsychotic/clip-interrogator",
        ),
        Component(
            name="prune",
            target="preimage_interrogator.prune:Prune",
            config="preimage_interrogator.config:PruneConfig",
            api="1.0",
            summary="Drops the words of a prompt that do nothing or harm, one at a time; needs no gradient.",
            traits=("space:text", "start:required"),
            needs=("torch",),
        ),
    )
