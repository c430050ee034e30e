"""The loader's options."""

from __future__ import annotations

import attrs
from attrs.validators import ge, instance_of, optional

__all__ = ["OpenClipConfig"]


@attrs.frozen(kw_only=True)
class OpenClipConfig:
    """How models of open_clip are loaded and run."""

    cache_dir: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "Where downloads are kept; the Hugging Face cache without it."},
    )
    trust_pickle: bool = attrs.field(
        default=False,
        validator=instance_of(bool),
        metadata={
            "help": "Read a folder's weights from pickle files (.bin, .pt, .pth), too. Those of a hub name that has no "
            "safetensors are read from one in any case, by torch's loader of weights alone, which runs no code."
        },
    )
    image_batch: int = attrs.field(
        default=64,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Pictures that go through the image tower at once."},
    )
    share_prefixes: bool = attrs.field(
        default=True,
        validator=instance_of(bool),
        metadata={"help": "Compute beginnings that prompts of a batch have in common only once."},
    )
