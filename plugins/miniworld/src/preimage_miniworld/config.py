"""The options of the loader and of the distances."""

from __future__ import annotations

import attrs
from attrs.validators import ge, instance_of

__all__ = ["MiniworldConfig", "PictureAttributesConfig", "SceneAttributesConfig"]


@attrs.frozen(kw_only=True)
class MiniworldConfig:
    """How pictures are drawn; all other models are what they are."""

    steps: int = attrs.field(
        default=20,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Denoising steps of a picture (miniworld:sd)."},
    )
    guidance: float = attrs.field(
        default=2.5,
        converter=float,
        validator=ge(0.0),
        metadata={"help": "How far the prompt pushes a picture (miniworld:sd); 1 or less is off."},
    )


@attrs.frozen(kw_only=True)
class SceneAttributesConfig:
    """How the attributes of scenes are compared."""


@attrs.frozen(kw_only=True)
class PictureAttributesConfig:
    """How the attributes of pictures are compared."""
