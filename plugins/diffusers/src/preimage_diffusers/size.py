"""How large the pictures of a model are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from preimage.errors import OptionError

if TYPE_CHECKING:
    from preimage_diffusers.config import DiffusersConfig

__all__ = ["size_of"]


def size_of(pipeline: Any, config: DiffusersConfig, reference: str) -> tuple[int, int]:
    """Return the height and width, in pixels, of pictures: what the options say, else what the model was trained on.

    Raises:
        OptionError: the latents of such a picture would have no whole size.
    """
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    own: int | Sequence[int] | None = getattr(getattr(network, "config", None), "sample_size", None)
    own = own or int(getattr(pipeline, "default_sample_size", 128))
    factor = pipeline.vae_scale_factor
    height, width = own if isinstance(own, Sequence) else (own, own)
    size = config.height or height * factor, config.width or width * factor
    unit = max(8, factor)
    if any(side % unit for side in size):
        message = (
            f"Pictures of {size[1]} x {size[0]} were asked of {reference}, whose sides are multiples of {unit}: choose "
            "such a height and width."
        )
        raise OptionError(message)
    return size
