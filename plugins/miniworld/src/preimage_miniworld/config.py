"""The options of the loader and of the distance, of which there are none: the models are what they are."""

from __future__ import annotations

import attrs

__all__ = ["MiniworldConfig", "SceneAttributesConfig"]


@attrs.frozen(kw_only=True)
class MiniworldConfig:
    """How a model of the mini world is loaded."""


@attrs.frozen(kw_only=True)
class SceneAttributesConfig:
    """How the attributes of scenes are compared."""
