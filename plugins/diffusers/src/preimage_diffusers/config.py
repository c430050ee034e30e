"""The loader's options."""

from __future__ import annotations

import attrs
from attrs.validators import and_, ge, instance_of, optional

__all__ = ["DiffusersConfig"]

_SIZE = optional(and_(instance_of(int), ge(8)))


@attrs.frozen(kw_only=True)
class DiffusersConfig:
    """How models of diffusers are loaded and run."""

    steps: int | None = attrs.field(
        default=None,
        validator=optional(and_(instance_of(int), ge(1))),
        metadata={"help": "Denoising steps of a picture; as many as its scheduler needs without it."},
    )
    guidance: float = attrs.field(
        default=7.5,
        converter=float,
        validator=ge(0.0),
        metadata={"help": "How far the prompt pushes a picture away from the negative prompt; 1 or less is off."},
    )
    negative_prompt: str = attrs.field(
        default="",
        validator=instance_of(str),
        metadata={"help": "What pictures are pushed away from, where there is guidance."},
    )
    height: int | None = attrs.field(
        default=None, validator=_SIZE, metadata={"help": "Of pictures, in pixels; the model's own without it."}
    )
    width: int | None = attrs.field(
        default=None, validator=_SIZE, metadata={"help": "Of pictures, in pixels; the model's own without it."}
    )
    scheduler: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "Another scheduler for generation, such as ddim, euler or dpmsolvermultistep."},
    )
    batch_size: int = attrs.field(
        default=8,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Pictures that are drawn or encoded at once; halved when memory runs out."},
    )
    safety_checker: bool = attrs.field(
        default=False,
        validator=instance_of(bool),
        metadata={"help": "Run the model's own filter, which blackens pictures; each is named in a warning."},
    )
    revision: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "Branch, tag or commit of a hub repository; its main branch without it."},
    )
    variant: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "Which of several sets of weights, such as fp16; the usual one without it."},
    )
    cache_dir: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "Where downloads are kept; the Hugging Face cache without it."},
    )
    trust_pickle: bool = attrs.field(
        default=False,
        validator=instance_of(bool),
        metadata={"help": "Read weights from pickle files (.bin), too."},
    )
