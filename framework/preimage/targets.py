"""What a search aims at: pictures, texts or labels, read and recorded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preimage.errors import InputError
from preimage.image import load_image, sha256
from preimage.result import TargetRecord

__all__ = ["read_targets", "shows_picture"]

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif"}


def read_targets(targets: Sequence[Any]) -> tuple[list[Any], tuple[TargetRecord, ...]]:
    """Return the targets ready for objectives, with a record of each for the results.

    Paths, and texts that end like a picture's file name, are read as pictures; PIL images are taken as they are;
    any other text stays a text. A tuple is one target of several pictures or texts.

    Raises:
        InputError: there is no target, or a picture cannot be read.
    """
    if isinstance(targets, str | bytes | os.PathLike) or not isinstance(targets, Sequence):
        message = f"The targets are a {type(targets).__name__}: give a list, also for a single one."
        raise InputError(message)
    if not targets:
        message = "There is no target: give at least one picture or text."
        raise InputError(message)
    read = [_read(target) for target in targets]
    return [value for value, _ in read], tuple(record for _, record in read)


def shows_picture(target: Any) -> bool:
    """Tell whether a target is, or holds, something to be read as a picture; nothing is read."""
    if isinstance(target, tuple):
        return any(map(shows_picture, target))
    return not (isinstance(target, str) and Path(target).suffix.lower() not in _PICTURES)


def _read(target: Any) -> tuple[Any, TargetRecord]:
    if isinstance(target, tuple):
        values, records = zip(*(_read(part) for part in target), strict=True)
        names = ", ".join(record.name for record in records)
        # Joined names may be those of other members, so that a text needs a hash here, too.
        hashes = [record.sha256 or hashlib.sha256(record.name.encode()).hexdigest() for record in records]
        return values, TargetRecord(records[0].kind, names, "".join(hashes))
    if not shows_picture(target):
        return target, TargetRecord("text", target)
    image = load_image(target)
    name = os.fspath(target) if isinstance(target, str | os.PathLike) else getattr(target, "filename", "")
    return image, TargetRecord("image", name, sha256(image))
