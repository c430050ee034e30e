"""The options of AutoDAN; defaults are the paper's where it has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import attrs
from attrs.converters import optional as optional_converter
from attrs.validators import ge, instance_of, lt, optional

from preimage.errors import OptionError
from preimage.preset import Preset
from preimage.start import TextStart
from preimage.strategy import TreeSearch

__all__ = ["AutoDANConfig"]


@attrs.frozen(kw_only=True)
class AutoDANConfig(TreeSearch, TextStart):
    """How AutoDAN writes.

    Raises:
        OptionError: more beams than candidates.

    >>> AutoDANConfig(prompt_length=12).search_width
    512
    """

    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            options={"prompt_length": 16, "search_width": 512, "beam_width": 4, "max_inner_rounds": 1},
            num_steps=16,
            summary="The prompt recovery study (arXiv:2408.06502), as its authors' code has it: one round for each "
            "token, four beams; the weights are AutoDAN's (arXiv:2310.15140).",
        )
    }

    optim_str_init: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "The text to continue; without it the first token is written, too."},
    )
    optim_ids_init: tuple[int, ...] | None = attrs.field(
        default=None,
        converter=optional_converter(tuple),
        metadata={"help": "The token ids to continue, instead of a text."},
    )
    prompt_length: int = attrs.field(
        default=8,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Tokens of the finished prompt, the text that it continues included."},
    )
    search_width: int = attrs.field(
        default=512,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Tokens scored exactly in each round, shared evenly among the beams."},
    )
    gradient_weight: float = attrs.field(
        default=3.0,
        converter=float,
        validator=[ge(0.0), lt(math.inf)],
        metadata={"help": "Of the gradient, standardised, against the log-probability where tokens are selected (w1)."},
    )
    objective_weight: float = attrs.field(
        default=100.0,
        converter=float,
        validator=[ge(0.0), lt(math.inf)],
        metadata={"help": "Of the loss against the log-probability where the selected tokens are scored (w2)."},
    )
    temperature: float = attrs.field(
        default=1.0,
        converter=float,
        validator=[ge(0.0), lt(math.inf)],
        metadata={
            "help": "How freely the token is drawn at which the next round's gradient is taken; 0: always the best."
        },
    )
    max_inner_rounds: int = attrs.field(
        default=8,
        validator=[instance_of(int), ge(1)],
        metadata={
            "help": "Rounds for a token at most; it is settled before when a round leaves the best one the best."
        },
    )
    filter_ids: bool = attrs.field(
        default=True,
        validator=instance_of(bool),
        metadata={"help": "Write only prompts whose tokens come back when their text is read."},
    )
    filter_rounds: int = attrs.field(
        default=8,
        validator=[instance_of(int), ge(1)],
        metadata={
            "help": "How many times search_width tokens to look through, at most, for those that pass the filter."
        },
    )

    def __attrs_post_init__(self) -> None:
        if self.beam_width > self.search_width:
            message = (
                f"beam_width is {self.beam_width} and search_width {self.search_width}, but every beam "
                "needs a candidate of its own: use fewer beams or a wider search."
            )
            raise OptionError(message)
