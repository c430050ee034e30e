"""What the plugin provides; imports neither torch nor open_clip."""

from __future__ import annotations

from preimage.api.component import Component
from preimage.api.hooks import hookimpl

__all__ = ["provide_models"]


@hookimpl
def provide_models() -> tuple[Component, ...]:
    """Return the loader of ``open_clip:…`` references."""
    return (
        Component(
            name="open_clip",
            target="preimage_open_clip.loader:load",
            config="preimage_open_clip.config:OpenClipConfig",
            api="1.0",
            summary="CLIP models of open_clip: architecture/tag, hf-hub:owner/name, or a folder.",
            traits=("role:image-text-encoder", "role:text-encoder"),
            needs=("open_clip", "torch", "transformers"),
            cite="doi:10.5281/zenodo.5143773",
        ),
    )
