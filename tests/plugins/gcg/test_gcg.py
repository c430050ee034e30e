"""Greedy coordinate gradient: what it proposes and where it moves."""

from __future__ import annotations

import math

import attrs
import pytest
import torch

from preimage.api import Gradients, Losses, Optimizer
from preimage.budget import Budget
from preimage.candidates import Candidates
from preimage.errors import OptionError
from preimage.loop import advance
from preimage_gcg import GCG, GCGConfig, GCGState


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def is_uniform(counts):
    """Pearson's test at a level of one in a million (Wilson and Hilferty's approximation)."""
    counts = counts.double()
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum().item()
    freedom = len(counts) - 1
    return statistic < freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3


def gradient_at(toy, prompts):
    target = torch.zeros(len(prompts), dtype=torch.int64)
    return toy.problem.losses_and_gradients(prompts, target).gradient


def fields_of(state):
    return {field.name: getattr(state, field.name) for field in attrs.fields(type(state))}


def assert_same(left, right):
    for name, value in fields_of(left).items():
        other = getattr(right, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def state_of(prompts, losses):
    prompts = torch.tensor(prompts)
    velocity = torch.arange(float(prompts.numel())).reshape(*prompts.shape, 1)
    return GCGState(prompts=prompts, losses=torch.tensor(losses), velocity=velocity)


def test_it_is_an_optimizer_that_asks_for_gradients():
    """It follows the contract and says what it requires."""
    optimizer = GCG(GCGConfig())

    assert isinstance(optimizer, Optimizer)
    assert optimizer.requires == {"gradient"}
    assert not optimizer.rowwise
    assert optimizer.State is GCGState


@pytest.mark.parametrize("options", [{}, {"beam_width": 3, "search_width": 12}, {"beam_width": 2, "momentum": 0.4}])
@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_best_of_all_two_token_prompts(words, options, seed):
    """Where a step sees part of the neighbours only, it gets to the optimum that trying everything finds."""
    toy = words(20, seed=seed)
    losses = toy.every_loss(2)
    optimizer = GCG(GCGConfig(**{"prompt_length": 2, "search_width": 6, **options}))
    best = toy.search(optimizer, 150, seed).tracks[0].best

    assert best.loss == pytest.approx(min(losses.values()), rel=1e-6)
    assert best.ids == min(losses, key=losses.get)


@pytest.mark.parametrize("options", [{}, {"beam_width": 2, "momentum": 0.4}])
@pytest.mark.parametrize("seed", range(4))
def test_with_a_buffer_it_ends_where_no_replacement_helps(words, options, seed):
    """A monotone search may end at a local optimum, but nowhere else."""
    toy = words(20, seed=seed)
    losses = toy.every_loss(2)
    optimizer = GCG(GCGConfig(prompt_length=2, search_width=24, topk=19, buffer_size=5, **options))
    current = tuple(toy.search(optimizer, 30, seed).state.current.tolist())

    assert losses[current] <= min(losses[prompt] for prompt in toy.neighbours(current))


def test_the_proposed_tokens_are_those_the_gradient_favours(words):
    """Every proposed token is among the k lowest of gradient times embedding, by a slow sort."""
    toy = words(40, banned_words=("w1", "w2"))
    prompts = torch.randint(3, 40, (2, 5), generator=generator())
    gradient = gradient_at(toy, prompts)
    candidates = GCG(GCGConfig(topk=6, search_width=50)).propose(toy.space, prompts, gradient, generator())
    for row, parent in zip(candidates.ids, candidates.parent, strict=True):
        (position,) = (row != prompts[parent]).nonzero().flatten()
        others = [token for token in toy.space.allowed_ids.tolist() if token != prompts[parent, position]]
        change = {token: (gradient[parent, position] @ toy.space.embedding[token]).item() for token in others}
        assert row[position].item() in sorted(others, key=change.get)[:6]


def test_positions_are_sampled_uniformly(words):
    """Each of 16 positions is changed equally often, whatever the gradient's size there."""
    toy = words(40)
    prompts = torch.randint(40, (1, 16), generator=generator())
    gradient = gradient_at(toy, prompts) * torch.logspace(-3, 3, 16)[:, None]
    optimizer = GCG(GCGConfig(topk=39, search_width=128, filter_ids=False))
    rng = generator()
    counts = sum((optimizer.propose(toy.space, prompts, gradient, rng).ids != prompts).sum(dim=0) for _ in range(60))

    assert is_uniform(counts)


def test_a_vanished_gradient_proposes_every_allowed_token_equally_often(words):
    """A gradient of zeros favours nothing: no low ids, no banned ones, not the token that stands there."""
    toy = words(30, banned_words=("w0",))
    prompts = torch.full((1, 3), 7)
    zero = torch.zeros(1, 3, toy.space.embedding.shape[1])
    optimizer = GCG(GCGConfig(topk=4, search_width=8))
    rng = generator()
    counts = torch.zeros(33, dtype=torch.int64)
    for _ in range(600):
        candidates = optimizer.propose(toy.space, prompts, zero, rng).ids
        counts += candidates[candidates != prompts].bincount(minlength=33)

    assert is_uniform(counts[counts > 0])
    assert (counts > 0).nonzero().flatten().tolist() == [*range(1, 7), *range(8, 30)]


def test_ten_allowed_tokens_are_enough(words):
    """With fewer allowed tokens than topk no banned one is ever proposed, in any step."""
    toy = words(40, allowed_words=tuple(f"w{index}" for index in range(10)))
    optimizer = GCG(GCGConfig(optim_str_init="w30 w31 w32", search_width=64))
    candidates = optimizer.propose(
        toy.space, torch.tensor([[30, 31, 32]]), gradient_at(toy, torch.tensor([[30, 31, 32]])), generator()
    )
    assert len(candidates) == 30  # All neighbours.

    search = toy.search(optimizer, 10)
    assert (search.state.prompts < 10).all()


@pytest.mark.parametrize("n_replace", [1, 2, 3])
def test_candidates_are_distinct_and_change_as_many_tokens_as_asked(words, n_replace):
    """None is a prompt it was made from, none comes twice, and the prompts stay untouched."""
    toy = words(40)
    prompts = torch.randint(40, (3, 5), generator=generator())
    gradient = gradient_at(toy, prompts)
    before, gradient_before = prompts.clone(), gradient.clone()
    optimizer = GCG(GCGConfig(n_replace=n_replace, search_width=90, topk=10))
    candidates = optimizer.propose(toy.space, prompts, gradient, generator())

    assert len(set(map(tuple, candidates.ids.tolist()))) == len(candidates) == 90
    assert ((candidates.ids != prompts[candidates.parent]).sum(dim=1) == n_replace).all()
    assert torch.equal(prompts, before)
    assert torch.equal(gradient, gradient_before)


def test_half_precision_gradients_are_multiplied_in_single(words):
    """What is proposed equals what the same numbers in single precision propose."""
    toy = words(40)
    prompts = torch.randint(40, (1, 5), generator=generator())
    half = gradient_at(toy, prompts).to(torch.bfloat16)
    optimizer = GCG(GCGConfig(search_width=16, topk=4))
    left = optimizer.propose(toy.space, prompts, half, generator())
    right = optimizer.propose(toy.space, prompts, half.float(), generator())

    assert torch.equal(left.ids, right.ids)


def test_only_stable_candidates_are_asked_for(letters):
    """With the filter every candidate reads back as its ids; without it some do not."""
    toy = letters(["fa", "bf", "cf", "fd"])
    asked = {}
    for filter_ids in (True, False):
        optimizer = GCG(GCGConfig(optim_str_init="fffff", search_width=40, filter_ids=filter_ids))
        state = optimizer.start(toy.space, generator(), None)
        step = optimizer.step(toy.space, state, generator())
        request = next(step)
        asked[filter_ids] = step.send((torch.zeros(1), gradient_at(toy, request.candidates))).candidates

    assert toy.space.is_stable(asked[True]).all()
    assert not toy.space.is_stable(asked[False]).all()


def test_it_stays_where_no_candidate_survives(letters):
    """When each neighbour is unstable the state stays, and the next step draws other candidates."""
    toy = letters([left + right for left in "abcdef" for right in "abcdef"], allowed_words=tuple("abcdef"))
    optimizer = GCG(GCGConfig(optim_str_init="fa", search_width=16))
    search = toy.search(optimizer, 3)
    assert search.tracks[0].step == 3

    pair = GCG(GCGConfig(search_width=16))
    rng = generator()
    state = pair.start(toy.space, rng, torch.tensor([5, 0]))
    step = pair.step(toy.space, state, rng)
    drawn = rng.get_state()
    next(step)
    with pytest.raises(StopIteration) as stop:
        step.send((torch.tensor([1.5]), torch.zeros(1, 2, toy.space.embedding.shape[1])))
    stayed = stop.value.value

    assert stayed.current.tolist() == [5, 0]
    assert stayed.losses.tolist() == [1.5]
    assert not stayed.done
    assert not torch.equal(rng.get_state(), drawn)


def test_it_is_done_only_where_no_other_prompt_exists(words):
    """With one allowed token the only prompt is the last; with two there is always another."""
    single = words(5, allowed_words=("w2",))
    optimizer = GCG(GCGConfig(optim_str_init="w2 w2"))
    assert optimizer.start(single.space, generator(), None).done
    assert not GCG(GCGConfig(optim_str_init="w2 w3")).start(single.space, generator(), None).done
    assert single.search(GCG(GCGConfig(optim_str_init="w2 w3")), 5).tracks[0].best is not None
    assert not words(5, allowed_words=("w2", "w3")).search(GCG(GCGConfig(prompt_length=2)), 5).state.done


def test_one_seed_takes_one_path(words):
    """The same seed gives the same states, another seed others."""
    options = GCGConfig(prompt_length=4, search_width=16, buffer_size=3, beam_width=2, momentum=0.5)
    states = [words(30).search(GCG(options), 8, seed).state for seed in (1, 1, 2)]

    assert_same(states[0], states[1])
    assert not torch.equal(states[0].prompts, states[2].prompts)


@pytest.mark.parametrize("options", [{}, {"buffer_size": 4, "beam_width": 2, "momentum": 0.5}])
def test_ten_steps_equal_five_and_five_from_saved_fields(words, options, tmp_path):
    """A state rebuilt from its fields goes on exactly as the one it was taken from."""
    optimizer = GCG(GCGConfig(prompt_length=4, search_width=16, **options))
    straight = words(30).search(optimizer, 10).state

    toy = words(30)
    search = toy.search(optimizer, 5)
    torch.save(fields_of(search.state), tmp_path / "state")
    search.state = GCGState(**torch.load(tmp_path / "state", weights_only=True))
    search.tracks[0].stop_reason = None
    advance(toy.problem, optimizer, [search], Budget(num_steps=10))

    assert_same(search.state, straight)


def test_states_are_immutable(words):
    """A step returns a new state and leaves the old one as it was."""
    toy = words(30)
    optimizer = GCG(GCGConfig(prompt_length=4, search_width=16, buffer_size=3))
    search = toy.search(optimizer, 3)
    old = search.state
    copy = {name: value.clone() if torch.is_tensor(value) else value for name, value in fields_of(old).items()}
    search.tracks[0].stop_reason = None
    advance(toy.problem, optimizer, [search], Budget(num_steps=6))

    assert_same(old, GCGState(**copy))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        old.done = True


def test_runs_in_company_take_the_path_of_runs_alone(words):
    """Two targets in lockstep end where each ends by itself."""
    toy = words(30, n_targets=2)
    optimizer = GCG(GCGConfig(prompt_length=3, search_width=16))
    together = toy.begin(optimizer, 5)
    advance(toy.problem, optimizer, together, Budget(num_steps=6))
    alone = words(30, n_targets=2)
    for search, single in zip(together, alone.begin(optimizer, 5), strict=True):
        advance(alone.problem, optimizer, [single], Budget(num_steps=6))
        assert torch.equal(search.state.prompts, single.state.prompts)
        # Sums over a larger batch may be rounded differently.
        torch.testing.assert_close(search.state.losses, single.state.losses)
        torch.testing.assert_close(search.state.velocity, single.state.velocity)


def test_momentum_adds_up_the_gradients_with_decay(words):
    """The velocity of the only beam is the sum of all gradients on its path, older ones weighing less."""
    toy = words(30)
    optimizer = GCG(GCGConfig(prompt_length=3, search_width=16, momentum=0.6))
    rng = generator()
    state = optimizer.start(toy.space, rng, None)
    gradients = []
    for _ in range(5):
        step = optimizer.step(toy.space, state, rng)
        request, target = next(step), torch.zeros(1, dtype=torch.int64)
        answer = toy.problem.losses_and_gradients(request.candidates, target)
        gradients.append(answer.gradient)
        request = step.send((answer.losses, answer.gradient))
        target = torch.zeros(len(request.candidates), dtype=torch.int64)
        with pytest.raises(StopIteration) as stop:
            step.send(toy.problem.losses(request.candidates, target).losses)
        state = stop.value.value
    expected = sum(0.6 ** (4 - index) * gradient for index, gradient in enumerate(gradients))

    torch.testing.assert_close(state.velocity, expected.float())


def test_momentum_decides_what_is_proposed(words):
    """The proposals of a step follow the velocity, not the gradient alone."""
    toy = words(40)
    optimizer = GCG(GCGConfig(prompt_length=3, search_width=3, topk=1, momentum=0.9))
    prompts = torch.tensor([[1, 2, 3]])
    push = torch.zeros(1, 3, toy.space.embedding.shape[1])
    push[..., :] = -1000 * toy.space.embedding[9]
    state = GCGState(prompts=prompts, losses=torch.zeros(1), velocity=push)
    step = optimizer.step(toy.space, state, generator())
    next(step)
    proposed = step.send((torch.zeros(1), gradient_at(toy, prompts))).candidates
    favourite = (toy.space.embedding[:40] @ toy.space.embedding[9]).argmax()

    assert (proposed[proposed != prompts] == favourite).all()


def test_momentum_follows_a_prompt_from_its_parent():
    """A candidate takes on the velocity of the beam that it was made from."""
    state = state_of([[1, 1], [2, 2]], [5.0, 6.0])
    candidates = Candidates(torch.tensor([[3, 1], [2, 4], [5, 2]]), torch.tensor([0, 1, 1]))
    moved = state.moved(candidates, torch.tensor([9.0, 8.0, 7.0]), 2, 0)

    assert moved.prompts.tolist() == [[5, 2], [2, 4]]
    assert torch.equal(moved.velocity, state.velocity[[1, 1]])


def test_without_a_buffer_it_moves_to_the_best_candidate_even_if_worse():
    """The old prompt is given up."""
    state = state_of([[1, 1]], [1.0])
    candidates = Candidates(torch.tensor([[3, 1], [2, 1]]), torch.tensor([0, 0]))
    moved = state.moved(candidates, torch.tensor([9.0, 8.0]), 1, 0)

    assert moved.current.tolist() == [2, 1]
    assert moved.losses.tolist() == [8.0]


def test_the_buffer_admits_the_best_candidate_in_place_of_its_worst():
    """As in nanoGCG: one candidate a step, kept when it beats the worst entry; the best entry is current."""
    state = state_of([[1, 1], [2, 2]], [1.0, 4.0])
    candidates = Candidates(torch.tensor([[3, 1], [4, 1]]), torch.tensor([0, 0]))

    admitted = state.moved(candidates, torch.tensor([3.0, 2.0]), 1, 2)
    assert admitted.prompts.tolist() == [[1, 1], [4, 1]]
    assert admitted.losses.tolist() == [1.0, 2.0]
    refused = state.moved(candidates, torch.tensor([9.0, 8.0]), 1, 2)
    assert_same(refused, state)
    growing = state.moved(candidates, torch.tensor([3.0, 0.5]), 1, 3)
    assert growing.prompts.tolist() == [[4, 1], [1, 1], [2, 2]]


def test_the_buffer_holds_no_prompt_twice():
    """A candidate that is in the buffer already changes nothing."""
    state = state_of([[1, 1], [2, 1]], [1.0, 4.0])
    candidates = Candidates(torch.tensor([[2, 1]]), torch.tensor([0]))

    assert_same(state.moved(candidates, torch.tensor([4.0]), 1, 5), state)


def test_a_buffer_makes_the_search_monotone(words):
    """The current loss never rises with a buffer of one."""
    toy = words(30)
    optimizer = GCG(GCGConfig(prompt_length=4, search_width=4, topk=8, buffer_size=1))
    (search,) = searches = toy.begin(optimizer)
    losses = []
    for num_steps in range(1, 15):
        search.tracks[0].stop_reason = None
        advance(toy.problem, optimizer, searches, Budget(num_steps=num_steps))
        losses.append(search.state.losses[0].item())

    assert losses == sorted(losses, reverse=True)


def test_each_beam_is_expanded_with_its_own_gradient(words):
    """A step asks for one gradient a beam, shares the candidates among them and keeps the best of all."""
    toy = words(40)
    optimizer = GCG(GCGConfig(prompt_length=4, search_width=30, topk=20, beam_width=3))
    search = toy.search(optimizer, 2)
    step = optimizer.step(toy.space, search.state, search.rng)
    request = next(step)
    assert isinstance(request, Gradients)
    assert torch.equal(request.candidates, search.state.prompts)
    assert len(request.candidates) == 3

    gradient = gradient_at(toy, request.candidates)
    candidates = optimizer.propose(toy.space, request.candidates, gradient, generator())
    assert candidates.parent.bincount().min() >= 5

    request = step.send((search.state.losses, gradient))
    assert isinstance(request, Losses)
    losses = torch.rand(len(request.candidates), generator=generator())
    with pytest.raises(StopIteration) as stop:
        step.send(losses)
    assert torch.equal(stop.value.value.prompts, request.candidates[losses.argsort()[:3]])


def test_the_start_text_sets_the_length(words):
    """A text wins over a length, and what an earlier stage hands on wins over both."""
    toy = words(10)
    optimizer = GCG(GCGConfig(optim_str_init="w1 w2 w3", prompt_length=7))

    assert optimizer.start(toy.space, generator(), None).current.tolist() == [1, 2, 3]
    assert optimizer.start(toy.space, generator(), torch.tensor([4, 5])).current.tolist() == [4, 5]
    assert GCG(GCGConfig(prompt_length=7)).start(toy.space, generator(), None).current.shape == (7,)


@pytest.mark.parametrize(
    ("options", "words_of_message"),
    [
        ({"beam_width": 9, "search_width": 8}, "every beam needs a candidate of its own"),
        ({"beam_width": 4, "buffer_size": 3}, "the beams are taken from the buffer"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, words_of_message):
    """The message names both options and what to change."""
    with pytest.raises(OptionError, match=words_of_message):
        GCGConfig(**options)


@pytest.mark.parametrize("name", ["search_width", "topk", "n_replace", "beam_width", "filter_rounds"])
def test_counts_start_at_one(name):
    """Zero is refused for each of them by name."""
    with pytest.raises(ValueError, match=name):
        GCGConfig(**{name: 0})
