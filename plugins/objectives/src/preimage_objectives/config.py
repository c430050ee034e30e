"""The objectives' options."""

from __future__ import annotations

import attrs

__all__ = ["ClipSimilarityConfig", "TextSimilarityConfig"]


@attrs.frozen(kw_only=True)
class ClipSimilarityConfig:
    """The similarity of a prompt to pictures or texts has nothing to choose: model and targets say it all."""


@attrs.frozen(kw_only=True)
class TextSimilarityConfig:
    """The similarity of a prompt to texts has nothing to choose: model and targets say it all."""
