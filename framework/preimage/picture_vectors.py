"""The vectors of pictures, remembered by the pictures' content: a target is encoded once, not once a step.

A vector's last digits depend on the batch that its picture is encoded in. Whole batches are remembered therefore, so
that the answer to a request is the same to the last bit whatever was asked before.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image

from preimage.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PictureVectors", "content_hash"]

# 4096 vectors of 1024 floats are 16 MB.
_REMEMBERED = 4096


class PictureVectors:
    """Encodes pictures in batches, each picture of a request only once, and each batch only once.

    Arguments:
        encode: returns the vectors, ``(N, D)``, of pictures.
        batch_size: how many pictures are encoded at once.

    >>> seen = []
    >>> def encode(pictures):
    ...     seen.extend(pictures)
    ...     return torch.ones(len(pictures), 2)
    >>> vectors = PictureVectors(encode, batch_size=8)
    >>> red = Image.new("RGB", (2, 2), "red")
    >>> vectors([red, red]).shape, vectors([red.copy()]).shape, len(seen)
    (torch.Size([2, 2]), torch.Size([1, 2]), 1)
    """

    def __init__(self, encode: Callable[[list[Image.Image]], Tensor], *, batch_size: int) -> None:
        self._encode = encode
        self._batch_size = batch_size
        self._remembered: OrderedDict[tuple[bytes, ...], Tensor] = OrderedDict()

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """Return the vectors, ``(N, D)``, of pictures.

        Raises:
            InputError: there is none, something is not a picture, or a picture cannot be read.
        """
        if not len(images):
            message = "There is no picture to encode: give at least one."
            raise InputError(message)
        keys = [content_hash(image) for image in images]
        pictures = dict(zip(keys, images, strict=True))
        vectors: dict[bytes, Tensor] = {}
        distinct = tuple(pictures)
        for start in range(0, len(distinct), self._batch_size):
            batch = distinct[start : start + self._batch_size]
            if batch not in self._remembered:
                self._remembered[batch] = self._encode([pictures[key] for key in batch])
            self._remembered.move_to_end(batch)
            vectors |= zip(batch, self._remembered[batch], strict=True)
        while sum(map(len, self._remembered)) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return torch.stack([vectors[key] for key in keys])


def content_hash(image: Image.Image) -> bytes:
    """Return a hash of everything about a picture that a model may see.

    Raises:
        InputError: it is no picture, or cannot be read.
    """
    if not isinstance(image, Image.Image):
        message = (
            f"A picture was expected, but {image!r} is a {type(image).__name__}: open it first, for example with "
            "PIL.Image.open."
        )
        raise InputError(message)
    digest = hashlib.blake2b(f"{image.mode} {image.size} {image.info.get('transparency')} ".encode())
    try:
        digest.update(image.tobytes())
        digest.update(repr(image.getpalette()).encode())
    except OSError as error:
        name = getattr(image, "filename", "") or "The picture"
        message = f"{name} cannot be read: {error}. The file is damaged or incomplete: save it again."
        raise InputError(message) from error
    return digest.digest()
