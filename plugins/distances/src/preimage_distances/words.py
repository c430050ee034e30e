"""How many words two texts share, whether all, and how many edits are between them.

None of these knows what a word means: "crimson" and "red" are as far apart as any two words. `TextSimilarity` knows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from rapidfuzz.distance import Levenshtein

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_distances.config import EditDistanceConfig, WordsConfig

__all__ = ["EditDistance", "ExactMatch", "TokenF1", "words_of"]

_WORDS = re.compile(r"\w+")
_WORDS_AND_MARKS = re.compile(r"\w+|[^\w\s]")


def words_of(text: str, config: WordsConfig) -> list[str]:
    """Return the words of a text as they are compared.

    >>> from preimage_distances.config import WordsConfig
    >>> words_of("A red,striped star!", WordsConfig())
    ['a', 'red', 'striped', 'star']
    """
    pattern = _WORDS_AND_MARKS if config.punctuation else _WORDS
    return pattern.findall(text if config.case_sensitive else text.casefold())


class _OfTexts:
    """What the distances of this module share: pair by pair, nothing to learn."""

    domain = "text"
    differentiable = False
    symmetric = True
    metric = False

    def fit(self, data: Any) -> None:
        """There is nothing to learn."""

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Tensor:
        """Return the distances, ``(B,)``, between texts."""
        pairs = zip(left, right, strict=True)
        return torch.tensor([self._between(one, other) for one, other in pairs], dtype=torch.float64)

    def _between(self, left: str, right: str) -> float:
        raise NotImplementedError


class TokenF1(_OfTexts):
    """One less the F1 of the words that two texts share, each counted as often as it occurs in both.

    >>> from preimage_distances.config import WordsConfig
    >>> TokenF1(WordsConfig())(["a red star"], ["the red star at night"]).item()
    0.5

    Arguments:
        config: what counts as the same words.
    """

    def __init__(self, config: WordsConfig) -> None:
        self._config = config

    def _between(self, left: str, right: str) -> float:
        one, other = Counter(words_of(left, self._config)), Counter(words_of(right, self._config))
        total = one.total() + other.total()
        # Twice the shared over all words is the harmonic mean of shared/left and shared/right.
        return 1 - 2 * (one & other).total() / total if total else 0.0


class ExactMatch(_OfTexts):
    """0 where two texts have the same words in the same order, otherwise 1.

    Arguments:
        config: what counts as the same words.
    """

    def __init__(self, config: WordsConfig) -> None:
        self._config = config

    def _between(self, left: str, right: str) -> float:
        return float(words_of(left, self._config) != words_of(right, self._config))


class EditDistance(_OfTexts):
    """How many insertions, deletions and replacements lead from one text to the other (Levenshtein).

    Counted in characters, exactly as they stand and not divided by the length, it is a metric.

    >>> from preimage_distances.config import EditDistanceConfig
    >>> EditDistance(EditDistanceConfig(normalised=False))(["a red star"], ["the red star at night"]).item()
    3.0

    Arguments:
        config: the unit, and whether the longer text's length divides the count.
    """

    def __init__(self, config: EditDistanceConfig) -> None:
        self._config = config
        self.metric = config.unit == "characters" and config.case_sensitive and not config.normalised

    def _between(self, left: str, right: str) -> float:
        one, other = self._units(left), self._units(right)
        if self._config.normalised:
            return float(Levenshtein.normalized_distance(one, other))
        return float(Levenshtein.distance(one, other))

    def _units(self, text: str) -> Sequence[str]:
        if self._config.unit == "words":
            return words_of(text, self._config)
        return text if self._config.case_sensitive else text.casefold()
