"""What the pages of results and of studies share: a document that asks for nothing, pictures inside it, and the style.

Texts on such pages come from searches and files and are untrusted: who writes a page escapes each of them, and the
document's own policy forbids scripts and any request.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from preimage.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["document", "picture_element", "write_document"]

_TINY = 256
"""Pictures with fewer pixels a side are enlarged as squares, not blurred."""

_LARGEST = 1024
"""Larger pictures are scaled down, so that the page stays light."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, lead: str, body: str, *, styles: Iterable[Path] = ()) -> str:
    """Return a page around a body that is HTML already; title and lead are texts.

    Arguments:
        title: of the page.
        lead: what stands below it.
        body: the elements of the page.
        styles: style sheets that are added to that of all pages.
    """
    sheets = [Path(__file__).with_name("page.css"), *styles]
    style = "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1><p>{escape(lead)}</p></header>\n<main>{body}</main></body></html>\n"
    )


def picture_element(
    image: Image, alternative: str, *, largest: int = _LARGEST, style: str = "picture", lossy: bool = False
) -> str:
    """Return a picture as an element that holds it.

    Arguments:
        image: the picture, which is not changed.
        alternative: a text for who does not see it.
        largest: the longest side in pixels; larger ones are scaled down.
        style: its class.
        lossy: spend a fifth of the bytes, as for thumbnails.
    """
    tiny = " tiny" if max(image.size) < _TINY else ""
    found = image.convert("RGB")
    found.thumbnail((largest, largest))
    buffer = io.BytesIO()
    if lossy:
        found.save(buffer, "WEBP", quality=85)
    else:
        found.save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    kind = "webp" if lossy else "png"
    size = f'width="{found.width}" height="{found.height}"'
    return f'<img class="{style}{tiny}" src="data:image/{kind};base64,{data}" {size} alt="{escape(alternative)}">'


def write_document(page: str, path: str | os.PathLike[str]) -> None:
    """Write a page to a file.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        message = f"The page cannot be written to {os.fspath(path)} ({error.strerror or error}): name another file."
        raise InputError(message) from error
