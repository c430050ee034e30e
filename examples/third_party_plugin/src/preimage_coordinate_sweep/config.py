"""The options of the coordinate sweep."""

from __future__ import annotations

import attrs
from attrs.validators import ge, instance_of

from preimage.start import TextStart

__all__ = ["CoordinateSweepConfig"]


@attrs.frozen(kw_only=True)
class CoordinateSweepConfig(TextStart):
    """What is tried, and how often to begin again.

    >>> CoordinateSweepConfig(prompt_length=4).shortlist_size
    256
    """

    shortlist_size: int = attrs.field(
        default=256,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Tokens tried at each position, drawn at random when the search begins."},
    )
    restarts: int = attrs.field(
        default=3,
        validator=[instance_of(int), ge(0)],
        metadata={"help": "How often to begin again from random tokens when no single replacement helps any more."},
    )
