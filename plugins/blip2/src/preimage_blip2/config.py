"""The options of captions as prompts; the defaults are those of the prompt-recovery study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
from attrs.validators import ge, gt, instance_of, le, optional

from preimage.api import Decoding
from preimage.errors import OptionError
from preimage.preset import Preset

__all__ = ["Blip2Config"]


@attrs.frozen(kw_only=True)
class Blip2Config:
    """Whose captions are wanted, and how many of which kind.

    Raises:
        OptionError: captions would have to be longer than they may be.

    >>> Blip2Config(count=8).decoding.sampled
    3
    """

    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            options={
                "captioner": "hf:Salesforce/blip2-opt-2.7b",
                "count": 1,
                "beams": 5,
                "prefix": "An image of",
                "min_tokens": 11,
                "max_tokens": 32,
                "length_penalty": 1.0,
            },
            num_steps=1,
            summary="The prompt recovery study (arXiv:2408.06502): the likeliest caption of five beams.",
        )
    }

    captioner: str = attrs.field(
        default="hf:Salesforce/blip2-opt-2.7b",
        validator=instance_of(str),
        metadata={"help": "The model that says what the picture shows, such as `miniworld:blip2`."},
    )
    count: int = attrs.field(
        default=1,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Captions of each picture; the objective ranks them."},
    )
    beams: int = attrs.field(
        default=5,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "So many of them come from a search with so many beams (1: greedy); the others are sampled."},
    )
    prefix: str = attrs.field(
        default="An image of",
        validator=instance_of(str),
        metadata={"help": "What is put into the captioner's mouth; it is no part of the caption."},
    )
    min_tokens: int = attrs.field(
        default=11,
        validator=[instance_of(int), ge(0)],
        metadata={"help": "The captioner's own tokens in a caption, at least."},
    )
    max_tokens: int = attrs.field(
        default=32,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "The captioner's own tokens in a caption, at most."},
    )
    length_penalty: float = attrs.field(
        default=1.0,
        converter=float,
        metadata={"help": "Above 0 beams favour long captions, below 0 short ones."},
    )
    temperature: float = attrs.field(
        default=1.0,
        converter=float,
        validator=gt(0.0),
        metadata={"help": "Of sampled captions; what is likely becomes likelier below 1."},
    )
    top_p: float = attrs.field(
        default=0.9,
        converter=float,
        validator=[gt(0.0), le(1.0)],
        metadata={"help": "Sampled captions draw from the likeliest tokens with this much probability together."},
    )
    prompt_length: int | None = attrs.field(
        default=None,
        validator=optional([instance_of(int), ge(1)]),
        metadata={"help": "Tokens of the searched model that a prompt may have; as many as it reads without it."},
    )

    def __attrs_post_init__(self) -> None:
        if self.min_tokens > self.max_tokens:
            message = (
                f"min_tokens is {self.min_tokens} and max_tokens {self.max_tokens}, so that no caption is long enough "
                "and short enough: lower the one or raise the other."
            )
            raise OptionError(message)

    @property
    def decoding(self) -> Decoding:
        """How the captioner is asked."""
        return Decoding(
            count=self.count,
            beams=self.beams,
            prefix=self.prefix,
            min_tokens=self.min_tokens,
            max_tokens=self.max_tokens,
            length_penalty=self.length_penalty,
            temperature=self.temperature,
            top_p=self.top_p,
        )
