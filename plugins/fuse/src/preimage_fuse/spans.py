"""Where the tokens of a text stand, counted in its visible characters.

White space is left out of the count, because two pipelines seldom agree on it: CLIP reads and shows ``circle ,``
where GPT-2 reads ``circle,``, and a token may or may not hold the space before its word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from preimage.api import TextSpace
    from preimage.text_space import Reading

__all__ = ["Spans", "decode_rows", "folded", "locate"]

# A word is a run of letters and digits, or a run of other signs, the unit that tokenizers begin anew with.
_WORD = re.compile(r"\w+|[^\w\s]+")


@attrs.frozen
class Spans:
    """The tokens of one text.

    Attributes:
        ids: the tokens.
        characters: the visible characters, `folded`.
        starts: where in `characters` each token begins; never decreasing.
        ends: where each ends. A character of several tokens is in the range of each; a token of white space has
            an empty range.
        words: where a word begins.
    """

    ids: tuple[int, ...]
    characters: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    words: frozenset[int]

    @cached_property
    def inside(self) -> frozenset[int]:
        """The places at which the text cannot be cut without cutting a token."""
        spans = zip(self.starts, self.ends, strict=True)
        return frozenset(place for start, end in spans for place in range(start + 1, end))


def folded(text: str) -> str:
    """Return the visible characters of `text`, letters without case and accents, one for one.

    >>> folded("A naïve Cat")
    'anaivecat'
    """
    return "".join(_fold(character) for character in text if not character.isspace())


def _fold(character: str) -> str:
    if character.isascii():
        return character.lower()
    # Only the first, so that the characters of both texts can still be counted against each other.
    return (unicodedata.normalize("NFKD", character)[:1] or character).lower()[:1]


def locate(space: TextSpace, rows: Sequence[Sequence[int]]) -> list[Spans]:
    """Return where each token of some rows stands in its row's text.

    The rows are decoded in one call and their texts read in another, whatever the number of tokens. Rows that
    are not read back as they were, which a search may well propose, are put together from the texts of their
    single tokens.
    """
    texts = decode_rows(space, rows)
    found: list[Spans | None] = [None] * len(rows)
    if hasattr(space, "encode_with_offsets"):
        for place, (reading, ids) in enumerate(zip(space.encode_with_offsets(texts), rows, strict=True)):
            if reading.ids == tuple(ids):
                found[place] = _from_offsets(reading)
    unstable = [place for place, spans in enumerate(found) if spans is None]
    pieces = _pieces(space, sorted({token for place in unstable for token in rows[place]})) if unstable else {}
    return [
        _from_pieces(ids, text, [pieces[token] for token in ids]) if spans is None else spans
        for spans, text, ids in zip(found, texts, rows, strict=True)
    ]


def decode_rows(space: TextSpace, rows: Sequence[Sequence[int]]) -> list[str]:
    """Return the text of each row; rows may differ in length."""
    texts = [""] * len(rows)
    by_length: dict[int, list[int]] = {}
    for place, ids in enumerate(rows):
        by_length.setdefault(len(ids), []).append(place)
    for length, places in by_length.items():
        if length:
            same = torch.tensor([list(rows[place]) for place in places])
            for place, text in zip(places, space.decode(same), strict=True):
                texts[place] = text
    return texts


def _from_offsets(reading: Reading) -> Spans:
    places = _places(reading.text)
    return Spans(
        ids=tuple(reading.ids),
        characters=folded(reading.text),
        # Running maxima, because an offset that goes back would tear a row's tokens apart.
        starts=tuple(accumulate((places[start] for start, _ in reading.offsets), max)),
        ends=tuple(places[end] for _, end in reading.offsets),
        words=_words(reading.text, places),
    )


def _from_pieces(ids: Sequence[int], text: str, pieces: Sequence[str]) -> Spans:
    """Return the spans of tokens with the texts `pieces`, which are that of the row where they add up to it."""
    edges = [0, *accumulate(sum(not character.isspace() for character in piece) for piece in pieces)]
    if folded(text) != folded("".join(pieces)):
        text = "".join(pieces)
    spans = list(pairwise(edges))
    return Spans(
        ids=tuple(ids),
        characters=folded(text),
        starts=tuple(start for start, _ in spans),
        ends=tuple(end for _, end in spans),
        words=_words(text, _places(text)),
    )


def _pieces(space: TextSpace, tokens: Sequence[int]) -> dict[int, str]:
    """Return the text of each token behind another one, where marks of continuation are resolved."""
    alone = dict(zip(tokens, decode_rows(space, [(token,) for token in tokens]), strict=True))
    allowed = space.allowed.nonzero().flatten().tolist()
    texts = decode_rows(space, [(token,) for token in allowed])
    probe = next((token for token, text in zip(allowed, texts, strict=True) if text.isalpha()), None)
    if probe is None:
        return alone
    (lead,) = decode_rows(space, [(probe,)])
    behind = dict(zip(tokens, decode_rows(space, [(probe, token) for token in tokens]), strict=True))
    return {
        token: behind[token].removeprefix(lead) if behind[token].startswith(lead) else alone[token] for token in tokens
    }


def _places(text: str) -> list[int]:
    """Return for each place in `text` how many visible characters are before it."""
    return [0, *accumulate(not character.isspace() for character in text)]


def _words(text: str, places: Sequence[int]) -> frozenset[int]:
    return frozenset(places[match.start()] for match in _WORD.finditer(text))
