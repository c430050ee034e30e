"""Word lists: what is read, what is left out, and what is said where nothing can be."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from preimage.errors import ConstraintError, InputError, OptionError
from preimage.search_space import SearchSpace
from preimage.text_space import TokenizerSpace
from preimage_interrogator import Interrogator, InterrogatorConfig
from preimage_interrogator.phrases import gather, words_of


def pieces(*tokens):
    """Return a space whose tokenizer knows pieces of words, as BERT's does."""
    vocabulary = {token: index for index, token in enumerate([*tokens, "[UNK]"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    embedding = torch.zeros(len(vocabulary), 2)
    return SearchSpace(TokenizerSpace(tokenizer, embedding, name="toy", max_length=16, special_ids=()))


def written(folder, name, text, encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return str(folder / name)


def test_files_and_phrases_are_lists_in_their_order(words, tmp_path):
    """Each line is a phrase, space is tidied, a phrase comes once, and the first list's are counted."""
    first = written(tmp_path, "first.txt", "\ufeffw1 w2\r\n\r\n  w3   w4 \nw1 w2\n")
    second = written(tmp_path, "second.txt", "w5\nw3 w4\n")
    phrases = gather(words().space, [first, second], ["w6", "w5"])

    assert phrases.texts == ("w1 w2", "w3 w4", "w5", "w6")
    assert phrases.n_first == 2


def test_without_lists_the_words_of_the_model_are_taken(words):
    """So it works out of the box, with the user's bans applied."""
    space = words(5, banned_words=("w1",)).space

    assert gather(space, (), ()).texts == ("w0", "w2", "w3", "w4")
    assert gather(space, ("vocabulary",), ("w2 w3",)).texts == ("w0", "w2", "w3", "w4", "w2 w3")


def test_pieces_of_words_and_marks_are_no_words():
    """A token that is read differently on its own, or that is no letter or digit, is left out."""
    space = pieces("red", "##ing", ",", "star", "##s")

    assert words_of(space) == ["red", "star"]


def test_a_model_without_whole_words_needs_lists():
    """The message says how they are given."""
    with pytest.raises(InputError, match=r"The word list 'vocabulary' has no phrase.*give lists=\[\.\.\.\]"):
        gather(pieces(",", "##s"), (), ())


def test_phrases_with_a_banned_token_are_left_out(words):
    """Whatever else they hold."""
    space = words(6, banned_words=("w3",)).space

    assert gather(space, (), ("w1 w3", "w2", "w4 unknown")).texts == ("w2",)


def test_a_missing_file_is_named(words, tmp_path):
    """The message says how lists are given."""
    with pytest.raises(InputError, match=r"'.*none.txt' cannot be read \(No such file.*one phrase a line"):
        gather(words().space, [str(tmp_path / "none.txt")], ())


def test_a_file_in_another_encoding_is_refused(words, tmp_path):
    """The message says what to do."""
    path = written(tmp_path, "latin.txt", "caf\u00e9", "latin-1")
    with pytest.raises(InputError, match="is no text in UTF-8 .byte 3.: save it as UTF-8"):
        gather(words().space, [path], ())


def test_an_empty_list_is_refused(words, tmp_path):
    """Empty lines do not count."""
    with pytest.raises(InputError, match="empty.txt' has no phrase, so that there is nothing to choose from"):
        gather(words().space, [written(tmp_path, "empty.txt", "\n \n")], ())


def test_a_phrase_that_is_too_long_is_named(words):
    """The message names the phrase and both lengths."""
    with pytest.raises(ConstraintError, match="The phrase 'w1 w1 .* has 17 tokens, but toy has room for 16"):
        gather(words().space, (), ("w2", " ".join(["w1"] * 17)))


def test_a_list_of_nothing_but_banned_phrases_is_refused(words):
    """The message shows one of them and names the options that exclude it."""
    space = words(6, banned_words=("w3",)).space
    with pytest.raises(ConstraintError, match=r"has 2 phrases, such as 'w1 w3'.*banned_words exclude"):
        gather(space, (), ("w1 w3", "w3"))


def test_one_name_is_one_list():
    """A text where a tuple belongs is not taken for its letters."""
    assert InterrogatorConfig(lists="a.txt", phrases="a red star").lists == ("a.txt",)
    assert InterrogatorConfig(phrases="a red star").phrases == ("a red star",)


@pytest.mark.parametrize(
    ("name", "value"), [("search_width", 0), ("intermediate_count", 0), ("max_phrases", 0), ("negative", "yes")]
)
def test_options_out_of_range_are_refused_by_name(name, value):
    """The message names the option."""
    with pytest.raises((ValueError, TypeError), match=name):
        InterrogatorConfig(**{name: value})


def test_more_phrases_than_allowed_cannot_be_demanded():
    """The message holds both numbers."""
    with pytest.raises(OptionError, match="min_phrases is 8 and max_phrases 4"):
        InterrogatorConfig(max_phrases=4)


def test_the_error_is_raised_where_the_search_starts(words):
    """Before anything is asked."""
    optimizer = Interrogator(InterrogatorConfig(lists="nowhere.txt"))
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        optimizer.start(words().space, torch.Generator(), None)
