"""The options of GCG, under the names that nanoGCG made known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
from attrs.validators import ge, instance_of, lt

from preimage.errors import OptionError
from preimage.preset import Preset
from preimage.start import TextStart

__all__ = ["GCGConfig"]


@attrs.frozen(kw_only=True)
class GCGConfig(TextStart):
    """How GCG searches; how long is the budget's affair.

    Raises:
        OptionError: more beams than candidates or than the buffer holds.

    >>> GCGConfig(topk=64).search_width
    512
    """

    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            options={"prompt_length": 16, "search_width": 512, "topk": 256, "n_replace": 1},
            num_steps=3000,
            summary="The prompt recovery study (arXiv:2408.06502); it used 8 to 20 tokens.",
        )
    }

    search_width: int = attrs.field(
        default=512,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Candidates scored in each step, shared evenly among the beams."},
    )
    topk: int = attrs.field(
        default=256,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "How many of the tokens that the gradient favours are proposed for each position."},
    )
    n_replace: int = attrs.field(
        default=1,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Tokens replaced in each candidate, at distinct positions."},
    )
    buffer_size: int = attrs.field(
        default=0,
        validator=[instance_of(int), ge(0)],
        metadata={
            "help": "How many of the best prompts to go on from. 0: always move to the best candidate, "
            "even a worse one; 1: never move to a worse one."
        },
    )
    beam_width: int = attrs.field(
        default=1,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "How many prompts are developed side by side; each costs one gradient a step."},
    )
    momentum: float = attrs.field(
        default=0.0,
        converter=float,
        validator=[ge(0.0), lt(1.0)],
        metadata={"help": "How much of the last step's token gradient is added to this one's."},
    )
    filter_ids: bool = attrs.field(
        default=True,
        validator=instance_of(bool),
        metadata={"help": "Propose only prompts whose tokens come back when their text is read."},
    )
    filter_rounds: int = attrs.field(
        default=8,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "How often to draw, at most, until search_width candidates pass the filter."},
    )

    def __attrs_post_init__(self) -> None:
        if self.beam_width > self.search_width:
            message = (
                f"beam_width is {self.beam_width} and search_width {self.search_width}, but every beam "
                "needs a candidate of its own: use fewer beams or a wider search."
            )
            raise OptionError(message)
        if 0 < self.buffer_size < self.beam_width:
            message = (
                f"buffer_size is {self.buffer_size} and beam_width {self.beam_width}, but the beams are "
                "taken from the buffer: make it at least as large, or 0 to go on from the newest candidates."
            )
            raise OptionError(message)
