"""What the plugin provides; imports neither torch nor any model library."""

from __future__ import annotations

from preimage.api import Component, hookimpl

__all__ = ["provide_distances", "provide_models"]


@hookimpl
def provide_models() -> tuple[Component, ...]:
    """Return the loader of ``miniworld:…`` references."""
    return (
        Component(
            name="miniworld",
            target="preimage_miniworld.loader:load",
            config="preimage_miniworld.config:MiniworldConfig",
            api="1.0",
            summary="Small models of the mini world, bundled: no download, no GPU.",
            traits=(
                "role:image-text-encoder",
                "role:text-encoder",
                "role:language-model",
                "role:classifier",
                "role:captioner",
                "role:image-generator",
                "role:denoiser",
                "example:miniworld:clip",
            ),
            needs=("torch",),
        ),
    )


@hookimpl
def provide_distances() -> tuple[Component, ...]:
    """Return the records of the distances that the truth makes possible."""
    return (
        Component(
            name="scene-attributes",
            target="preimage_miniworld.distance:SceneAttributes",
            config="preimage_miniworld.config:SceneAttributesConfig",
            api="1.0",
            summary="Which share of the attributes that a true caption names another text does not name.",
            traits=("domain:text", "complement:attributes recovered"),
            needs=("torch",),
        ),
        Component(
            name="picture-attributes",
            target="preimage_miniworld.distance:PictureAttributes",
            config="preimage_miniworld.config:PictureAttributesConfig",
            api="1.0",
            summary="Which share of what a picture shows another picture does not show, judged by a small classifier.",
            traits=("domain:image", "complement:attributes shown"),
            needs=("torch",),
        ),
    )
