"""Distances between texts, by their words, against the slow definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preimage_distances import EditDistance, EditDistanceConfig, ExactMatch, TokenF1, WordsConfig
from preimage_distances.words import words_of

TEXTS = st.lists(st.sampled_from(["a", "red", "Red", "star", "star!", "night", ",", "blue"]), max_size=7).map(" ".join)


def f1(left: list[str], right: list[str]) -> float:
    """Return the F1 of shared words, by crossing them off one by one."""
    rest, shared = list(right), 0
    for word in left:
        if word in rest:
            rest.remove(word)
            shared += 1
    if not shared:
        return float(not left and not right)
    precision, recall = shared / len(left), shared / len(right)
    return 2 * precision * recall / (precision + recall)


def levenshtein(left, right) -> int:
    """Return the number of edits, by the recursion that defines it."""
    if not left or not right:
        return len(left) + len(right)
    if left[0] == right[0]:
        return levenshtein(left[1:], right[1:])
    return 1 + min(levenshtein(left[1:], right), levenshtein(left, right[1:]), levenshtein(left[1:], right[1:]))


@given(TEXTS, TEXTS)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(left, right):
    """The distance is one less the F1 that crossing off shared words gives."""
    config = WordsConfig()
    expected = 1 - f1(words_of(left, config), words_of(right, config))
    assert TokenF1(config)([left], [right]).item() == pytest.approx(expected)


@given(TEXTS, TEXTS)
def test_edits_are_counted(left, right):
    """The distance is the least number of edits, in words and in characters, divided or not."""
    for unit in ("words", "characters"):
        config = EditDistanceConfig(unit=unit, normalised=False)
        sides = [words_of(text, config) if unit == "words" else text.casefold()[:7] for text in (left, right)]
        texts = [" ".join(side) if unit == "words" else side for side in sides]
        expected = levenshtein(*sides)
        assert EditDistance(config)(texts[:1], texts[1:]).item() == expected
        divided = EditDistance(EditDistanceConfig(unit=unit))(texts[:1], texts[1:]).item()
        assert divided == pytest.approx(expected / max(*map(len, sides), 1))


def test_case_and_punctuation_count_only_when_asked():
    """By default neither makes two texts differ."""
    left, right = ["A red, striped star!"], ["a red striped star"]
    assert ExactMatch(WordsConfig())(left, right).item() == 0
    assert ExactMatch(WordsConfig(case_sensitive=True))(left, right).item() == 1
    assert ExactMatch(WordsConfig(punctuation=True))(left, right).item() == 1


def test_order_matters_for_exact_match_alone():
    """The same words in another order share all their words and are no exact match."""
    left, right = ["star red"], ["red star"]
    assert TokenF1(WordsConfig())(left, right).item() == 0
    assert ExactMatch(WordsConfig())(left, right).item() == 1


def test_texts_without_words():
    """Nothing is like nothing, and unlike anything else."""
    for distance in (TokenF1(WordsConfig()), ExactMatch(WordsConfig()), EditDistance(EditDistanceConfig())):
        assert distance(["", "!!"], ["", ""]).tolist() == [0, 0]
        assert distance(["", "red"], ["red", "..."]).tolist() == [1, 1]


def test_only_the_plain_edit_distance_is_a_metric():
    """Dividing by the length breaks the triangle inequality: ab, aba, ba."""
    divided = EditDistance(EditDistanceConfig(unit="characters", case_sensitive=True))
    straight, first, second = divided(["ab", "ab", "aba"], ["ba", "aba", "ba"]).tolist()
    assert straight > first + second
    assert not divided.metric
    assert EditDistance(EditDistanceConfig(unit="characters", case_sensitive=True, normalised=False)).metric


def test_lists_of_different_lengths_are_refused():
    """Pairs come in pairs."""
    with pytest.raises(ValueError, match="shorter"):
        TokenF1(WordsConfig())(["a", "b"], ["a"])
