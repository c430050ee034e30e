"""What this distribution provides, without importing any of it."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_optimizers"]


@hookimpl
def provide_optimizers() -> tuple[Component, ...]:
    """Return the record of AutoDAN."""
    return (
        Component(
            name="autodan",
            target="preimage_autodan.optimizer:AutoDAN",
            config="preimage_autodan.config:AutoDANConfig",
            api="1.0",
            summary="AutoDAN: readable prompts, token by token, by gradients and a language model.",
            traits=("space:text", "requires:gradient", "requires:next-token"),
            needs=("torch",),
            cite="arXiv:2310.15140",
        ),
    )
