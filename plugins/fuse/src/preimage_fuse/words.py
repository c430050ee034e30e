"""Words as two models read them: what an adapter learns from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import attrs
import torch

from preimage.errors import InputError
from preimage_fuse._choices import Context
from preimage_fuse.spans import decode_rows, folded

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import TextSpace

__all__ = ["WordTable", "shuffled", "vocabulary_words"]

# What stands before a word that is read with a leading space: it is one visible character to every tokenizer.
_LEAD = "a"
_WORDS_AT_ONCE = 4096


@attrs.frozen(eq=False)
class WordTable:
    """Words with their tokens in two models, sorted into cases by both numbers of tokens.

    Attributes:
        words: the words; one read with a leading space and without stands there twice.
        source_ids: the source's tokens of each.
        target_ids: the target's tokens of each.
    """

    words: tuple[str, ...]
    source_ids: tuple[tuple[int, ...], ...]
    target_ids: tuple[tuple[int, ...], ...]

    @classmethod
    def build(
        cls,
        source: TextSpace,
        target: TextSpace,
        words: Iterable[str],
        *,
        max_subtokens: int = 4,
        max_examples_per_case: int = 8192,
        leading_space: Context = "both",
    ) -> WordTable:
        """Return the table of `words`, in their order.

        A word is read by both models as it is written, at the start of a text and behind another word: byte-level
        tokenizers know the two as different tokens, and prompts hold mostly the second. Left out are words that
        either model does not give back (but for case and accents, where it ignores them), words of more than
        `max_subtokens` tokens, and those beyond `max_examples_per_case` of their case.

        Arguments:
            source: the space that is searched.
            target: the space of the objective.
            words: without white space inside.
            max_subtokens: the most tokens of a word, in either model.
            max_examples_per_case: the most words of one case.
            leading_space: whether words are read with a leading space, without, or in both ways.

        Raises:
            InputError: a word holds white space.
        """
        seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
        cases: Counter[tuple[int, int]] = Counter()
        full = max_subtokens**2
        rows: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
        for some in _batched(_checked(words), _WORDS_AT_ONCE):
            for word, ours, theirs in _read_by_both(source, target, some, leading_space):
                case = len(ours), len(theirs)
                if max(case) > max_subtokens or cases[case] >= max_examples_per_case or (ours, theirs) in seen:
                    continue
                seen.add((ours, theirs))
                cases[case] += 1
                rows.append((word, ours, theirs))
            if sum(count >= max_examples_per_case for count in cases.values()) == full:
                break
        return cls(*zip(*rows, strict=True)) if rows else cls((), (), ())

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def cases(self) -> Mapping[tuple[int, int], tuple[int, ...]]:
        """The places of the words of each case ``(source tokens, target tokens)``, smallest case first."""
        places: dict[tuple[int, int], list[int]] = {}
        for place, (ours, theirs) in enumerate(zip(self.source_ids, self.target_ids, strict=True)):
            places.setdefault((len(ours), len(theirs)), []).append(place)
        return {case: tuple(places[case]) for case in sorted(places)}

    def ids(self, case: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the tokens of a case's words, ``(N, i)`` and ``(N, j)``."""
        places = self.cases[case]
        return (
            torch.tensor([self.source_ids[place] for place in places]),
            torch.tensor([self.target_ids[place] for place in places]),
        )


def vocabulary_words(source: TextSpace, target: TextSpace, *, seed: int = 0) -> tuple[str, ...]:
    """Return every text that is one token to either model, and behind these, pseudo-words that are several to both.

    The vocabularies are lists of frequent words that need no download. Words that both models take apart are in
    neither of them; two or three words written as one stand for these.
    """
    texts = set()
    for space in (source, target):
        tokens = space.allowed.nonzero().flatten().tolist()
        texts |= {text for text in decode_rows(space, [(token,) for token in tokens]) if len(text.split()) == 1}
    whole = shuffled(texts, seed=seed)
    parts = [word for word in whole if word.isalpha() and len(word) > 1]
    joined = {"".join(some) for size in (2, 3) for some in _batched(parts, size)}
    return (*whole, *shuffled(joined - texts, seed=seed))


def shuffled(words: Iterable[str], *, seed: int) -> list[str]:
    """Return the different ones of `words` in an order that only they and the seed decide.

    Each word draws its place by itself, so that neither the order of the list nor a word more or less changes the
    order of the others.

    >>> shuffled(["red", "blue", "green", "red"], seed=0) == shuffled(["green", "red", "blue"], seed=0)
    True
    """

    def place(word: str) -> tuple[bytes, str]:
        return hashlib.blake2b(f"{seed} {word}".encode(errors="surrogatepass"), digest_size=8).digest(), word

    return sorted(set(words), key=place)


def _checked(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        if word.split() != [word]:
            message = f"{word!r} is not a word: an adapter learns from words without white space, so split it."
            raise InputError(message)
        yield word


def _read_by_both(
    source: TextSpace, target: TextSpace, words: Sequence[str], leading_space: Context
) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Yield each word that both models give back, with its tokens in each, once for each context."""
    contexts = {"both": (True, False), "with": (True,), "without": (False,)}[leading_space]
    texts = [(word, spaced) for word in words for spaced in contexts]
    ours, theirs = (_tokens_of(space, texts) for space in (source, target))
    for (word, _), left, right in zip(texts, ours, theirs, strict=True):
        if left and right:
            yield word, left, right


def _tokens_of(space: TextSpace, texts: Sequence[tuple[str, bool]]) -> list[tuple[int, ...]]:
    """Return each word's tokens in its context, none where it does not come back."""
    written = [f"{_LEAD} {word}" if spaced else word for word, spaced in texts]
    rows = _read(space, written)
    leads = [_lead_tokens(row, spaced) for row, (_, spaced) in zip(rows, texts, strict=True)]
    # Decoded behind the lead as they were read: some decoders strip what begins a text.
    decoded = decode_rows(space, [() if lead is None else row[0] for row, lead in zip(rows, leads, strict=True)])
    return [
        () if lead is None or not _same(text, expected) else ids[lead:]
        for (ids, _), lead, text, expected in zip(rows, leads, decoded, written, strict=True)
    ]


def _read(space: TextSpace, texts: Sequence[str]) -> list[tuple[tuple[int, ...], Sequence[int]]]:
    """Return the tokens of each text and where they end, counted in characters."""
    if hasattr(space, "encode_with_offsets"):
        return [(reading.ids, [end for _, end in reading.offsets]) for reading in space.encode_with_offsets(texts)]
    (lead,) = space.encode([_LEAD])
    # Without offsets, a text that begins with the tokens of the lead has the word behind them.
    return [
        (tuple(ids), [len(_LEAD) if ids[: place + 1] == lead[: place + 1] else len(text) for place in range(len(ids))])
        for ids, text in zip(space.encode(texts), texts, strict=True)
    ]


def _lead_tokens(row: tuple[tuple[int, ...], Sequence[int]], spaced: bool) -> int | None:
    """Return how many tokens stand for the lead, None where one has letters of the word, too."""
    if not spaced:
        return 0
    count = sum(end <= len(_LEAD) for end in row[1])
    return count or None


def _same(text: str, expected: str) -> bool:
    return text == expected or folded(text) == folded(expected)


def _batched(items: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    rest = iter(items)
    while some := tuple(islice(rest, size)):
        yield some
