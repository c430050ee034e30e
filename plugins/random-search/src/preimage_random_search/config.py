"""The options of random search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
from attrs.validators import ge, gt, in_, instance_of, le

from preimage.errors import OptionError
from preimage.preset import Preset
from preimage.start import TextStart

__all__ = ["RandomSearchConfig"]


@attrs.frozen(kw_only=True)
class RandomSearchConfig(TextStart):
    """How random search proposes; how long it searches is the budget's affair.

    Raises:
        OptionError: more beams than candidates.

    >>> RandomSearchConfig(ball="embedding").metric
    'cosine'
    """

    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            options={
                "prompt_length": 16,
                "search_width": 128,
                "ball": "l0",
                "n_candidates_per_position": 256,
                "n_replace": 1,
            },
            num_steps=3000,
            summary="The prompt recovery study (arXiv:2408.06502), as its authors' code has it.",
        ),
        "paper-embedding": Preset(
            options={
                "prompt_length": 16,
                "search_width": 128,
                "ball": "embedding",
                "metric": "euclidean",
                "nearest_fraction": 0.05,
                "n_candidates_per_position": 256,
                "n_replace": 1,
            },
            num_steps=3000,
            summary="The same code's other ball: the nearest 5 % of the vocabulary, at least 256 tokens.",
        ),
    }

    search_width: int = attrs.field(
        default=128,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "New candidates in each step, shared evenly among the beams."},
    )
    ball: str = attrs.field(
        default="l0",
        validator=in_(("l0", "embedding")),
        metadata={"help": "What may replace a token: l0, any allowed one; embedding, one of its neighbours."},
    )
    n_candidates_per_position: int = attrs.field(
        default=256,
        validator=[instance_of(int), ge(1)],
        metadata={
            "help": "Tokens considered for each position: so many random ones (l0), or at least so many of "
            "the nearest (embedding)."
        },
    )
    nearest_fraction: float = attrs.field(
        default=0.05,
        converter=float,
        validator=[gt(0.0), le(1.0)],
        metadata={"help": "Which part of the allowed vocabulary counts as near (embedding)."},
    )
    metric: str = attrs.field(
        default="cosine",
        validator=in_(("cosine", "euclidean")),
        metadata={
            "help": "What near means (embedding); Euclidean distances are ruled by the norms, which keep "
            "rare tokens together."
        },
    )
    n_replace: int = attrs.field(
        default=1,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Tokens replaced in each candidate, at distinct positions."},
    )
    beam_width: int = attrs.field(
        default=1,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "How many prompts are developed side by side."},
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
