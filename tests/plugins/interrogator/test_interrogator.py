"""The interrogator: its ranking is exact, and its chain the one that slow greedy search finds."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from preimage.api import Losses, Optimizer
from preimage.budget import Budget
from preimage.loop import advance
from preimage_interrogator import Interrogator, InterrogatorConfig, InterrogatorState


def loss_of(toy, ids):
    target = torch.zeros(1, dtype=torch.int64)
    return toy.problem.losses(torch.tensor([ids]), target).losses.item()


def greedy(toy, start=(), *, phrases=None, negative=False, min_phrases=0, max_phrases=32):
    """Return the chain of a slow search that tries every phrase in every round."""
    sign = -1 if negative else 1
    left = [(token,) for token in toy.space.allowed_ids.tolist()] if phrases is None else list(phrases)
    chain, chained = tuple(start), 0
    while left and chained < max_phrases:
        fitting = [phrase for phrase in left if len(chain + phrase) <= toy.space.max_length]
        if not fitting:
            break
        best = min(fitting, key=lambda phrase: sign * loss_of(toy, chain + phrase))
        if chain and chained >= min_phrases and sign * loss_of(toy, chain + best) >= sign * loss_of(toy, chain):
            break
        left.remove(best)
        chain, chained = chain + best, chained + 1
    return list(chain)


def interrogator(**options):
    return Interrogator(InterrogatorConfig(**{"min_phrases": 0} | options))


def requests_of(optimizer, toy, state):
    """Return what a step asks about, with losses of zero for answers."""
    step, requests, answer = optimizer.step(toy.space, state, torch.Generator()), [], None
    while True:
        try:
            request = step.send(answer)
        except StopIteration:
            return requests
        requests.append(request)
        answer = torch.zeros(len(request.candidates), dtype=torch.float64)


def test_it_is_an_optimizer_that_asks_for_losses_only(words):
    """It follows the contract, requires nothing, and begins with an empty chain."""
    optimizer = interrogator()
    assert isinstance(optimizer, Optimizer)
    assert optimizer.requires == frozenset()
    state = optimizer.start(words(20).space, torch.Generator(), None)
    assert isinstance(state, InterrogatorState)
    assert state.current.tolist() == []
    (request,) = requests_of(optimizer, words(20), state)
    assert isinstance(request, Losses)
    assert request.candidates.tolist() == [[token] for token in range(20)]


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("search_width", [7, 20, 64])
@pytest.mark.parametrize("seed", range(3))
def test_the_ranking_of_several_chunks_is_the_sorted_truth(words, negative, search_width, seed):
    """However many steps a round takes, the order is that of all losses, in both directions."""
    toy = words(20, seed=seed)
    truth = {ids[0]: loss for ids, loss in toy.every_loss(1).items()}
    state = toy.search(interrogator(search_width=search_width, negative=negative), math.ceil(20 / search_width)).state

    assert state.ranking.tolist() == sorted(truth, key=truth.get, reverse=negative)
    assert state.ranked_losses.tolist() == sorted(truth.values(), reverse=negative)
    assert state.current.tolist() == state.ranking[:1].tolist()


@pytest.mark.parametrize("search_width", [3, 512])
@pytest.mark.parametrize("start", [None, "w3 w8"])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_chain_is_that_of_a_slow_greedy_search(words, search_width, start, negative, seed):
    """From nothing and from a text, in both directions, whatever the width of a step."""
    toy = words(20, seed=seed)
    search = toy.search(interrogator(search_width=search_width, optim_str_init=start, negative=negative), 200)
    given = (3, 8) if start else ()

    assert search.state.current.tolist() == greedy(toy, given, negative=negative)
    assert search.state.done
    assert search.tracks[0].stop_reason == "done"


@pytest.mark.parametrize("seed", range(3))
def test_the_best_prompt_is_the_chain_where_each_phrase_helps(words, seed):
    """What the host keeps is what was built."""
    search = words(20, seed=seed).search(interrogator(), 200)

    assert list(search.tracks[0].best.ids) == search.state.current.tolist()
    assert search.tracks[0].best.loss == pytest.approx(search.state.loss)


def test_so_many_phrases_are_chained_whether_they_help_or_not(words):
    """The chain grows to the minimum and not beyond the maximum; the best stays the lowest loss."""
    toy = words(20)
    search = toy.search(interrogator(min_phrases=9, max_phrases=9), 200)
    assert search.state.current.tolist() == greedy(toy, min_phrases=9, max_phrases=9)
    assert len(search.state.chained) == 9
    assert search.tracks[0].best.loss < search.state.loss

    assert len(toy.search(interrogator(max_phrases=2), 200).state.current) == 2


def test_phrases_of_different_lengths_are_asked_about_by_length(words):
    """No row is padded, and the answers come back to the phrases they belong to."""
    toy = words(20)
    optimizer = interrogator(phrases=("w1 w2 w3", "w4", "w5 w6", "w7"))
    requests = requests_of(optimizer, toy, optimizer.start(toy.space, torch.Generator(), None))
    assert [request.candidates.tolist() for request in requests] == [[[4], [7]], [[5, 6]], [[1, 2, 3]]]

    phrases = [(1, 2, 3), (4,), (5, 6), (7,)]
    assert toy.search(optimizer, 50).state.current.tolist() == greedy(toy, phrases=phrases)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{"beam_width": 400}, {"strategy": "uniform-cost", "frontier_size": 400}])
def test_with_every_chain_in_play_it_finds_the_best_of_all(words, options, seed):
    """Where no chain is given up, the end is the optimum that trying everything finds; greedily it need not be."""
    toy = words(12, seed=seed)
    options = {"max_phrases": 3, "min_phrases": 3, "intermediate_count": 12, **options}
    search = toy.search(interrogator(**options), 10_000)
    truth = min(itertools.permutations(range(12), 3), key=lambda chain: loss_of(toy, chain))
    chains = [chain for size in (1, 2, 3) for chain in itertools.permutations(range(12), size)]

    assert search.state.done
    assert search.tracks[0].best.loss == pytest.approx(min(loss_of(toy, chain) for chain in chains))
    if "beam_width" in options:
        assert loss_of(toy, search.state.current.tolist()) == pytest.approx(loss_of(toy, truth))


def test_a_beam_keeps_the_best_chains_in_play(words):
    """After a round the state has as many chains as the beam is wide, those of a slow search, the best first."""
    toy = words(15)
    state = toy.search(interrogator(beam_width=3), 2).state
    level = [()]
    for _ in range(2):
        longer = [(*chain, token) for chain in level for token in range(15) if token not in chain]
        level = sorted(longer, key=lambda chain: loss_of(toy, chain))[:3]

    assert [ids for ids, _, _ in state.chains] == level
    assert [loss for _, _, loss in state.chains] == pytest.approx([loss_of(toy, chain) for chain in level])
    assert state.current.tolist() == list(level[0])


@pytest.mark.parametrize("seed", range(4))
def test_the_first_phrase_is_of_the_first_list(words, tmp_path, seed):
    """Later ones are of the others."""
    (tmp_path / "first.txt").write_text("w1\nw2\nw3")
    (tmp_path / "second.txt").write_text("\n".join(f"w{number}" for number in range(3, 15)))
    lists = (str(tmp_path / "first.txt"), str(tmp_path / "second.txt"))
    toy = words(20, seed=seed)
    first, *later = toy.search(interrogator(lists=lists, min_phrases=4), 50).state.current.tolist()

    assert first == min((1, 2, 3), key=lambda token: loss_of(toy, (token,)))
    assert len(later) >= 3
    assert set(later) <= set(range(4, 15))


def test_behind_a_text_all_lists_are_alike(words, tmp_path):
    """The text stands in the place of the first phrase."""
    (tmp_path / "first.txt").write_text("w1\nw2\nw3")
    options = {"lists": str(tmp_path / "first.txt"), "phrases": tuple(f"w{number}" for number in range(4, 20))}
    toy = words(20)
    chain = toy.search(interrogator(optim_str_init="w0", **options), 50).state.current.tolist()

    assert chain == greedy(toy, (0,), phrases=[(token,) for token in range(1, 20)])


def test_later_rounds_try_the_best_of_the_first(words):
    """No more than asked for, in the order of the ranking."""
    toy = words(20)
    state = toy.search(interrogator(intermediate_count=5), 1).state

    assert state.pool.tolist() == state.ranking[1:6].tolist()


def test_a_step_asks_about_no_more_than_its_width(words):
    """And about the chain, whose loss the host remembers."""
    toy = words(20)
    optimizer = interrogator(search_width=6, optim_str_init="w1 w2")
    (search,) = toy.begin(optimizer)
    alone, longer = requests_of(optimizer, toy, search.state)

    assert alone.candidates.tolist() == [[1, 2]]
    assert longer.candidates.tolist() == [[1, 2, token] for token in range(6)]


def test_the_separator_stands_between_phrases(words):
    """Where the search may not propose it, a space does."""
    toy = words(20)
    allowed = toy.search(interrogator(separator=" w0 ", phrases=("w1", "w2"), min_phrases=2), 9).state.current
    banned = words(20, banned_words=("w0",))
    without = banned.search(interrogator(separator=" w0 ", phrases=("w1", "w2"), min_phrases=2), 9).state.current

    assert sorted(allowed.tolist()) == [0, 1, 2]
    assert allowed[1] == 0
    assert sorted(without.tolist()) == [1, 2]


def test_it_ends_where_nothing_fits(words):
    """A text that fills the model is the result, and a phrase too long for the rest is passed over."""
    toy = words(20)
    full = toy.search(interrogator(optim_str_init=" ".join(["w1"] * 16), min_phrases=8), 9)
    assert full.state.done
    assert full.state.current.tolist() == [1] * 16

    phrases = ("w2 w3 w4", "w5")
    chain = toy.search(interrogator(optim_str_init=" ".join(["w1"] * 14), phrases=phrases, min_phrases=8), 9).state
    assert chain.current.tolist() == [1] * 14 + [5]
    assert chain.done


def test_a_token_of_the_start_may_stay_whatever_it_is(words):
    """A ban keeps words from being proposed, and not the given text from being extended."""
    toy = words(20, banned_words=("w1",))
    chain = toy.search(interrogator(optim_str_init="w1 w1", min_phrases=3), 9).state.current.tolist()

    assert chain[:2] == [1, 1]
    assert len(chain) >= 5
    assert 1 not in chain[2:]


def test_a_budget_in_the_middle_of_a_round_keeps_the_best_so_far(words):
    """The round's losses wait in the state until it is complete."""
    toy = words(20)
    optimizer = interrogator(search_width=8)
    (search,) = searches = toy.begin(optimizer)
    advance(toy.problem, optimizer, searches, Budget(max_candidates=18))

    assert search.tracks[0].stop_reason == "max_candidates"
    assert len(search.state.losses) == 16
    assert search.state.current.tolist() == []
    assert search.tracks[0].best.loss <= float(search.state.losses.min())
