"""Small text spaces: tokenizers trained here, and one whose pieces are chosen by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from preimage.testing.tokenizers import STYLES
from preimage.text_space import TokenizerSpace


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
