"""Which tokens of two models stand for the same words of a text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from preimage_fuse.spans import Spans

__all__ = ["WordPair", "align", "align_tokens"]


@attrs.frozen
class WordPair:
    """A word, or a few that no common cut separates, as two models read it.

    Attributes:
        source: ``(start, count)`` of its tokens in the source's row.
        target: the same in the target's row.
    """

    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def counts(self) -> tuple[int, int]:
        """How many tokens it is made of, in the source and in the target."""
        return self.source[1], self.target[1]


def align(source: Spans, target: Spans) -> list[WordPair]:
    """Return the words of one text in order; each token of either model belongs to exactly one of them.

    A text is cut where a word begins and neither model has a token across. Where the models do not see the same
    characters (one of them cannot read some), the cuts are those between characters that both see.

    >>> from preimage_fuse.spans import Spans
    >>> one = Spans((7, 8, 9), "aredcircle", (0, 1, 4), (1, 4, 10), frozenset({0, 1, 4}))
    >>> two = Spans((3, 4, 5), "aredcircle", (0, 1, 6), (1, 6, 10), frozenset({0, 1, 4}))
    >>> [pair.counts for pair in align(one, two)]
    [(1, 1), (2, 2)]
    """
    shared = _shared_places(source.characters, target.characters)
    cuts = [
        (a, b)
        for a, b in shared
        if (a in source.words or b in target.words) and a not in source.inside and b not in target.inside
    ]
    cuts = [(0, 0), *(cut for cut in cuts if min(cut) > 0)]
    starts = [bisect_left(source.starts, a) for a, _ in cuts]
    other_starts = [bisect_left(target.starts, b) for _, b in cuts]
    ends, other_ends = [*starts[1:], len(source.ids)], [*other_starts[1:], len(target.ids)]
    return [
        WordPair((start, end - start), (other, other_end - other))
        for start, end, other, other_end in zip(starts, ends, other_starts, other_ends, strict=True)
        if end > start or other_end > other
    ]


def align_tokens(source: Spans, target: Spans) -> list[WordPair]:
    """Return the single tokens that stand for the same characters of one text."""
    places = dict(_shared_places(source.characters, target.characters))
    there = {span: place for place, span in enumerate(zip(target.starts, target.ends, strict=True))}
    pairs = []
    for place, (start, end) in enumerate(zip(source.starts, source.ends, strict=True)):
        other = there.get((places.get(start, -1), places.get(end, -1)))
        if end > start and other is not None:
            pairs.append(WordPair((place, 1), (other, 1)))
    return pairs


def _shared_places(left: str, right: str) -> Iterable[tuple[int, int]]:
    """Return the places between characters that two texts have in common, in order."""
    if left == right:
        return [(place, place) for place in range(len(left) + 1)]
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    places = {
        (block.a + step, block.b + step) for block in matcher.get_matching_blocks() for step in range(block.size + 1)
    }
    return _increasing(sorted(places))


def _increasing(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return `places` without those that share a coordinate with one before them.

    Around characters that only one text has, two blocks meet at one place of the other text.
    """
    kept: list[tuple[int, int]] = []
    for a, b in places:
        if not kept or (a > kept[-1][0] and b > kept[-1][1]):
            kept.append((a, b))
    return kept
