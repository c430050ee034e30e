"""Spans, alignment and word tables, for every pair of four kinds of tokenizer."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from preimage.errors import InputError
from preimage_fuse.alignment import align, align_tokens
from preimage_fuse.spans import Spans, decode_rows, folded, locate
from preimage_fuse.words import WordTable, shuffled, vocabulary_words

TEXT = "an image of Red circle, or it's a small triangle? wherever people wander."


class Bare:
    """A space with nothing but what the contract asks for."""

    def __init__(self, space):
        self._space = space
        self.calls = 0

    def __getattr__(self, name):
        if name in ("encode_with_offsets", "_tokenizer"):
            raise AttributeError(name)
        return getattr(self._space, name)


def spans(space, text) -> Spans:
    return locate(space, space.encode([text]))[0]


class TestSpans:
    def test_tokens_stand_where_their_letters_are(self, source) -> None:
        """Each token covers the letters that it decodes to, and together they cover the text."""
        found = spans(source, TEXT)
        covered = {place for start, end in zip(found.starts, found.ends, strict=True) for place in range(start, end)}

        assert found.characters == folded(TEXT)
        assert list(found.starts) == sorted(found.starts)
        assert covered == set(range(len(found.characters)))

    def test_words_begin_at_spaces_and_signs(self, source) -> None:
        """Words are runs of letters or of other signs."""
        found = spans(source, "a red circle, it's")

        assert sorted(found.words) == [0, 1, 4, 10, 11, 13, 14]

    def test_rows_that_are_not_read_back(self, spaces) -> None:
        """Tokens that a search put side by side have their places, too."""
        space = spaces["clip"]
        ids = [space._tokenizer.token_to_id(piece) for piece in ("c", "i", "r", "red</w>", "a", "circle</w>")]
        (found,) = locate(space, [ids])

        assert space.encode(space.decode(torch.tensor([ids])))[0] != ids
        assert found.characters == "cirredacircle"
        assert found.starts == (0, 1, 2, 3, 6, 7)
        assert found.words == {0, 6}

    def test_continuation_marks_are_not_letters(self, spaces) -> None:
        """A marked continuation in an unstable row counts its letters only."""
        space = spaces["word-piece"]
        vocabulary = space._tokenizer.get_vocab()
        inside = [token for piece, token in vocabulary.items() if piece.startswith("##") and len(piece) == 3][:3]
        ids = [vocabulary["a"], *inside, vocabulary["[UNK]"]]
        (found,) = locate(space, [ids])

        assert "#" not in found.characters
        assert found.starts[:4] == (0, 1, 2, 3)

    def test_bare_spaces_are_read_piece_by_piece(self, source) -> None:
        """A space that cannot tell offsets gives the same places for ordinary text."""
        text = "a red circle or a blue square on a hill"

        assert spans(Bare(source), text).starts == spans(source, text).starts

    def test_characters_of_several_tokens(self, spaces) -> None:
        """A character that takes several tokens is where each of them stands."""
        found = spans(spaces["gpt2"], "a é b")

        assert found.characters == "aeb"
        assert found.starts.count(1) >= 2

    def test_folding_keeps_the_count(self) -> None:
        """Case and accents go, characters stay."""
        text = "Ünï ßtraße ﬁ İ ŉ 東京 ½"

        assert len(folded(text)) == len("".join(text.split()))
        assert folded("É") == folded("e")

    def test_rows_of_different_lengths(self, spaces) -> None:
        """Rows are decoded together, whatever their lengths."""
        space = spaces["clip"]
        rows = space.encode(["a red circle", "", "a hill"])

        assert decode_rows(space, rows) == ["a red circle", "", "a hill"]


class TestAlign:
    def test_every_token_belongs_to_one_word(self, source, target) -> None:
        """The words follow each other without a gap in either model."""
        ours, theirs = spans(source, TEXT), spans(target, TEXT)
        pairs = align(ours, theirs)

        for side, count in (("source", len(ours.ids)), ("target", len(theirs.ids))):
            places = [getattr(pair, side) for pair in pairs]
            assert places[0][0] == 0
            assert all(start + size == following for (start, size), (following, _) in pairwise(places))
            assert sum(places[-1]) == count

    def test_words_stand_for_the_same_letters(self, source, target) -> None:
        """What is paired decodes to the same letters in both models."""
        (ours,), (theirs,) = source.encode([TEXT]), target.encode([TEXT])
        for pair in align(spans(source, TEXT), spans(target, TEXT)):
            start, count = pair.source
            other, other_count = pair.target
            left = folded("".join(source.decode(torch.tensor([ours[start : start + count]]))))
            right = folded("".join(target.decode(torch.tensor([theirs[other : other + other_count]]))))

            assert left.replace("#", "") == right.replace("#", "")

    def test_spaces_around_signs_do_not_matter(self, spaces) -> None:
        """A text read as it was typed is aligned with one read as another model shows it."""
        pairs = align(
            spans(spaces["clip"], "a red circle, or a hill."), spans(spaces["gpt2"], "a red circle , or a hill .")
        )

        assert len(pairs) == 8

    def test_the_same_model_twice(self, source) -> None:
        """A model agrees with itself."""
        pairs = align(spans(source, TEXT), spans(source, TEXT))

        assert all(pair.source == pair.target for pair in pairs)

    def test_characters_that_one_model_cannot_read(self, spaces) -> None:
        """Words around an unreadable one are still paired with themselves."""
        ours, theirs = spans(spaces["gpt2"], "a red ☃ circle"), spans(spaces["word-piece"], "a red ☃ circle")
        pairs = align(ours, theirs)

        assert pairs[0].counts == (1, 1)
        assert sum(pair.source[1] for pair in pairs) == len(ours.ids)
        last = theirs.ids[pairs[-1].target[0] :]
        assert "circle" in decode_rows(spaces["word-piece"], [last])[0]

    def test_nothing_to_align(self, spaces) -> None:
        """Empty rows have no words."""
        empty = spans(spaces["clip"], "")

        assert align(empty, empty) == []
        assert align_tokens(empty, empty) == []

    def test_single_tokens(self, make_pieces) -> None:
        """Tokens are paired where both models have one for the same letters, elsewhere not."""
        ours, theirs = make_pieces([["sun", "flower"], ["red"]]), make_pieces([["sunflower"], ["red"]])
        pairs = align_tokens(spans(ours, "red sunflower red"), spans(theirs, "red sunflower red"))

        assert [(pair.source, pair.target) for pair in pairs] == [((0, 1), (0, 1)), ((3, 1), (2, 1))]


class TestWordTable:
    def test_words_are_read_as_in_a_text(self, source, target) -> None:
        """Each word's tokens are those that it has at the start of a text or behind a word."""
        table = WordTable.build(source, target, ["red", "circle", "triangle", "wander"], max_subtokens=9)

        assert set(table.words) == {"red", "circle", "triangle", "wander"}
        for space, rows in ((source, table.source_ids), (target, table.target_ids)):
            for word, ids in zip(table.words, rows, strict=True):
                (alone, behind) = space.encode([word, f"a {word}"])
                assert list(ids) in (alone, behind[-len(ids) :])

    def test_cases_are_both_counts(self, source, target) -> None:
        """Words are sorted by both numbers of tokens, and the ids of a case are matrices."""
        table = WordTable.build(source, target, vocabulary_words(source, target))

        assert sum(map(len, table.cases.values())) == len(table)
        for (count, other), places in table.cases.items():
            ours, theirs = table.ids((count, other))
            assert ours.shape == (len(places), count)
            assert theirs.shape == (len(places), other)
            assert 1 <= min(count, other) <= max(count, other) <= 4

    def test_round_trip(self, source, target) -> None:
        """Every word comes back from its tokens, in both models."""
        table = WordTable.build(source, target, vocabulary_words(source, target), leading_space="without")

        for space, rows in ((source, table.source_ids), (target, table.target_ids)):
            assert [folded(text) for text in decode_rows(space, rows)] == [folded(word) for word in table.words]

    def test_words_that_one_model_cannot_read(self, spaces) -> None:
        """A word that a model turns into something else is left out."""
        table = WordTable.build(spaces["gpt2"], spaces["word-piece"], ["red", "☃"])

        assert set(table.words) == {"red"}

    def test_limits(self, spaces) -> None:
        """No case is larger than it may be, and no word longer."""
        words = vocabulary_words(spaces["gpt2"], spaces["clip"])
        table = WordTable.build(spaces["gpt2"], spaces["clip"], words, max_subtokens=2, max_examples_per_case=5)

        assert {count for case in table.cases for count in case} <= {1, 2}
        assert all(len(places) <= 5 for places in table.cases.values())

    def test_stops_when_all_cases_are_full(self, spaces) -> None:
        """Words beyond what can be used are not read."""

        def words():
            yield from ["red"] * 4096
            pytest.fail("reads on")

        table = WordTable.build(spaces["gpt2"], spaces["gpt2"], words(), max_subtokens=1, max_examples_per_case=1)
        assert len(table) == 1

    def test_contexts(self, spaces) -> None:
        """With a leading space, without, or both."""
        gpt2, clip = spaces["gpt2"], spaces["clip"]
        (alone,), (spaced,) = gpt2.encode(["red"]), gpt2.encode([" red"])
        read = {
            context: WordTable.build(gpt2, clip, ["red"], leading_space=context).source_ids
            for context in ("with", "without", "both")
        }

        assert read["with"] == (tuple(spaced),)
        assert read["without"] == (tuple(alone),)
        assert set(read["both"]) == {tuple(alone), tuple(spaced)}

    def test_bare_spaces(self, spaces) -> None:
        """Spaces that cannot tell offsets give the same words."""
        words = ["red", "circle", "hill", "blue"]
        table = WordTable.build(spaces["gpt2"], spaces["clip"], words)
        bare = WordTable.build(Bare(spaces["gpt2"]), Bare(spaces["clip"]), words)

        assert bare.source_ids == table.source_ids
        assert bare.target_ids == table.target_ids

    def test_no_words(self, spaces) -> None:
        """No words make an empty table."""
        table = WordTable.build(spaces["gpt2"], spaces["clip"], [])

        assert len(table) == 0
        assert table.cases == {}

    def test_white_space_is_refused(self, spaces) -> None:
        """A phrase is not a word, and the message says so."""
        with pytest.raises(InputError, match="'red circle' is not a word"):
            WordTable.build(spaces["gpt2"], spaces["clip"], ["red circle"])


class TestVocabularyWords:
    def test_covers_both_vocabularies(self, spaces) -> None:
        """What is one token in either model is a word, in the case that the model sees."""
        words = set(vocabulary_words(spaces["gpt2"], spaces["clip"]))

        assert {"circle", "Red", "It"} <= words
        assert not any(word != "".join(word.split()) for word in words)

    def test_pseudo_words_come_last(self, spaces) -> None:
        """Joined words fill the cases that no vocabulary has, behind the real ones."""
        gpt2 = spaces["gpt2"]
        words = vocabulary_words(gpt2, gpt2)
        whole = {text for text in decode_rows(gpt2, gpt2.allowed.nonzero().tolist()) if text}
        first_joined = next(place for place, word in enumerate(words) if word not in whole)

        assert set(words[:first_joined]) == whole
        assert not whole & set(words[first_joined:])

    def test_the_seed_decides(self, spaces) -> None:
        """The same seed gives the same words in the same order, another one another order."""
        pair = spaces["gpt2"], spaces["clip"]

        assert vocabulary_words(*pair) == vocabulary_words(*pair)
        assert vocabulary_words(*pair) != vocabulary_words(*pair, seed=1)

    def test_order_does_not_depend_on_the_list(self) -> None:
        """A word more or less leaves the order of the others as it was."""
        words = [f"w{index}" for index in range(50)]
        most = [word for word in shuffled(words, seed=3) if word != "w7"]

        assert shuffled([word for word in reversed(words) if word != "w7"], seed=3) == most
