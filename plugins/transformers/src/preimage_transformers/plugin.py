"""What the plugin provides; imports neither torch nor transformers."""

from __future__ import annotations

from preimage.api.component import Component
from preimage.api.hooks import hookimpl

__all__ = ["provide_models"]


@hookimpl
def provide_models() -> tuple[Component, ...]:
    """Return the loader of ``hf:…`` references."""
    return (
        Component(
            name="hf",
            target="preimage_transformers.loader:load",
            config="preimage_transformers.config:TransformersConfig",
            api="1.0",
            summary="Models of transformers: encoders, language models, classifiers, captioners; hub names or folders.",
            traits=(
                "role:image-text-encoder",
                "role:text-encoder",
                "role:language-model",
                "role:classifier",
                "role:captioner",
            ),
            needs=("PIL", "safetensors", "torch", "transformers"),
            cite="doi:10.18653/v1/2020.emnlp-demos.6",
        ),
    )
