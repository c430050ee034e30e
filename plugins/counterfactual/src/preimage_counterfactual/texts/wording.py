"""Texts as words in their surroundings: what differs between two texts, and a text with some words changed.

Words are runs of letters and digits. What stands between them, punctuation and spaces, stays where it is, and a text
with changes is spelled as the original is wherever no word has changed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import attrs

from preimage.errors import InputError

__all__ = ["WordChange", "changed", "marked", "vocabulary", "word_changes", "words_in"]

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


@attrs.frozen
class WordChange:
    """One word that is replaced, dropped or put in.

    Attributes:
        place: the number of the word in the original; a new word stands before that one.
        before: the word in the original; empty where one is put in.
        after: the word that takes its place; empty where it is dropped.
    """

    place: int
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before:
            return f"{self.after!r} put in"
        return f"{self.before!r} dropped" if not self.after else f"{self.before!r} replaced by {self.after!r}"


def words_in(text: str) -> list[str]:
    """Return the words of a text.

    >>> words_in("It isn't a sad, sad star.")
    ['It', "isn't", 'a', 'sad', 'sad', 'star']
    """
    return _WORD.findall(text)


def vocabulary(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the words of texts, the frequent ones first, each in its most frequent spelling.

    >>> vocabulary(["Stars in May", "the stars", "stars of the May"])
    ('stars', 'May', 'the', 'in', 'of')

    Raises:
        InputError: the texts are no list, or hold no word.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        message = f"The texts are a {type(texts).__name__}: give a list of texts like those to explain."
        raise InputError(message)
    spellings: dict[str, Counter[str]] = {}
    for word in (word for text in texts for word in words_in(text)):
        spellings.setdefault(word.casefold(), Counter())[word] += 1
    if not spellings:
        message = f"The {len(texts)} texts hold no word that could be put into another: give texts with words."
        raise InputError(message)
    ordered = sorted(spellings.values(), key=lambda counted: -counted.total())
    return tuple(counted.most_common(1)[0][0] for counted in ordered)


def word_changes(original: str, text: str) -> tuple[WordChange, ...]:
    """Return the fewest changes of words that make one text of another; capitals and punctuation do not count.

    >>> [str(change) for change in word_changes("A red star at night.", "a blue star by night")]
    ["'red' replaced by 'blue'", "'at' replaced by 'by'"]
    """
    old, new = words_in(original), words_in(text)
    same = [[one.casefold() == other.casefold() for other in new] for one in old]
    costs = _costs(same, len(new))
    changes = []
    row, column = len(old), len(new)
    while row or column:
        here = costs[row][column]
        if row and column and here == costs[row - 1][column - 1] + (not same[row - 1][column - 1]):
            row, column = row - 1, column - 1
            if not same[row][column]:
                changes.append(WordChange(row, old[row], new[column]))
        elif row and here == costs[row - 1][column] + 1:
            row -= 1
            changes.append(WordChange(row, old[row], ""))
        else:
            column -= 1
            changes.append(WordChange(row, "", new[column]))
    return tuple(reversed(changes))


def changed(original: str, changes: Iterable[WordChange]) -> str:
    """Return a text with words changed and everything else as it was.

    >>> changed("A sad, red star.", [WordChange(1, "sad", ""), WordChange(3, "star", "heart")])
    'A, red heart.'
    >>> changed("Sad stars", [WordChange(0, "Sad", "happy"), WordChange(2, "", "shine")])
    'Happy stars shine'
    """
    return _spelled(original, changes, lambda change: _like(change.before, change.after))


def marked(original: str, changes: Iterable[WordChange]) -> str:
    """Return a text in which changes can be seen.

    >>> marked("a sad star", [WordChange(1, "sad", "happy")])
    'a [sad → happy] star'
    """
    return _spelled(original, changes, lambda change: f"[{change.before} → {change.after}]", keep=True)


def _spelled(
    original: str, changes: Iterable[WordChange], spell: Callable[[WordChange], str], *, keep: bool = False
) -> str:
    """Return a text with each change written as `spell` says; `keep` leaves dropped words in."""
    spans = [found.span() for found in _WORD.finditer(original)]
    inserted: dict[int, list[WordChange]] = {}
    swapped: dict[int, WordChange] = {}
    for change in changes:
        if change.before:
            swapped[change.place] = change
        else:
            inserted.setdefault(change.place, []).append(change)
    written = original[: spans[0][0]] if spans else original
    for place, (start, end) in enumerate(spans):
        behind = original[end : spans[place + 1][0] if place + 1 < len(spans) else len(original)]
        for change in inserted.get(place, ()):
            written += f"{spell(change)} "
        word = original[start:end] if place not in swapped else spell(swapped[place])
        if place in swapped and not swapped[place].after and not keep:
            written = written.rstrip() + behind if written.strip() else behind.lstrip()
        else:
            written += word + behind
    for change in inserted.get(len(spans), ()):
        last = len(original) - spans[-1][1] if spans else 0
        cut = len(written) - last
        written = f"{written[:cut].rstrip()} {spell(change)}{written[cut:]}".lstrip()
    return written


def _like(before: str, after: str) -> str:
    """Return a word that begins with a capital where the one it replaces does."""
    return after[:1].upper() + after[1:] if before[:1].isupper() and after.islower() else after


def _costs(same: Sequence[Sequence[bool]], width: int) -> list[list[int]]:
    """Return how many changes lead from each beginning of a text to each beginning of another (Levenshtein)."""
    costs = [list(range(width + 1))]
    for number, row in enumerate(same, start=1):
        above = costs[-1]
        line = [number]
        for column, equal in enumerate(row):
            line.append(min(above[column] + (not equal), above[column + 1] + 1, line[column] + 1))
        costs.append(line)
    return costs
