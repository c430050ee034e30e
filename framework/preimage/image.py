"""Pictures as they come: paths, bytes or PIL images, checked before anything else happens."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from typing import TYPE_CHECKING, Any, cast

from preimage.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

__all__ = ["MAX_PIXELS", "load_image", "sha256"]

MAX_PIXELS = 100_000_000
"""More pixels than this (10,000 x 10,000) are refused: no model looks at more than a millionth of them."""


def load_image(source: str | os.PathLike[str] | bytes | PILImage) -> PILImage:
    """Return the picture in RGB; transparent parts become white, and a photograph is turned upright.

    Grey values of 16 bits become the nearest of 8.

    Arguments:
        source: a path, an encoded picture, or a PIL image.

    Raises:
        InputError: the file is missing, truncated, no picture, larger than `MAX_PIXELS`, or of numbers that do not say
            what is white.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, Image.Image):
        return _read(source, getattr(source, "filename", "") or "The picture")
    name = "The picture" if isinstance(source, bytes) else os.fspath(source)
    stream: Any = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures on its own; ours is the message to show.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(stream)
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(name, str(error))) from error
    except UnidentifiedImageError as error:
        message = f"{name} is not a picture that Pillow can read: give a PNG, JPEG, WebP or similar file."
        raise InputError(message) from error
    except IsADirectoryError as error:
        message = f"{name} is a folder: give the pictures in it, such as {os.path.join(name, '*.png')}."
        raise InputError(message) from error
    except OSError as error:
        message = f"{name} cannot be opened ({error.strerror or error}): check the path and its permissions."
        raise InputError(message) from error
    with image:
        return _read(image, name)


def _read(image: PILImage, name: str) -> PILImage:
    """Return the pixels of an opened picture, upright and in RGB."""
    from PIL import ImageOps

    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(_too_large(name, f"{width} x {height} pixels"))
    try:
        image.load()
        return _flattened(_in_eight_bits(ImageOps.exif_transpose(image), name))
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        message = f"{name} is damaged or truncated ({error}): export or download the picture again."
        raise InputError(message) from error


def sha256(image: PILImage) -> str:
    """Return a hash of the picture's size and pixels, whatever file it came from."""
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _in_eight_bits(image: PILImage, name: str) -> PILImage:
    """Return a grey picture of deeper values in 8 bits; any other as it is.

    Pillow itself cuts what is above 255 off, so that a scan of 16 bits would become white.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    grey = image if image.mode == "F" else image.convert("I")
    darkest, brightest = cast("tuple[float, float]", grey.getextrema())
    if image.mode == "F" or darkest < 0 or brightest > 65_535:
        message = (
            f"{name} holds numbers from {darkest:g} to {brightest:g} (mode {image.mode}), which do not say what is "
            "black and what is white: save it with 8 or 16 bits."
        )
        raise InputError(message)
    # Mode I is also how 8 bits come out of arrays of integers; only a brighter value tells them apart.
    is_deep = image.mode != "I" or brightest > 255
    return (grey.point(lambda value: value * (1 / 257) + 0.5) if is_deep else grey).convert("L")


def _flattened(image: PILImage) -> PILImage:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    from PIL import Image

    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _too_large(name: str, size: str) -> str:
    return (
        f"{name} is too large ({size}; at most {MAX_PIXELS:,} pixels are read): scale it down first, "
        "models look at a few hundred pixels a side."
    )
