"""What the plugin provides; imports no torch."""

from __future__ import annotations

from preimage.api.component import Component
from preimage.api.hooks import hookimpl

__all__ = ["provide_objectives"]


@hookimpl
def provide_objectives() -> tuple[Component, ...]:
    """Return the objectives."""
    return (
        Component(
            name="clip-similarity",
            target="preimage_objectives.similarity:ClipSimilarity",
            config="preimage_objectives.config:ClipSimilarityConfig",
            api="1.0",
            summary="One less the cosine between the prompt and pictures (or texts) in a CLIP's space.",
            traits=(
                "space:text",
                "offers:gradient",
                "role:image-text-encoder",
                "target:image",
                "target:text",
            ),
            needs=("torch", "PIL"),
            cite="arXiv:2103.00020",
        ),
        Component(
            name="text-similarity",
            target="preimage_objectives.similarity:TextSimilarity",
            config="preimage_objectives.config:TextSimilarityConfig",
            api="1.0",
            summary="One less the cosine between the prompt and texts in a text encoder's space.",
            traits=("space:text", "offers:gradient", "role:text-encoder", "target:text"),
            needs=("torch",),
        ),
    )
