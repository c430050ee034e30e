"""The loader's options, of which there are none: the models are what they are."""

from __future__ import annotations

import attrs

__all__ = ["MiniworldConfig"]


@attrs.frozen(kw_only=True)
class MiniworldConfig:
    """How a model of the mini world is loaded."""
