"""What the plugin provides; imports neither torch nor diffusers."""

from __future__ import annotations

from preimage.api import Component, Finding, hookimpl

__all__ = ["check_installation", "provide_models"]


@hookimpl
def provide_models() -> tuple[Component, ...]:
    """Return the loader of ``sd:…`` references."""
    return (
        Component(
            name="sd",
            target="preimage_diffusers.loader:load",
            config="preimage_diffusers.config:DiffusersConfig",
            api="1.0",
            summary="Stable Diffusion and its kin: a hub name or a folder, to draw prompts or to denoise with.",
            traits=("role:image-generator", "role:denoiser"),
            needs=("PIL", "diffusers", "preimage_transformers", "safetensors", "torch", "transformers"),
            cite="arXiv:2112.10752",
        ),
    )


@hookimpl
def check_installation() -> tuple[Finding, ...]:
    """Say whether diffusers works with the transformers and torch that are installed."""
    from importlib.metadata import version

    try:
        # Its modules are imported when they are first named, and only then does it break.
        from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel  # noqa: F401
    except (ImportError, RuntimeError) as error:
        cause = str(error).strip().splitlines()[0]
        advice = "pip install --upgrade diffusers transformers torch"
        return (Finding("diffusers", False, f"Stable Diffusion cannot be imported: {cause}", advice),)
    return (Finding("diffusers", True, f"{version('diffusers')}, with transformers {version('transformers')}"),)
