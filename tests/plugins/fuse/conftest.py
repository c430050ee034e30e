"""Small text spaces: tokenizers trained here, and one whose pieces are chosen by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from preimage.text_space import TokenizerSpace

CORPUS = [
    "an image of a red circle, or a blue square on a hill",
    "the quick brown fox jumps over the lazy dog and it's a small, striped triangle",
    "a large yellow star above two green dots; behind them a dark sky",
    "a photo of something soft and warm, in the style of an old painter",
    "Red circles. Blue squares! An image of the hill? It's hers, not his.",
    "wherever people wander they will remember what the water was like",
] * 8
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clip_style() -> Tokenizer:
    """Return a byte-level BPE with word ends, without case."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=250, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator([text.lower() for text in CORPUS], trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in merges)]
    special = ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *special])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return tokenizer


def gpt2_style() -> Tokenizer:
    """Return a byte-level BPE whose tokens hold the space before a word, with case."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def unigram_style() -> Tokenizer:
    """Return a unigram model with marked word starts, as in T5."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def word_piece_style() -> Tokenizer:
    """Return a model with marked continuations that drops case and accents, as in BERT, and pads on its own."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


STYLES: dict[str, Callable[[], Tokenizer]] = {
    "clip": clip_style,
    "gpt2": gpt2_style,
    "unigram": unigram_style,
    "word-piece": word_piece_style,
}


def space_over(tokenizer: Tokenizer, *, width: int = 8, seed: int = 0, name: str = "toy") -> TokenizerSpace:
    """Return a space with random embeddings in double precision."""
    rng = torch.Generator().manual_seed(seed)
    embedding = torch.randn(tokenizer.get_vocab_size(), width, generator=rng, dtype=torch.float64)
    return TokenizerSpace(tokenizer, embedding, name=name, max_length=64, special_ids=())


def pieces(words: Sequence[Sequence[str]], *, width: int = 6, seed: int = 0, name: str = "pieces") -> TokenizerSpace:
    """Return a space that reads each of `words` as the pieces it is given in."""
    marked = {("##" if place else "") + piece for word in words for place, piece in enumerate(word)}
    vocabulary = {piece: index for index, piece in enumerate(["[UNK]", "a", *sorted(marked - {"a"})])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return space_over(tokenizer, width=width, seed=seed, name=name)


@pytest.fixture(scope="session")
def spaces() -> dict[str, TokenizerSpace]:
    """Return a space for each kind of tokenizer."""
    return {
        style: space_over(train(), width=6 + place, seed=place, name=style)
        for place, (style, train) in enumerate(STYLES.items())
    }


@pytest.fixture(params=sorted(STYLES))
def source(request: pytest.FixtureRequest, spaces: dict[str, TokenizerSpace]) -> TokenizerSpace:
    """Return each space in turn."""
    return spaces[request.param]


@pytest.fixture(params=sorted(STYLES))
def target(request: pytest.FixtureRequest, spaces: dict[str, TokenizerSpace]) -> TokenizerSpace:
    """Return each space in turn."""
    return spaces[request.param]


@pytest.fixture
def make_pieces() -> Callable[..., TokenizerSpace]:
    """Return the function `pieces`."""
    return pieces
