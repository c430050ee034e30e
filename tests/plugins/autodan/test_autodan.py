"""AutoDAN: what it selects, what it remembers, and what it writes."""

from __future__ import annotations

import itertools
from itertools import pairwise

import attrs
import pytest
import torch

from preimage import checkpoint
from preimage.api import Gradients, Losses, NextTokens, Optimizer, Template
from preimage.budget import Budget
from preimage.errors import ConstraintError, OptionError
from preimage.loop import advance, begin
from preimage.problem import BoundTerm, Problem
from preimage.search_space import SearchSpace
from preimage.testing.toy import ToyObjective, toy_tokens
from preimage.track import Track
from preimage_autodan import AutoDAN, AutoDANConfig, AutoDANState

TARGET = torch.zeros(1, dtype=torch.int64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def fields_of(state):
    return {field.name: getattr(state, field.name) for field in attrs.fields(type(state))}


def assert_same(left, right):
    for name, value in fields_of(left).items():
        other = getattr(right, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def uniform(toy, rows=1):
    """Return log-probabilities that favour nothing, ``(rows, V)``."""
    size = len(toy.space.embedding)
    return torch.full((rows, size), 1.0 / size, dtype=torch.float64).log()


def likely(toy, **chances):
    """Return log-probabilities of one row in which ``w3=0.5`` is as likely as that and the rest share what is left."""
    size = len(toy.space.embedding)
    rest = (1 - sum(chances.values())) / (size - len(chances))
    row = torch.full((1, size), rest, dtype=torch.float64)
    for word, chance in chances.items():
        row[0, int(word[1:])] = chance
    return row.log()


def play(optimizer, toy, state, *, log_probs=None, push=None, loss=lambda rows: torch.zeros(len(rows)), rng=None):
    """Make one step with made-up answers; return the requests and the next state.

    Arguments:
        optimizer: whose step it is.
        toy: the space.
        state: to start from.
        log_probs: what the language model says; nothing is favoured without it.
        push: the gradient at the dummy of each beam, ``(K, d)``; zero without it.
        loss: of rows of ids, as a function.
        rng: draws dummies.
    """
    step, requests, answer = optimizer.step(toy.space, state, rng or generator()), [], None
    while True:
        try:
            request = step.send(answer)
        except StopIteration as stop:
            return requests, stop.value
        requests.append(request)
        if isinstance(request, NextTokens):
            answer = uniform(toy, len(request.prefixes)) if log_probs is None else log_probs
        elif isinstance(request, Losses):
            answer = loss(request.candidates).double()
        else:
            rows = request.candidates
            # What the gradient is at the tokens before the new one must not matter.
            gradient = torch.randn(*rows.shape, toy.space.embedding.shape[1], generator=generator(99)).double()
            gradient[:, -1] = 0 if push is None else push[: len(rows)]
            answer = loss(rows).double(), gradient


def asked(requests):
    """Return the last tokens of all rows whose loss was asked for."""
    return [row[-1].item() for request in requests if isinstance(request, Losses) for row in request.candidates]


def test_it_is_an_optimizer_that_asks_for_gradients_and_next_tokens():
    """It follows the contract and says what it requires."""
    optimizer = AutoDAN(AutoDANConfig())

    assert isinstance(optimizer, Optimizer)
    assert optimizer.requires == {"gradient", "next-token"}
    assert not optimizer.rowwise
    assert optimizer.State is AutoDANState


@pytest.mark.parametrize("seed", range(4))
def test_with_a_beam_for_every_word_it_finds_the_best_of_all_two_token_prompts(words, seed):
    """Where no first word is given up, the end is the optimum that trying everything finds."""
    toy = words(12, seed=seed)
    losses = toy.every_loss(2)
    options = {"prompt_length": 2, "search_width": 144, "beam_width": 12, "objective_weight": 1e6}
    search = toy.search(AutoDAN(AutoDANConfig(**options)), 20, seed)

    assert search.state.done
    assert tuple(search.state.current.tolist()) == min(losses, key=losses.get)


class Bigrams(ToyObjective):
    """A language model that knows which token follows which, and a loss that asks for nothing."""

    def __init__(self, tokens, seed):
        super().__init__(tokens)
        size = len(tokens.embedding) + 1
        table = 2 * torch.randn(size, size - 1, generator=generator(seed), dtype=torch.float64)
        self.table = table.log_softmax(dim=1)

    def next_token_log_probs(self, ids, target):
        return self.table[ids[:, -1] if ids.shape[1] else torch.full((len(ids),), -1)]

    def probability(self, prompt):
        """Return the log-probability of a whole prompt."""
        return sum(float(self.table[before, token]) for before, token in pairwise((-1, *prompt)))


@pytest.mark.parametrize("seed", range(4))
def test_uniform_cost_finds_the_likeliest_of_all_prompts(words, seed):
    """Log-probabilities only fall along a prompt, so that turning back ends at the best one; greedily it need not."""
    toy = words(6, seed=seed)
    objective = Bigrams(toy.space.tokens, seed)
    toy = attrs.evolve(toy, problem=Problem(toy.space, [BoundTerm("bigrams", objective)]))
    options = {"prompt_length": 4, "search_width": 6, "objective_weight": 0.0, "frontier_size": 6**4}
    state = toy.search(AutoDAN(AutoDANConfig(strategy="uniform-cost", **options)), 10_000).state
    greedily = toy.search(AutoDAN(AutoDANConfig(**options)), 10_000).state
    best = max(itertools.product(range(6), repeat=4), key=objective.probability)

    assert state.done
    assert tuple(state.current.tolist()) == best
    assert float(state.likelihood) == pytest.approx(objective.probability(best))
    assert objective.probability(greedily.current.tolist()) <= objective.probability(best)


@pytest.mark.parametrize("seed", range(3))
def test_it_writes_what_a_plain_loop_writes(words, seed):
    """With all tokens in the selection each one is the best by weighted loss and log-probability, left to right."""
    toy = words(15, seed=seed, banned_words=("w3",))
    log_probs = toy.problem.next_token_log_probs(torch.empty(1, 0, dtype=torch.int64), TARGET)[0]
    expected = []
    for _ in range(4):
        scores = {}
        for token in toy.space.allowed_ids.tolist():
            loss = toy.problem.losses(torch.tensor([[*expected, token]]), TARGET).losses.item()
            scores[token] = log_probs[token].item() - 2.5 * loss
        expected.append(max(scores, key=scores.get))
    search = toy.search(AutoDAN(AutoDANConfig(prompt_length=4, objective_weight=2.5)), 40, seed)

    assert search.state.current.tolist() == expected
    assert search.state.likelihood.item() == pytest.approx(log_probs[expected].sum().item())


def test_of_equal_losses_the_likelier_token_is_written(words):
    """The sign: log-probability is added and loss subtracted, so neither likes what it should not."""
    toy = words(20)
    optimizer = AutoDAN(AutoDANConfig(prompt_length=1))
    start = optimizer.start(toy.space, generator(), None)
    _, state = play(optimizer, toy, start, log_probs=likely(toy, w7=0.3, w2=0.2, w5=0.001))
    assert state.current.tolist() == [7]

    _, state = play(optimizer, toy, start, loss=lambda rows: -(rows[:, -1] == 5).double())
    assert state.current.tolist() == [5]


def test_the_selection_is_by_gradient_and_likelihood(words):
    """The tokens that are scored are those of highest -w1 * standardised gradient + log p, by a slow sort."""
    toy = words(40, banned_words=("w1", "w2"))
    push = torch.randn(1, 6, generator=generator(), dtype=torch.float64)
    log_probs = torch.log_softmax(torch.randn(1, 43, generator=generator(1), dtype=torch.float64), dim=1)
    optimizer = AutoDAN(AutoDANConfig(search_width=9, gradient_weight=0.7, optim_str_init="w4 w5"))
    requests, _ = play(optimizer, toy, optimizer.start(toy.space, generator(), None), log_probs=log_probs, push=push)

    allowed = toy.space.allowed_ids.tolist()
    change = torch.stack([push[0] @ toy.space.embedding[token] for token in allowed])
    change = (change - change.mean()) / change.std(correction=0)
    score = {token: (log_probs[0, token] - 0.7 * change[i]).item() for i, token in enumerate(allowed)}
    best = sorted(allowed, key=score.get, reverse=True)[:9]
    dummy = max(allowed, key=lambda token: log_probs[0, token])
    assert set(asked(requests)) == set(best) - {dummy}


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_the_size_of_a_gradient_does_not_matter(words, scale):
    """Standardised, gradients of any objective select alike."""
    toy = words(40)
    push = torch.randn(1, 6, generator=generator(), dtype=torch.float64)
    optimizer = AutoDAN(AutoDANConfig(search_width=9))
    start = optimizer.start(toy.space, generator(), None)

    assert asked(play(optimizer, toy, start, push=push * scale)[0]) == asked(play(optimizer, toy, start, push=push)[0])


def test_the_language_model_is_asked_about_the_place_of_the_new_token(words):
    """Prefixes end before the dummy, which the gradient is taken at; one question serves all rounds."""
    toy = words(30)
    optimizer = AutoDAN(AutoDANConfig(search_width=3, optim_str_init="w4 w5"))
    requests, state = play(optimizer, toy, optimizer.start(toy.space, generator(), None))
    assert [type(request) for request in requests] == [NextTokens, Gradients, Losses]
    assert requests[0].prefixes.tolist() == [[4, 5]]
    assert requests[1].candidates[:, :-1].tolist() == [[4, 5]]

    again, _ = play(optimizer, toy, state)
    assert not any(isinstance(request, NextTokens) for request in again)


def test_text_behind_the_prompt_does_not_move_that_place():
    """With a template around the prompt the model reads what stands before the new token, and nothing else."""
    tokens = toy_tokens()

    class Recording(ToyObjective):
        read = ()

        def next_token_log_probs(self, ids, target):
            self.read = (*self.read, ids.tolist())
            return super().next_token_log_probs(ids, target)

    template = Template("amber {optim_str} birch cedar")
    objective = Recording(tokens)
    problem = Problem(SearchSpace(tokens, templates=(template,)), [BoundTerm("toy", objective, template=template)])
    searches = begin(problem, AutoDAN(AutoDANConfig(prompt_length=2)), [Track(0)], 0)
    advance(problem, AutoDAN(AutoDANConfig(prompt_length=2)), searches, Budget(num_steps=20))

    first = searches[0].state.current[0].item()
    assert objective.read == ([[0]], [[0, first]])


def test_the_best_token_is_kept_when_later_rounds_look_elsewhere(words):
    """What an early round found is written although later gradients select other tokens."""
    toy = words(40)
    optimizer = AutoDAN(AutoDANConfig(search_width=4, prompt_length=1, max_inner_rounds=6))
    state = optimizer.start(toy.space, generator(), None)
    push = -50 * toy.space.embedding[9:10]
    requests, state = play(optimizer, toy, state, push=push)
    best = asked(requests)[0]

    def loss(rows):
        return torch.where(rows[:, -1] == best, -5.0, 1.0)

    state = optimizer.start(toy.space, generator(), None)
    _, state = play(optimizer, toy, state, push=push, loss=loss)
    requests, state = play(optimizer, toy, state, push=-push, loss=loss)
    assert best not in asked(requests)
    assert state.current.tolist() == [best]


def test_explored_tokens_are_not_asked_about_again(words):
    """In all rounds at a position every token is scored once at most."""
    toy = words(40)
    optimizer = AutoDAN(AutoDANConfig(search_width=6, prompt_length=1, temperature=1e6))
    state, seen, rng = optimizer.start(toy.space, generator(), None), [], generator()
    for number in range(8):
        push = torch.randn(1, 6, generator=generator(number), dtype=torch.float64)
        # Later tokens are better in every round, so that no round leaves the favourite as it was for long.
        requests, state = play(optimizer, toy, state, push=push, loss=lambda rows: -rows[:, -1].double(), rng=rng)
        seen += asked(requests)
        if state.done:
            break
    assert number > 0
    assert len(seen) == len(set(seen))


def test_a_position_is_settled_when_the_favourite_repeats(words):
    """One round more than it took to find it; the number of rounds is bounded all the same."""
    toy = words(40)
    for most, expected in ((8, 2), (1, 1)):
        optimizer = AutoDAN(AutoDANConfig(search_width=4, prompt_length=1, max_inner_rounds=most))
        state, rounds = optimizer.start(toy.space, generator(), None), 0
        while not state.done:
            _, state = play(optimizer, toy, state)
            rounds += 1
        assert rounds == expected


def test_dummies_are_drawn_by_score():
    """At a temperature the explored tokens come up as often as the softmax says, at 0 only the best; no other does."""
    scores = torch.tensor([[0.0, 1.0, -torch.inf, 2.0]], dtype=torch.float64)
    unsettled = attrs.evolve(
        AutoDANState.at(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1), done=False),
        scores=scores,
        favourite=torch.tensor([3]),
    )
    rng, optimizer = generator(), AutoDAN(AutoDANConfig(temperature=2.0))
    drawn = torch.cat([optimizer.drawn(unsettled, rng).dummy for _ in range(4000)])
    counts = drawn.bincount(minlength=4) / 4000

    torch.testing.assert_close(counts, torch.softmax(scores[0] / 2, dim=0).float(), atol=0.03, rtol=0)
    assert counts[2] == 0
    assert AutoDAN(AutoDANConfig(temperature=0)).drawn(unsettled, rng).dummy.tolist() == [3]


def test_beams_have_gradients_of_their_own(words):
    """What is selected for a beam does not depend on the gradient or the likelihoods of another."""
    toy = words(40)
    optimizer = AutoDAN(AutoDANConfig(search_width=10, beam_width=2, prompt_length=3))
    start = AutoDANState.at(torch.tensor([[1], [2]]), torch.zeros(2, dtype=torch.float64), done=False)
    push = torch.randn(2, 6, generator=generator(), dtype=torch.float64)

    def selected(push, log_probs):
        requests, _ = play(optimizer, toy, start, log_probs=log_probs, push=push)
        rows = [row for request in requests[1:] for row in request.candidates.tolist()]
        return [{token for first, token in rows if first == beam} for beam in (1, 2)]

    log_probs = torch.log_softmax(torch.randn(2, 43, generator=generator(1), dtype=torch.float64), dim=1)
    before = selected(push, log_probs)
    after = selected(torch.stack([push[0], -push[1]]), torch.stack([log_probs[0], log_probs[1].flip(0)]))

    assert all(len(tokens) >= 5 for tokens in before)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_beams_have_dummies_of_their_own():
    """Each is drawn from what its own beam has explored, and a settled beam's stays."""
    state = attrs.evolve(
        AutoDANState.at(torch.tensor([[0], [1], [2]]), torch.zeros(3), done=False),
        scores=torch.tensor([[0.0, 0.0, -torch.inf], [-torch.inf, -torch.inf, 1.0], [5.0, 5.0, 5.0]]).double(),
        settled=torch.tensor([False, False, True]),
    )
    rng, optimizer = generator(), AutoDAN(AutoDANConfig())
    drawn = torch.stack([optimizer.drawn(state, rng).dummy for _ in range(50)])

    assert [set(column.tolist()) for column in drawn.T] == [{0, 1}, {2}, {-1}]


def test_beams_compete_by_all_that_was_written(words):
    """The best continuations of all beams go on, each with the log-probability of its whole text."""
    toy = words(3)
    optimizer = AutoDAN(AutoDANConfig(beam_width=2, prompt_length=3))
    state = attrs.evolve(
        AutoDANState.at(torch.tensor([[0], [1]]), torch.tensor([-1.0, -4.0]).double(), done=False),
        log_probs=torch.tensor([[-3.0, -2.0, -9.0], [-0.5, -7.0, -0.1]]).double(),
        scores=torch.tensor([[-3.0, -2.0, -9.0], [-0.5, -7.0, 0.9]]).double(),
    )
    written = optimizer.written(toy.space, state)

    assert written.prompts.tolist() == [[0, 1], [1, 2]]
    torch.testing.assert_close(written.likelihood, torch.tensor([-3.0, -4.1]).double())
    assert written.rounds == 0
    assert not written.done


def test_only_prompts_that_read_back_are_asked_about(letters):
    """With the filter every candidate reads back as its ids; without it some do not."""
    toy = letters(["fa", "bf", "cf", "fd"])
    for filter_ids in (True, False):
        optimizer = AutoDAN(AutoDANConfig(optim_str_init="fff", prompt_length=5, filter_ids=filter_ids))
        requests, _ = play(optimizer, toy, optimizer.start(toy.space, generator(), None))
        stable = [toy.space.is_stable(r.candidates).all().item() for r in requests if isinstance(r, Losses)]
        assert stable == [filter_ids]


def test_it_goes_on_where_nothing_reads_back(letters):
    """The host scores the text that such a prompt is read back as, and the search finishes."""
    toy = letters([left + right for left in "abcdef" for right in "abcdef"], allowed_words=tuple("abcdef"))
    search = toy.search(AutoDAN(AutoDANConfig(prompt_length=2)), 10)

    assert search.state.done
    assert search.tracks[0].best is not None


def test_banned_tokens_are_never_asked_about(words):
    """However likely the model finds them and however much the gradient likes them."""
    toy = words(20, banned_words=("w7",))
    optimizer = AutoDAN(AutoDANConfig(prompt_length=1))
    requests, state = play(
        optimizer,
        toy,
        optimizer.start(toy.space, generator(), None),
        log_probs=likely(toy, w7=0.9),
        push=-100 * toy.space.embedding[7:8],
    )
    rows = torch.cat([request.candidates for request in requests[1:]])
    assert toy.space.allowed[rows].all()
    assert toy.space.allowed[state.current].all()


def test_a_text_to_start_from_is_continued(words):
    """What is given stays as it is, and what an earlier stage hands on wins over the options."""
    toy = words(30)
    optimizer = AutoDAN(AutoDANConfig(optim_str_init="w4 w5", prompt_length=4))
    state = toy.search(optimizer, 30).state
    assert state.done
    assert state.current.tolist()[:2] == [4, 5]
    assert len(state.current) == 4

    assert optimizer.start(toy.space, generator(), torch.tensor([1, 2, 3])).current.tolist() == [1, 2, 3]
    assert optimizer.start(toy.space, generator(), torch.tensor([1, 2, 3, 4])).done
    ids = AutoDAN(AutoDANConfig(optim_ids_init=[6]))
    assert ids.start(toy.space, generator(), None).current.tolist() == [6]
    assert AutoDAN(AutoDANConfig()).start(toy.space, generator(), None).current.shape == (0,)


def test_a_prompt_that_would_not_fit_is_refused_at_the_start(words):
    """Not when the last token is to be written."""
    with pytest.raises(ConstraintError, match="The finished prompt has 17 tokens"):
        AutoDAN(AutoDANConfig(prompt_length=17)).start(words(5).space, generator(), None)


def test_what_is_impossible_is_a_last_choice(words):
    """Log-probabilities of minus infinity neither end the search nor make it draw nonsense."""
    toy = words(6)
    log_probs = torch.full((1, 9), -torch.inf, dtype=torch.float64)
    log_probs[0, 2] = 0.0
    optimizer = AutoDAN(AutoDANConfig(prompt_length=1))
    _, state = play(optimizer, toy, optimizer.start(toy.space, generator(), None), log_probs=log_probs)

    assert state.current.tolist() == [2]
    assert state.likelihood.isfinite().all()


@pytest.mark.parametrize("beam_width", [1, 3])
def test_a_run_goes_on_from_the_middle_of_a_position(words, beam_width, tmp_path):
    """However many steps are made before it is saved, it ends as if it had not been."""
    options = AutoDANConfig(prompt_length=3, search_width=6, beam_width=beam_width, temperature=3.0)
    straight = words(40).search(AutoDAN(options), 9).state
    for steps in (1, 2, 4):
        toy, optimizer = words(40), AutoDAN(options)
        search = toy.search(optimizer, steps)
        checkpoint.save(tmp_path / "run", "it", [(search,)], toy.problem)
        (search,) = checkpoint.load(tmp_path / "run", "it", [optimizer], toy.problem).searches
        search.tracks[0].stop_reason = None
        advance(toy.problem, optimizer, [search], Budget(num_steps=9))
        assert_same(search.state, straight)


def test_states_are_immutable(words):
    """A step returns a new state and leaves the old one as it was."""
    toy = words(40)
    optimizer = AutoDAN(AutoDANConfig(search_width=6, beam_width=2))
    search = toy.search(optimizer, 3)
    old = search.state
    copy = {name: value.clone() if torch.is_tensor(value) else value for name, value in fields_of(old).items()}
    search.tracks[0].stop_reason = None
    advance(toy.problem, optimizer, [search], Budget(num_steps=6))

    assert_same(old, AutoDANState(**copy))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        old.done = True


def test_more_beams_than_candidates_are_refused():
    """The message names both options and what to change."""
    with pytest.raises(OptionError, match="beam_width is 9 and search_width 8, but every beam needs a candidate"):
        AutoDANConfig(beam_width=9, search_width=8)


@pytest.mark.parametrize(
    ("name", "value"),
    [("search_width", 0), ("beam_width", 0), ("max_inner_rounds", 0), ("temperature", -1), ("gradient_weight", -1)],
)
def test_options_out_of_range_are_refused(name, value):
    """Each is named."""
    with pytest.raises(ValueError, match=name):
        AutoDANConfig(**{name: value})
