"""Pruning: words that do nothing or harm are dropped, and every word has its credit."""

from __future__ import annotations

import attrs
import pytest
import torch

from preimage.api import Optimizer
from preimage.errors import ConstraintError
from preimage.problem import BoundTerm, Problem
from preimage.testing.toy import ToyObjective
from preimage_interrogator import Prune, PruneConfig


class Worth(ToyObjective):
    """A loss of minus what each different word of a prompt is worth."""

    def __init__(self, tokens, worth):
        super().__init__(tokens)
        self.worth = torch.zeros(len(tokens.embedding), dtype=torch.float64)
        for token, value in worth.items():
            self.worth[token] = value

    def loss(self, candidates, target):
        return torch.stack([-self.worth[row.unique()].sum() for row in candidates])


@pytest.fixture
def worth(words):
    """Return a function that makes a toy in which words have a worth of their own."""

    def make(**values):
        toy = words(20)
        objective = Worth(toy.space.tokens, {int(word[1:]): value for word, value in values.items()})
        return attrs.evolve(toy, problem=Problem(toy.space, [BoundTerm("worth", objective)]))

    return make


def pruned(text, **options):
    return Prune(PruneConfig(optim_str_init=text, **options))


def slow(toy, ids):
    """Return what is left when the least missed word goes as long as the loss does not rise."""
    ids = tuple(ids)
    while len(ids) > 1:
        shorter = [ids[:place] + ids[place + 1 :] for place in range(len(ids))]
        best = min(shorter, key=lambda prompt: loss_of(toy, prompt))
        if loss_of(toy, best) > loss_of(toy, ids):
            break
        ids = best
    return list(ids)


def loss_of(toy, ids):
    return toy.problem.losses(torch.tensor([ids]), torch.zeros(1, dtype=torch.int64)).losses.item()


def test_it_is_an_optimizer_that_asks_for_losses_only():
    """It follows the contract and requires nothing."""
    assert isinstance(pruned("w1"), Optimizer)
    assert Prune.requires == frozenset()


def test_words_that_do_nothing_are_dropped(worth):
    """What is left are the words of worth, each with its credit."""
    toy = worth(w1=2.0, w2=1.0)
    search = toy.search(pruned("w9 w1 w8 w9 w2 w7"), 50)

    assert toy.space.decode(search.state.current[None]) == ["w1 w2"]
    assert search.state.words == ("w1", "w2")
    assert search.state.credits.tolist() == [2.0, 1.0]
    assert search.tracks[0].stop_reason == "done"


def test_of_two_equal_words_one_stays(worth):
    """Each alone could go, so credits are measured anew after every drop."""
    toy = worth(w1=2.0)
    assert toy.space.decode(toy.search(pruned("w1 w1 w1"), 50).state.current[None]) == ["w1"]


def test_words_that_harm_go_first_and_from_the_result(worth):
    """A lower loss is a new best, and of equal losses that of the shorter prompt."""
    toy = worth(w1=1.0, w5=-3.0, w6=-1.0)
    first = toy.search(pruned("w6 w1 w5 w9"), 1)
    assert first.state.words == ("w6", "w1", "w5", "w9")
    assert first.state.credits.tolist() == [-1.0, 1.0, -3.0, 0.0]
    assert toy.space.decode(first.state.current[None]) == ["w6 w1 w9"]

    search = toy.search(pruned("w6 w1 w5 w9"), 50)
    assert toy.space.decode(search.state.current[None]) == ["w1"]
    assert search.tracks[0].best.text == "w1"


def test_rises_do_not_add_up_to_more_than_the_tolerance(worth):
    """Each word alone could go, but not two of them."""
    toy = worth(w1=0.4, w2=0.4, w3=0.4)

    assert len(toy.search(pruned("w1 w2 w3", tolerance=0.3), 50).state.current) == 3
    assert len(toy.search(pruned("w1 w2 w3", tolerance=0.5), 50).state.current) == 2
    assert len(toy.search(pruned("w1 w2 w3", tolerance=9.0), 50).state.current) == 1


@pytest.mark.parametrize("seed", range(5))
def test_it_ends_where_a_slow_search_does(words, seed):
    """Whatever the prompt: the same words are left, and dropping another would raise the loss."""
    toy = words(20, seed=seed)
    ids = torch.randint(20, (7,), generator=torch.Generator().manual_seed(seed)).tolist()
    text = " ".join(f"w{token}" for token in ids)
    search = toy.search(pruned(text), 50)

    assert search.state.current.tolist() == slow(toy, ids)
    assert list(search.tracks[0].best.ids) == search.state.current.tolist()
    assert (search.state.credits > 0).all()


def test_the_only_word_stays(worth):
    """It cannot be left out, whatever it is worth."""
    search = worth(w1=-1.0).search(pruned("w1"), 5)

    assert search.state.done
    assert search.state.current.tolist() == [1]
    assert search.state.credits.tolist() == [float("inf")]


def test_a_word_of_several_tokens_goes_as_a_whole(letters):
    """Words are what spaces separate, not tokens."""
    toy = letters([])
    optimizer = pruned("abcd")
    state = optimizer.start(toy.space, torch.Generator(), None)
    request = next(optimizer.step(toy.space, state, torch.Generator()))

    assert request.candidates.tolist() == [[0, 1, 2, 3]]


def test_there_must_be_something_to_prune(words):
    """The message says where a prompt comes from."""
    with pytest.raises(ConstraintError, match="no prompt to prune: give it as optim_str_init, or put prune behind"):
        Prune(PruneConfig()).start(words().space, torch.Generator(), None)


def test_a_negative_tolerance_is_refused():
    """The message names the option."""
    with pytest.raises(ValueError, match="tolerance"):
        PruneConfig(tolerance=-0.1)
