"""Pictures that a plugin offers for studies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Picture", "Pictures"]


@attrs.frozen(eq=False)
class Picture:
    """A picture with its name and, where it is known, the prompt that it was made from."""

    name: str
    image: Path | Image
    caption: str | None = None


@attrs.frozen(eq=False)
class Pictures:
    """What a function behind an entry point of the group ``preimage.pictures`` returns.

    The entry point ``miniworld = preimage_miniworld.data:pictures`` makes ``preimage compare miniworld:held-out:20``
    call ``pictures("held-out", 20)``; the count is None where none is given.
    """

    pictures: tuple[Picture, ...]
    measures: Mapping[str, Any] = attrs.field(factory=dict)
    """Options of the measures that suit these pictures, such as ``{"held_out": "miniworld:clip-judge"}``."""
