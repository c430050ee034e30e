"""Phrases to choose from: out of the user's files, or the model's own words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from preimage.errors import ConstraintError, InputError
from preimage.prompts import proposable

if TYPE_CHECKING:
    from preimage.search_space import SearchSpace

__all__ = ["VOCABULARY", "Phrases", "gather", "read_list", "words_of"]

VOCABULARY = "vocabulary"
"""The name that stands for the model's own words, where otherwise a file is named."""

_HOW = (
    "give lists=[...] the paths of text files with one phrase a line, or phrases=[...] the phrases themselves; "
    f"{VOCABULARY!r} among the lists stands for the model's own words"
)


@attrs.frozen
class Phrases:
    """Different phrases in the order of their lists.

    Attributes:
        texts: the phrases.
        n_first: how many of them are of the first list.
    """

    texts: tuple[str, ...]
    n_first: int


def gather(space: SearchSpace, lists: Sequence[str], phrases: Sequence[str]) -> Phrases:
    """Return all phrases that may be proposed; one that several lists hold counts for the first of them.

    Arguments:
        space: says what may be proposed, and how much fits.
        lists: paths, or `VOCABULARY`, which also stands in where there is neither list nor phrase.
        phrases: one more list.

    Raises:
        InputError: a file cannot be read or has no phrase.
        ConstraintError: a phrase is longer than the model reads, or none of a list may be proposed.
    """
    named = [
        (f"The word list {name!r}", words_of(space) if name == VOCABULARY else read_list(name))
        for name in lists or ([] if phrases else [VOCABULARY])
    ]
    if phrases:
        named.append(("The list of phrases", _cleaned(phrases)))
    texts: dict[str, None] = {}
    n_first = 0
    for number, (name, own) in enumerate(named):
        if not own:
            message = f"{name} has no phrase, so that there is nothing to choose from: {_HOW}."
            raise InputError(message)
        texts |= dict.fromkeys(_readable(space, name, own))
        if number == 0:
            n_first = len(texts)
    return Phrases(tuple(texts), n_first)


def read_list(path: str) -> list[str]:
    """Return the phrases of a file, one a line; empty lines are passed over.

    Raises:
        InputError: there is no such file, or it is no text in UTF-8.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        message = f"The word list {path!r} cannot be read ({error.strerror}): {_HOW}."
        raise InputError(message) from error
    except UnicodeDecodeError as error:
        message = f"The word list {path!r} is no text in UTF-8 (byte {error.start}): save it as UTF-8."
        raise InputError(message) from error
    return _cleaned(lines)


def words_of(space: SearchSpace) -> list[str]:
    """Return the allowed tokens that are whole words: letters and digits, one token wherever they stand."""
    ids = space.allowed_ids
    ids = ids[space.is_stable(ids[:, None])]
    texts = [text for text in dict.fromkeys(space.decode(ids[:, None])) if text.isalnum()]
    behind = space.encode([f" {text}" for text in texts])
    return [text for text, read in zip(texts, behind, strict=True) if len(read) == 1]


def _cleaned(lines: Sequence[str]) -> list[str]:
    return [phrase for phrase in (" ".join(line.split()) for line in lines) if phrase]


def _readable(space: SearchSpace, name: str, phrases: Sequence[str]) -> list[str]:
    """Return the phrases of which each token may be proposed."""
    read = space.encode(phrases)
    for phrase, ids in zip(phrases, read, strict=True):
        space.check_length(len(ids), f"The phrase {phrase!r}")
    kept = [phrase for phrase, good in zip(phrases, proposable(space, read), strict=True) if good]
    if not kept:
        message = (
            f"{name} has {len(phrases)} phrases, such as {phrases[0]!r}, but in each of them is a token that "
            f"{space.name} cannot read or that allow_non_ascii, allowed_words or banned_words exclude: "
            "allow more, or give other phrases."
        )
        raise ConstraintError(message)
    return kept
