"""Texts and ids: encoding, decoding, the mask, templates and stability, for four kinds of tokenizer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from preimage.api import Template, TextSpace
from preimage.errors import InputError
from preimage.testing.tokenizers import CORPUS, STYLES, clip_style, gpt2_style
from preimage.text_space import BoundTemplate, TokenizerSpace, template_ids

TEMPLATES = [
    Template(),
    Template("an image of {optim_str}"),
    Template("a photo of {optim_str} on a hill"),
    Template("{optim_str}, in the style of an old painter"),
    Template("{optim_str} or {optim_str}, not {optim_str}."),
]


def space_over(tokenizer: Tokenizer, *, extra_rows: int = 0, **options: object) -> TokenizerSpace:
    rows = tokenizer.get_vocab_size() + extra_rows
    options = {"name": "toy", "max_length": 64, "special_ids": ()} | options
    return TokenizerSpace(tokenizer, torch.zeros(rows, 4), **options)


SPACES = {style: space_over(train(), extra_rows=5) for style, train in STYLES.items()}


@pytest.fixture(params=sorted(SPACES))
def space(request: pytest.FixtureRequest) -> TokenizerSpace:
    return SPACES[request.param]


def stable_one_by_one(space: TokenizerSpace, ids: torch.Tensor, template: Template) -> list[bool]:
    """The slow, obvious way: type each row's text into the template and look at the ids."""
    answers = []
    for row in ids:
        (text,) = space.decode(row[None])
        pieces = template_ids(space, template)
        wanted = list(pieces[0])
        for piece in pieces[1:]:
            wanted += [*row.tolist(), *piece]
        answers.append(space.encode([template.fill(text)])[0] == wanted)
    return answers


def rows_of(space: TokenizerSpace, seed: int, length: int, count: int = 24) -> torch.Tensor:
    """Random rows, and rows that texts are read as, which are mostly stable."""
    generator = torch.Generator().manual_seed(seed)
    allowed = space.allowed.nonzero().flatten()
    random = allowed[torch.randint(len(allowed), (count, length), generator=generator)]
    read = [ids for text in CORPUS[:6] for lead in ("", "an image of ") for ids in space.encode([lead + text])]
    windows = [ids[start : start + length] for ids in read for start in range(0, max(1, len(ids) - length), 3)]
    typed = torch.tensor([window for window in windows if len(window) == length])
    return torch.cat([random, typed]) if len(typed) else random


class TestReading:
    def test_is_a_text_space(self, space: TokenizerSpace) -> None:
        """It has all that the contract asks for."""
        assert isinstance(space, TextSpace)

    def test_decoded_text_is_what_was_typed(self, space: TokenizerSpace) -> None:
        """Words come back with single spaces and none at the ends."""
        (ids,) = space.encode(["  an image   of a red\n circle "])

        assert space.decode(torch.tensor([ids])) == ["an image of a red circle"]

    def test_word_ends_are_spaces(self) -> None:
        """CLIP's mark of a word's end is never shown."""
        space = SPACES["clip"]
        (ids,) = space.encode(["a red circle, or two"])

        assert space.decode(torch.tensor([ids])) == ["a red circle , or two"]

    def test_many_texts_equal_single_ones(self, space: TokenizerSpace) -> None:
        """A batch is read as its texts are one by one."""
        assert space.encode(CORPUS[:6]) == [space.encode([text])[0] for text in CORPUS[:6]]

    def test_offsets_cover_the_words(self, space: TokenizerSpace) -> None:
        """Each token says which letters it stands for, in order; together they are the text, spaces apart."""
        for reading, ids in zip(space.encode_with_offsets(CORPUS[:6]), space.encode(CORPUS[:6]), strict=True):
            covered = {position for start, end in reading.offsets for position in range(start, end)}
            visible = {position for position, letter in enumerate(reading.text) if letter != " "}

            assert list(reading.ids) == ids
            assert list(reading.offsets) == sorted(reading.offsets)
            assert visible <= covered <= set(range(len(reading.text)))

    def test_offsets_are_those_of_the_cleaned_text(self) -> None:
        """Cleaning may move letters, so the text that the offsets speak of comes along."""
        space = space_over(gpt2_style(), clean=lambda text: " ".join(text.split()))
        (reading,) = space.encode_with_offsets(["  an    image"])
        start, end = reading.offsets[-1]

        assert reading.text == "an image"
        assert end == len("an image")
        assert reading.text[start:end].strip()

    @settings(max_examples=200, deadline=None)
    @given(texts=st.lists(st.text(alphabet="aeR' ,.4é\u0301\n\u00a0-Σ", max_size=20), max_size=4))
    @pytest.mark.parametrize("style", sorted(STYLES))
    def test_remembered_words_change_nothing(self, style: str, texts: list[str]) -> None:
        """Texts are read as the tokenizer reads them whole, whether words are remembered or not."""
        space = SPACES[style]

        assert space.encode(texts) == space._encode_whole(texts)
        assert space._reads_words_apart == (style == "clip")

    def test_remembered_words_are_forgotten_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is remembered stays bounded and right."""
        monkeypatch.setattr("preimage.text_space._REMEMBERED_WORDS", 3)
        space = space_over(clip_style())

        for text in CORPUS[:6]:
            assert space.encode([text, "a red"]) == space._encode_whole([text, "a red"])
            assert len(space._words) < 40

    def test_no_text_and_no_ids(self, space: TokenizerSpace) -> None:
        """Nothing is read as nothing."""
        assert space.encode([""]) == [[]]
        assert space.encode([]) == []
        assert space.decode(torch.empty(2, 0, dtype=torch.long)) == ["", ""]

    def test_names_of_special_tokens_are_characters(self) -> None:
        """Typing the name of the end token does not end the prompt."""
        space = SPACES["clip"]
        (ids,) = space.encode(["a <|endoftext|> b"])

        assert len(ids) > 3
        assert not set(ids) & space._own_special_ids

    def test_cleaning_comes_before_encoding(self) -> None:
        """The pipeline's own normalisation is part of reading."""
        space = space_over(gpt2_style(), clean=str.lower)

        assert space.encode(["AN IMAGE"]) == space.encode(["an image"])

    def test_the_original_may_pad_and_truncate(self) -> None:
        """Padding and truncation set on the caller's tokenizer change nothing, before or after."""
        tokenizer = clip_style()
        tokenizer.enable_truncation(2)
        space = space_over(tokenizer)
        tokenizer.enable_padding(length=40)

        assert space.encode(["a red circle"]) == SPACES["clip"].encode(["a red circle"])
        assert tokenizer.truncation["max_length"] == 2

    def test_shape_of_the_embedding(self) -> None:
        """An embedding that is no matrix is refused in a sentence."""
        with pytest.raises(InputError, match=r"shape \(7,\), but a text space needs one row for each token"):
            TokenizerSpace(clip_style(), torch.zeros(7), name="toy", max_length=8, special_ids=())

    def test_no_room(self) -> None:
        """A model in which no token fits is refused in a sentence."""
        with pytest.raises(InputError, match="no prompt fits"):
            space_over(clip_style(), max_length=0)


class TestAllowed:
    def test_only_visible_text(self, space: TokenizerSpace) -> None:
        """What may be proposed can be seen and typed."""
        ids = space.allowed.nonzero()

        for text in space.decode(ids):
            assert text
            assert text.isprintable()
            assert "\ufffd" not in text

    def test_specials_unknown_and_surplus_rows_are_out(self, space: TokenizerSpace) -> None:
        """Special tokens, the unknown one, and rows that belong to no token are never proposed."""
        vocabulary = space._tokenizer.get_vocab()
        named = ["<|startoftext|>", "<|endoftext|>", "<unk>", "</s>", "[UNK]", "[CLS]", "[SEP]", "[PAD]"]
        out = [vocabulary[name] for name in named if name in vocabulary]

        assert out
        assert not space.allowed[out].any()
        assert not space.allowed[-5:].any()
        assert space.allowed.sum() > 50

    def test_callers_specials_are_out(self) -> None:
        """Ids that the model's loader calls special are never proposed, whatever they read like."""
        (token,) = SPACES["clip"].encode(["circle"])[0]

        assert SPACES["clip"].allowed[token]
        assert not space_over(clip_style(), special_ids={token}).allowed[token]

    def test_capitals_only_where_they_are_read(self) -> None:
        """A tokenizer that ignores case proposes no capitals; one that does not, does."""
        for style, expected in (("clip", False), ("gpt2", True)):
            space = SPACES[style]
            texts = space.decode(space.allowed.nonzero())

            assert any(text != text.lower() for text in texts) is expected

    def test_half_characters_are_out(self) -> None:
        """Bytes that are only part of a character are never proposed."""
        space = SPACES["gpt2"]
        part = space._tokenizer.token_to_id("Ã")

        assert not space.allowed[part]


class TestBoundTemplate:
    @pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.text)
    def test_filling_ids_equals_typing(self, space: TokenizerSpace, template: Template) -> None:
        """For stable rows, the ids of the filled text are the filled ids."""
        ids = rows_of(space, seed=1, length=3)
        stable = ids[space.is_stable(ids, template)]
        texts = [template.fill(text) for text in space.decode(stable)]

        assert space.encode(texts) == BoundTemplate(space, template).fill(stable).tolist()

    def test_fill_takes_its_dtype_from_the_ids(self) -> None:
        """Filling neither changes the ids given nor their dtype."""
        bound = BoundTemplate(SPACES["clip"], Template("an image of {optim_str}"))
        ids = torch.tensor([[5, 6]], dtype=torch.int32)

        assert bound.fill(ids).dtype == torch.int32
        assert ids.tolist() == [[5, 6]]

    def test_parts(self) -> None:
        """Prefix, slots and fixed ids are those of the pieces."""
        space = SPACES["clip"]
        bound = BoundTemplate(space, Template("an image of {optim_str} or {optim_str} on a hill"))

        assert bound.prefix.tolist() == space.encode(["an image of"])[0]
        assert bound.n_slots == 2
        assert bound.n_fixed == len(space.encode(["an image of or on a hill"])[0])
        first, second = bound.starts(4)
        assert second == first + 4 + len(space.encode(["or"])[0])

    def test_gather_is_the_gradient_of_fill(self) -> None:
        """Gathering sums what autograd would send back through filling, over all slots."""
        space = SPACES["clip"]
        bound = BoundTemplate(space, TEMPLATES[4])
        ids = torch.arange(10, 16).reshape(2, 3)
        leaf = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
        weights = torch.randn(2, bound.fill(ids).shape[1], 4, dtype=torch.float64)
        pieces = [torch.zeros(2, len(piece), 4, dtype=torch.float64) for piece in template_ids(space, TEMPLATES[4])]
        whole = torch.cat([pieces[0], *(part for piece in pieces[1:] for part in (leaf, piece))], dim=1)
        (expected,) = torch.autograd.grad((whole * weights).sum(), leaf)

        torch.testing.assert_close(bound.gather(weights, 3), expected)

    def test_piece_behind_a_slot_is_read_in_context(self) -> None:
        """A comma behind a slot is not taken for the first word of a text."""
        space = SPACES["unigram"]
        template = Template("{optim_str}, in the style of an old painter")
        ids = torch.tensor(space.encode(["a red circle"]))

        assert space.is_stable(ids, template).tolist() == [True]


class TestStability:
    @pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.text)
    @pytest.mark.parametrize("length", [1, 2, 5])
    def test_batch_equals_one_by_one(self, space: TokenizerSpace, template: Template, length: int) -> None:
        """A batch is judged as its rows are one by one, by typing each text."""
        ids = rows_of(space, seed=length, length=length)

        assert space.is_stable(ids, template).tolist() == stable_one_by_one(space, ids, template)

    @pytest.mark.parametrize("template", TEMPLATES[:4], ids=lambda template: template.text)
    def test_what_was_typed_in_context_is_stable(self, space: TokenizerSpace, template: Template) -> None:
        """Some prompts are stable with every tokenizer: those that people type."""
        (ids,) = space.encode([template.fill("a red circle")])
        bound = BoundTemplate(space, template)
        prompt = torch.tensor([ids[len(bound.prefix) : len(ids) - bound.n_fixed + len(bound.prefix)]])

        assert space.is_stable(prompt, template).all()

    def test_the_leading_space_depends_on_the_template(self) -> None:
        """GPT-2's first token carries the space behind a piece and must not carry one at the start."""
        space = SPACES["gpt2"]
        bare, spaced = (torch.tensor(space.encode([text])) for text in ("circle", " circle"))

        assert bare.tolist() != spaced.tolist()
        assert [bool(space.is_stable(ids, Template())) for ids in (bare, spaced)] == [True, False]
        image = Template("an image of {optim_str}")
        assert [bool(space.is_stable(ids, image)) for ids in (bare, spaced)] == [False, True]

    def test_split_words_are_unstable(self) -> None:
        """Pieces that typing would join are recognised."""
        space = SPACES["clip"]
        letters = [space._tokenizer.token_to_id(piece) for piece in ("r", "e", "d</w>")]

        assert space.decode(torch.tensor([letters])) == ["red"]
        assert not space.is_stable(torch.tensor([letters]), Template()).any()

    def test_text_that_names_a_special_token_is_unstable(self) -> None:
        """Elsewhere it would be read as the end of the prompt."""
        space = SPACES["gpt2"]
        ids = torch.tensor(space.encode(["a<|endoftext|>"]))

        assert not space.is_stable(ids, Template()).any()

    def test_unchanged_by_other_rows(self, space: TokenizerSpace) -> None:
        """Reversing the batch reverses the answers."""
        ids = rows_of(space, seed=3, length=4)

        flipped = space.is_stable(ids.flip(0), TEMPLATES[1]).flip(0)
        assert flipped.tolist() == space.is_stable(ids, TEMPLATES[1]).tolist()

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        style=st.sampled_from(sorted(SPACES)),
        template=st.sampled_from(TEMPLATES),
        picks=st.lists(st.integers(0, 10_000), min_size=1, max_size=6),
    )
    def test_stable_rows_read_back(self, style: str, template: Template, picks: list[int]) -> None:
        """Any stable row: encode(fill(decode(ids))) == fill(ids), and alone as in a batch."""
        space = SPACES[style]
        allowed = space.allowed.nonzero().flatten()
        row = allowed[torch.tensor(picks) % len(allowed)]
        batch = torch.stack([row, row.flip(0)])
        stable = space.is_stable(batch, template)

        assert stable[:1].tolist() == space.is_stable(batch[:1], template).tolist()
        for ids in batch[stable]:
            (text,) = space.decode(ids[None])
            assert space.encode([template.fill(text)]) == BoundTemplate(space, template).fill(ids[None]).tolist()

    @settings(max_examples=60, deadline=None)
    @given(style=st.sampled_from(sorted(SPACES)), text=st.text(max_size=30))
    def test_decoding_twice_changes_nothing(self, style: str, text: str) -> None:
        """A decoded text has neither spaces at its ends nor runs of them, whatever was typed."""
        space = SPACES[style]
        (ids,) = space.encode([text])
        (shown,) = space.decode(torch.tensor([ids], dtype=torch.long))

        assert shown == " ".join(shown.split())


class TestFingerprint:
    def test_equal_for_equal_readers(self) -> None:
        """Two spaces that read alike have one fingerprint, whatever model they belong to."""
        tokenizer = clip_style()
        other = Tokenizer.from_str(tokenizer.to_str())
        other.enable_padding(length=12)

        assert space_over(tokenizer).fingerprint == space_over(other, name="another", extra_rows=3).fingerprint

    def test_differs_with_vocabulary_and_cleaning(self) -> None:
        """Another vocabulary or another normalisation is another reader."""
        fingerprints = {space.fingerprint for space in SPACES.values()}
        fingerprints.add(space_over(clip_style(), clean=str.lower).fingerprint)

        assert len(fingerprints) == len(SPACES) + 1


def test_a_prompt_is_read_as_it_stands_in_its_template():
    """A byte-level tokenizer reads its first word behind other text as another token than alone."""
    corpus = ["an image of red circle", "red circle", "circle red of image"] * 20
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    space = TokenizerSpace(tokenizer, torch.zeros(400, 4), name="bytes", max_length=32, special_ids=())
    alone = space.bound(Template("{optim_str}")).encode(["red circle"])
    behind = space.bound(Template("an image of {optim_str}")).encode(["red circle"])
    assert alone == space.encode(["red circle"])
    assert behind == space.encode([" red circle"])
    assert behind != alone
    assert space.is_stable(torch.tensor(behind), Template("an image of {optim_str}")).all()
