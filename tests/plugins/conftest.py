"""A problem small enough to try every prompt, for tests of optimizers over texts; and what all suites share."""

from __future__ import annotations

import itertools

import attrs
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from preimage import catalogue
from preimage.budget import Budget
from preimage.loop import advance, begin
from preimage.problem import BoundTerm, Problem
from preimage.search_space import Constraints, SearchSpace
from preimage.testing.component import import_together
from preimage.testing.toy import ToyObjective
from preimage.text_space import TokenizerSpace
from preimage.track import Track

WIDTH = 6


def pytest_runtest_setup(item):
    """Spare the suites an interpreter each: what needs the same packages is imported in one for all of them."""
    if item.name == "test_importing_leaves_the_process_alone" and item.cls.component:
        needs = catalogue().describe(item.cls.kind, item.cls.component).component.needs
        usable = (provider.component for provider in catalogue().providers if provider.state == "ok")
        import_together(component for component in usable if component.needs == needs)


@attrs.frozen
class Toy:
    """A search space with a problem over it, and the loop to solve it in."""

    space: SearchSpace
    problem: Problem

    def every_loss(self, length):
        """Return the loss of each stable prompt of `length` tokens, by its ids."""
        rows = torch.tensor(list(itertools.product(self.space.allowed_ids.tolist(), repeat=length)))
        rows = rows[self.space.is_stable(rows)]
        losses = self.problem.losses(rows, torch.zeros(len(rows), dtype=torch.int64)).losses
        self.problem.memory.restore(type(self.problem.memory)().to_tensors())
        return dict(zip(map(tuple, rows.tolist()), losses.tolist(), strict=True))

    def neighbours(self, ids):
        """Return every allowed prompt that differs from `ids` in one token."""
        return [
            (*ids[:position], token, *ids[position + 1 :])
            for position in range(len(ids))
            for token in self.space.allowed_ids.tolist()
            if token != ids[position]
        ]

    def begin(self, optimizer, seed=0):
        """Return the searches for all targets at their start."""
        tracks = [Track(target) for target in range(self.problem.n_targets)]
        return begin(self.problem, optimizer, tracks, seed)

    def search(self, optimizer, num_steps, seed=0):
        """Return the only search after some steps."""
        (search,) = searches = self.begin(optimizer, seed)
        advance(self.problem, optimizer, searches, Budget(num_steps=num_steps))
        return search


@pytest.fixture
def words():
    """Return a function that makes a toy of words, in which every prompt is stable."""

    def make(n_words=20, *, n_targets=1, seed=0, **constraints):
        vocabulary = {f"w{index}": index for index in range(n_words)} | {"?": n_words}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return _toy(tokenizer, n_words + 3, n_targets, seed, constraints)

    return make


@pytest.fixture
def letters():
    """Return a function that makes a toy of letters; where two of `pairs` meet they read back as one token."""

    def make(pairs, *, seed=0, **constraints):
        vocabulary = {token: index for index, token in enumerate(["a", "b", "c", "d", "e", "f", *pairs])}
        tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(pair) for pair in pairs]))
        tokenizer.decoder = decoders.Fuse()
        return _toy(tokenizer, len(vocabulary), 1, seed, constraints)

    return make


def _toy(tokenizer, n_rows, n_targets, seed, constraints):
    embedding = torch.randn(n_rows, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    tokens = TokenizerSpace(tokenizer, embedding, name="toy", max_length=16, special_ids=())
    space = SearchSpace(tokens, Constraints(**constraints))
    objective = ToyObjective(tokens, n_targets=n_targets, seed=seed + 1)
    return Toy(space, Problem(space, [BoundTerm("toy", objective)]))
