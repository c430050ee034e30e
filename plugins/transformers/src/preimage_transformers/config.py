"""The loader's options."""

from __future__ import annotations

import attrs
from attrs.validators import ge, instance_of, optional

__all__ = ["TransformersConfig"]


@attrs.frozen(kw_only=True)
class TransformersConfig:
    """How models of transformers are loaded and run."""

    revision: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "Branch, tag or commit of a hub repository; its main branch without it."},
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
    image_batch: int = attrs.field(
        default=64,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Pictures that go through an image tower, or captions that are written, at once."},
    )
    share_prefixes: bool = attrs.field(
        default=True,
        validator=instance_of(bool),
        metadata={"help": "Compute beginnings that texts of a batch have in common only once (language models)."},
    )
