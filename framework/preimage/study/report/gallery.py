"""Targets, the prompts that were recovered for them, and the pictures that those make."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from preimage.errors import InputError
from preimage.html import picture_element
from preimage.image import load_image
from preimage.study.report.numbers import key
from preimage.study.report.ranges import number
from preimage.study.summary import Summary, value_of

if TYPE_CHECKING:
    from preimage.study.images import StudyImage
    from preimage.study.record import Record
    from preimage.study.store import Store

__all__ = ["gallery", "marked"]

_MOST = 40
"""Targets that are shown; all are in the study's folder."""

_THUMBNAILS = 4
_SMALL, _LARGE = 128, 320


def gallery(store: Store, summary: Summary) -> str:
    """Return each target with every recipe's prompt and pictures, the first seed's open and the others folded in."""
    images = [image for image in summary.spec.images if any(r.key.image == image.name for r in summary.records)]
    if not images:
        return ""
    changed = any(record.unstable for record in summary.records)
    note = "Pictures are made from the prompt beside them, on the shared seeds. "
    note += "A <mark>marked</mark> token is another one when the prompt is typed in afresh. " if changed else ""
    more = f"The first {_MOST} of {len(images)} targets are shown." if len(images) > _MOST else ""
    return f'<p class="note">{note}{more}</p>' + "".join(_target(store, summary, image) for image in images[:_MOST])


def _target(store: Store, summary: Summary, image: StudyImage) -> str:
    folder = Path(store.folder)
    target = _picture(image.path, f"target {image.name}", _LARGE, "picture")
    truth = ""
    if image.caption is not None:
        made = sorted((folder / "pictures" / "truth" / image.slug).glob("shared-*.png"))
        truth = (
            f'<p class="truth"><span class="kind">True prompt</span>{escape(image.caption)}</p>'
            f"{_strip(made, 'made from the true prompt')}"
        )
    rows = "".join(
        f"<li>{_runs(folder, summary, recipe, index, image)}</li>" for index, recipe in enumerate(summary.spec.recipes)
    )
    return (
        f'<section class="target"><div class="what">{target}<p class="file">{escape(image.name)}</p>{truth}</div>'
        f"<ol>{rows}</ol></section>"
    )


def _runs(folder: Path, summary: Summary, recipe: str, index: int, image: StudyImage) -> str:
    records = [r for r in summary.records if r.key.recipe == recipe and r.key.image == image.name]
    records.sort(key=lambda record: record.key.seed)
    failed = [r for r in summary.failed if r.key.recipe == recipe and r.key.image == image.name]
    if not records:
        said = "failed, see below" if failed else "not run yet"
        return f'<div class="head">{key(recipe, index)}<span class="score">{said}</span></div>'
    first, *others = records
    folded = ""
    if others:
        runs = "".join(f"{_head(summary, other, f'seed {other.key.seed}')}{_found(folder, other)}" for other in others)
        noun = "seed" if len(others) == 1 else "seeds"
        folded = f"<details><summary>{len(others)} more {noun}</summary>{runs}</details>"
    return _head(summary, first, key(recipe, index), is_html=True) + _found(folder, first) + folded


def _head(summary: Summary, record: Record, name: str, *, is_html: bool = False) -> str:
    scores = [
        f"{escape(measure.spoken)} {number(value)}"
        for measure in (summary.truth, summary.objective)
        if measure is not None and (value := value_of(record, measure)) is not None
    ]
    title = name if is_html else f'<span class="method">{escape(name)}</span>'
    return f'<div class="head">{title}<span class="score">{" · ".join(scores)}</span></div>'


def _found(folder: Path, record: Record) -> str:
    files = [folder / name for name in record.pictures.get("shared", ())]
    return (
        f'<div class="found"><p class="prompt">{marked(record.text, record.tokens, record.unstable)}</p>'
        f"{_strip(files, f'made by {record.key}')}</div>"
    )


def _strip(files: Sequence[Path], alternative: str) -> str:
    pictures = "".join(_picture(file, alternative, _SMALL, "thumbnail") for file in files[:_THUMBNAILS])
    return f'<div class="strip">{pictures}</div>' if pictures else ""


def _picture(file: Path, alternative: str, largest: int, style: str) -> str:
    try:
        return picture_element(load_image(file), alternative, largest=largest, style=style, lossy=True)
    except InputError:
        return f'<div class="gone {style}">gone</div>'


def marked(text: str, tokens: Sequence[str], unstable: Sequence[int]) -> str:
    """Return a prompt as HTML, with the tokens marked that are others when it is typed in afresh.

    >>> marked("red <b> star", ("red", "<b>", "star"), (1,))
    'red <mark>&lt;b&gt;</mark> star'
    """
    if not unstable:
        return escape(text)
    parts, place = [], 0
    for number_, token in enumerate(tokens):
        piece = token.strip()
        start = text.find(piece, place)
        # Pieces of one character's bytes are no text: the tokens are then listed behind the prompt.
        if not piece or start < 0 or text[place:start].strip():
            return f"{escape(text)} {_listed([tokens[index] for index in unstable])}"
        end = start + len(piece)
        shown = f"<mark>{escape(piece)}</mark>" if number_ in unstable else escape(piece)
        parts.append(escape(text[place:start]) + shown)
        place = end
    return "".join(parts) + escape(text[place:])


def _listed(tokens: Sequence[str]) -> str:
    return " ".join(f"<mark>{escape(token)}</mark>" for token in tokens)
