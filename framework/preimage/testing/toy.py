"""A world of 24 words in which the best prompt can be found by trying all of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from preimage.captioning import Captioning
from preimage.problem import BoundTerm, Problem
from preimage.search_space import Constraints, SearchSpace
from preimage.text_space import TokenizerSpace

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["WORDS", "ToyObjective", "brute_force", "toy_problem", "toy_tokens"]

WORDS = (
    *("amber", "birch", "cedar", "dune", "ember", "fern", "grove", "heath", "iris", "jade", "kelp", "lark"),
    *("moss", "night", "oak", "pine", "quartz", "reed", "sand", "thorn", "umber", "vale", "wren", "yarrow"),
)


def toy_tokens(
    *, width: int = 6, seed: int = 0, embedding: Tensor | None = None, words: Sequence[str] = WORDS
) -> TokenizerSpace:
    """Return a space of one token a word and a special one, with embeddings in float64.

    Arguments:
        width: of the random embeddings, ``(V, width)``.
        seed: draws them.
        embedding: of a model, instead of random ones.
        words: the vocabulary, in the order of its ids.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: index for index, word in enumerate([*words, "<end>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<end>"])
    if embedding is None:
        rng = torch.Generator().manual_seed(seed)
        embedding = torch.randn(len(vocabulary), width, generator=rng, dtype=torch.float64)
    return TokenizerSpace(tokenizer, embedding, name="toy", max_length=16, special_ids=(len(words),))


class ToyObjective:
    """The squared distance of a prompt's position-weighted mean embedding from a hidden prompt's.

    The mean couples the positions, so that the best prompt is not found position by position, and the loss is
    smooth, so that its gradient points the right way nearly always.

    Arguments:
        tokens: the space.
        n_targets: how many hidden prompts there are.
        seed: draws them.
    """

    def __init__(self, tokens: TokenizerSpace, *, n_targets: int = 1, seed: int = 1) -> None:
        rng = torch.Generator().manual_seed(seed)
        self.space = tokens
        self.n_targets = n_targets
        self.hidden = torch.randn(n_targets, tokens.embedding.shape[1], generator=rng, dtype=torch.float64)

    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the losses, ``(B,)``."""
        return self._loss(self.space.embedding[candidates], target)

    def loss_and_gradient(self, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses, ``(B,)``, and gradients, ``(B, L, d)``."""
        embeddings = self.space.embedding[candidates].requires_grad_()
        losses = self._loss(embeddings, target)
        (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
        return losses.detach(), gradient

    def next_token_log_probs(self, ids: Tensor, target: Tensor) -> Tensor:
        """Return log-probabilities, ``(B, V)``, that favour words near the hidden prompt."""
        distance = torch.cdist(self.hidden[target], self.space.embedding)
        return torch.log_softmax(-distance, dim=1)

    def _loss(self, embeddings: Tensor, target: Tensor) -> Tensor:
        weights = 1.0 / torch.arange(1, embeddings.shape[1] + 1, dtype=torch.float64)
        mean = torch.einsum("bld,l->bd", embeddings, weights / weights.sum())
        return (mean - self.hidden[target]).square().sum(dim=1)


def toy_problem(
    *, n_targets: int = 1, seed: int = 1, constraints: Constraints | None = None, captioner: Any = None
) -> Problem:
    """Return the problem of finding the hidden prompts of `ToyObjective`.

    Arguments:
        n_targets: how many hidden prompts there are; each has a picture, too.
        seed: draws them.
        constraints: which words may be proposed.
        captioner: under which reference a toy says what the pictures show, where an optimizer asks for captions.

    >>> problem = toy_problem()
    >>> ids, loss = brute_force(problem, length=2)
    >>> len(problem.space.decode(ids[None])[0].split())
    2
    """
    tokens = toy_tokens()
    objective = ToyObjective(tokens, n_targets=n_targets, seed=seed)
    captioning = None
    if captioner is not None:
        from preimage.testing.toy_models import ToyCaptioner, toy_pictures

        reference = captioner if isinstance(captioner, str) else captioner.reference
        captioning = Captioning({reference: ToyCaptioner(seed=seed)}, toy_pictures(n_targets))
    return Problem(SearchSpace(tokens, constraints), [BoundTerm("toy", objective)], captioning=captioning)


def brute_force(problem: Problem, length: int, target: int = 0) -> tuple[Tensor, float]:
    """Return the best prompt of `length` tokens, ``(L,)``, and its loss, by scoring every one of them."""
    allowed = problem.space.allowed_ids.tolist()
    prompts = torch.tensor(list(itertools.product(allowed, repeat=length)))
    losses = problem.losses(prompts, torch.full((len(prompts),), target)).losses
    best = int(losses.argmin())
    return prompts[best], float(losses[best])
