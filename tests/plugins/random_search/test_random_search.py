"""Random search: what it proposes and that it never moves to a worse prompt."""

from __future__ import annotations

import math

import attrs
import pytest
import torch

from preimage.api import Losses, Optimizer
from preimage.budget import Budget
from preimage.errors import OptionError
from preimage.loop import advance
from preimage_random_search import RandomSearch, RandomSearchConfig, RandomSearchState


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def is_uniform(counts):
    """Pearson's test at a level of one in a million (Wilson and Hilferty's approximation)."""
    counts = counts.double()
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum().item()
    freedom = len(counts) - 1
    return statistic < freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3


def nearest(space, token, count, metric):
    """Return the `count` allowed tokens nearest to `token`, by a slow sort."""
    here = space.embedding[token]

    def distance(other):
        there = space.embedding[other]
        if metric == "euclidean":
            return (here - there).norm().item()
        return 1 - torch.cosine_similarity(here, there, dim=0).item()

    others = [other for other in space.allowed_ids.tolist() if other != token]
    return sorted(others, key=distance)[:count]


def test_it_is_an_optimizer_that_asks_for_losses_only(words):
    """It follows the contract, requires nothing, and a step makes one request."""
    toy = words(20)
    optimizer = RandomSearch(RandomSearchConfig(prompt_length=3))
    assert isinstance(optimizer, Optimizer)
    assert optimizer.requires == frozenset()
    assert not optimizer.rowwise

    step = optimizer.step(toy.space, optimizer.start(toy.space, generator(), None), generator())
    request = next(step)
    assert isinstance(request, Losses)
    with pytest.raises(StopIteration):
        step.send(torch.rand(len(request.candidates)))


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_best_of_all_two_token_prompts(words, seed):
    """With several beams and both tokens replaced at once, it ends at the optimum that trying everything finds."""
    toy = words(20, seed=seed)
    losses = toy.every_loss(2)
    config = RandomSearchConfig(prompt_length=2, n_replace=2, search_width=24, beam_width=8)
    best = toy.search(RandomSearch(config), 80, seed).tracks[0].best

    assert best.loss == pytest.approx(min(losses.values()), rel=1e-6)
    assert best.ids == min(losses, key=losses.get)


@pytest.mark.parametrize("options", [{}, {"beam_width": 3}, {"ball": "embedding"}])
@pytest.mark.parametrize("seed", range(3))
def test_it_ends_where_no_replacement_helps(words, options, seed):
    """Replacing one token at a time it may end at a local optimum, but nowhere else."""
    toy = words(20, seed=seed)
    losses = toy.every_loss(2)
    optimizer = RandomSearch(RandomSearchConfig(prompt_length=2, search_width=24, **options))
    current = tuple(toy.search(optimizer, 40, seed).state.current.tolist())

    assert losses[current] <= min(losses[prompt] for prompt in toy.neighbours(current))


@pytest.mark.parametrize("n_beams", [1, 3])
def test_positions_and_tokens_are_drawn_uniformly(words, n_beams):
    """In the L0 ball each position changes equally often, and each other allowed token comes equally often."""
    toy = words(30, banned_words=("w0", "w1"))
    prompts = torch.full((n_beams, 8), 5) + torch.arange(n_beams)[:, None]
    optimizer = RandomSearch(RandomSearchConfig(search_width=90, filter_ids=False))
    rng = generator()
    positions, tokens = torch.zeros(8), torch.zeros(33)
    for _ in range(150):
        candidates = optimizer.propose(toy.space, prompts, rng)
        row, position = (candidates.ids != prompts[candidates.parent]).nonzero(as_tuple=True)
        assert len(row) == len(candidates)
        positions += position.bincount(minlength=8)
        tokens += candidates.ids[row, position].bincount(minlength=33)

    assert is_uniform(positions)
    assert tokens[[0, 1, 30, 31, 32]].sum() == 0
    assert is_uniform(tokens[5 + n_beams : 30])


def test_few_sampled_tokens_are_uniform_over_many_steps(words):
    """Sampling a few tokens for each position, as the original does, favours none of them in the long run."""
    toy = words(30)
    prompts = torch.full((1, 4), 29)
    optimizer = RandomSearch(RandomSearchConfig(search_width=4, n_candidates_per_position=2))
    rng = generator()
    counts = torch.zeros(30)
    for _ in range(800):
        candidates = optimizer.propose(toy.space, prompts, rng).ids
        counts += candidates[candidates != prompts].bincount(minlength=30)

    assert counts[29] == 0
    assert is_uniform(counts[:29])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("n_beams", [1, 3])
def test_a_token_is_replaced_by_neighbours_of_its_own(words, metric, n_beams):
    """In the embedding ball each replacement is near the token at that very place, with several beams too."""
    toy = words(40, banned_words=("w2", "w4"))
    prompts = torch.randint(40, (n_beams, 5), generator=generator())
    config = RandomSearchConfig(
        ball="embedding", metric=metric, nearest_fraction=0.1, n_candidates_per_position=3, search_width=50
    )
    candidates = RandomSearch(config).propose(toy.space, prompts, generator())
    reached = set()
    for row, parent in zip(candidates.ids, candidates.parent.tolist(), strict=True):
        (position,) = (row != prompts[parent]).nonzero().flatten().tolist()
        # A tenth of the 38 allowed tokens, rounded up.
        assert row[position].item() in nearest(toy.space, prompts[parent, position].item(), 4, metric)
        reached.add((parent, position))

    assert len(reached) == 5 * n_beams


def test_the_ball_holds_a_fraction_of_the_vocabulary_or_a_minimum(words):
    """Whichever is more counts, up to all other allowed tokens."""
    toy = words(40)
    prompts = torch.tensor([[3, 7]])
    sizes = {}
    for fraction, minimum in [(0.25, 3), (0.05, 6), (0.05, 256)]:
        config = RandomSearchConfig(ball="embedding", nearest_fraction=fraction, n_candidates_per_position=minimum)
        count = RandomSearch(config).choices(toy.space, prompts, generator()).count
        sizes[fraction, minimum] = count.tolist()

    assert sizes == {(0.25, 3): [[10, 10]], (0.05, 6): [[6, 6]], (0.05, 256): [[39, 39]]}


def test_candidates_are_distinct_and_the_prompts_untouched(words):
    """None is a prompt it was made from, none comes twice, and n_replace tokens change."""
    toy = words(40)
    prompts = torch.randint(40, (2, 5), generator=generator())
    before = prompts.clone()
    candidates = RandomSearch(RandomSearchConfig(n_replace=2)).propose(toy.space, prompts, generator())

    assert len(set(map(tuple, candidates.ids.tolist()))) == len(candidates) == 128
    assert ((candidates.ids != prompts[candidates.parent]).sum(dim=1) == 2).all()
    assert torch.equal(prompts, before)


def test_only_stable_candidates_are_proposed(letters):
    """With the filter every candidate reads back as its ids; without it some do not."""
    toy = letters(["fa", "bf", "cf", "fd"])
    prompts = torch.full((1, 5), 5)
    stable = {}
    for filter_ids in (True, False):
        optimizer = RandomSearch(RandomSearchConfig(search_width=30, filter_ids=filter_ids))
        stable[filter_ids] = toy.space.is_stable(optimizer.propose(toy.space, prompts, generator()).ids)

    assert stable[True].all()
    assert not stable[False].all()


def test_it_goes_on_where_no_candidate_survives(letters):
    """When each neighbour is unstable, the prompt itself is asked for, so that the budget still ends the run."""
    toy = letters([left + right for left in "abcdef" for right in "abcdef"], allowed_words=tuple("abcdef"))
    optimizer = RandomSearch(RandomSearchConfig(optim_str_init="a", search_width=16))
    searches = toy.begin(optimizer)
    searches[0].state = RandomSearchState(prompts=torch.tensor([[5, 0]]))
    advance(toy.problem, optimizer, searches, Budget(max_candidates=4))

    assert searches[0].tracks[0].stop_reason == "max_candidates"
    assert searches[0].state.current.tolist() == [5, 0]


@pytest.mark.parametrize("options", [{}, {"beam_width": 3}, {"ball": "embedding"}])
def test_it_never_moves_to_a_worse_prompt(words, options):
    """The present prompts are among the candidates, so the current loss never rises."""
    toy = words(30)
    optimizer = RandomSearch(RandomSearchConfig(prompt_length=4, search_width=4, **options))
    (search,) = searches = toy.begin(optimizer)
    losses = []
    for num_steps in range(1, 15):
        search.tracks[0].stop_reason = None
        advance(toy.problem, optimizer, searches, Budget(num_steps=num_steps))
        target = torch.zeros(1, dtype=torch.int64)
        losses.append(toy.problem.losses(search.state.current[None], target).losses.item())

    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_the_best_of_old_and_new_are_kept(words):
    """With several beams the lowest losses go on, whether the prompt is old or new, and none is kept twice."""
    toy = words(30)
    optimizer = RandomSearch(RandomSearchConfig(search_width=20, beam_width=3))
    state = RandomSearchState(prompts=torch.tensor([[1, 2, 3], [1, 2, 4], [5, 6, 7]]))
    step = optimizer.step(toy.space, state, generator())
    pool = next(step).candidates
    assert torch.equal(pool[:3], state.prompts)
    assert len(set(map(tuple, pool.tolist()))) == len(pool) == 23

    losses = torch.arange(23.0).flip(0)
    losses[1] = -1.0
    with pytest.raises(StopIteration) as stop:
        step.send(losses)
    assert torch.equal(stop.value.value.prompts, pool[[1, 22, 21]])


def test_one_seed_takes_one_path(words):
    """The same seed gives the same prompts, another seed others."""
    config = RandomSearchConfig(prompt_length=4, search_width=16, beam_width=2)
    prompts = [words(30).search(RandomSearch(config), 8, seed).state.prompts for seed in (1, 1, 2)]

    assert torch.equal(prompts[0], prompts[1])
    assert not torch.equal(prompts[0], prompts[2])


def test_ten_steps_equal_five_and_five_from_saved_fields(words, tmp_path):
    """A state rebuilt from its fields goes on exactly as the one it was taken from."""
    optimizer = RandomSearch(RandomSearchConfig(prompt_length=4, search_width=16, beam_width=2))
    straight = words(30).search(optimizer, 10).state

    toy = words(30)
    search = toy.search(optimizer, 5)
    torch.save(attrs.asdict(search.state), tmp_path / "state")
    search.state = RandomSearchState(**torch.load(tmp_path / "state", weights_only=True))
    search.tracks[0].stop_reason = None
    advance(toy.problem, optimizer, [search], Budget(num_steps=10))

    assert torch.equal(search.state.prompts, straight.prompts)
    assert search.state.done == straight.done


def test_it_is_done_only_where_no_other_prompt_exists(words):
    """With one allowed token the search ends once the prompt holds nothing else."""
    toy = words(5, allowed_words=("w2",))
    search = toy.search(RandomSearch(RandomSearchConfig(optim_str_init="w2 w2")), 5)
    assert search.state.done
    assert search.tracks[0].best.text == "w2 w2"

    pair = words(5, allowed_words=("w2", "w3"))
    assert not pair.search(RandomSearch(RandomSearchConfig(prompt_length=2)), 5).state.done


def test_more_beams_than_candidates_are_refused():
    """The message names both options and what to change."""
    with pytest.raises(OptionError, match="every beam needs a candidate of its own"):
        RandomSearchConfig(beam_width=9, search_width=8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("search_width", 0),
        ("n_candidates_per_position", 0),
        ("nearest_fraction", 0.0),
        ("nearest_fraction", 1.5),
        ("ball", "l2"),
        ("metric", "manhattan"),
    ],
)
def test_options_out_of_range_are_refused_by_name(name, value):
    """The message names the option."""
    with pytest.raises(ValueError, match=name):
        RandomSearchConfig(**{name: value})
