"""The loop over features: counted exactly, ended on time, and nothing kept that is not as wanted."""

from __future__ import annotations

import attrs
import pytest
import torch

from preimage.api import Gradients, Losses, NextTokens
from preimage.budget import Budget
from preimage.errors import AssemblyError, InputError, NonFiniteLossError, PluginError
from preimage.feature_loop import run_features
from preimage.feature_problem import FeatureProblem
from preimage.feature_space import FeatureSearchSpace


@attrs.frozen(eq=False)
class Box:
    """A reach of plain numbers that are rounded to tenths, within minus two and two."""

    reference: torch.Tensor

    @property
    def lower(self):
        return torch.full_like(self.reference, -2.0)

    @property
    def upper(self):
        return torch.full_like(self.reference, 2.0)

    @property
    def free(self):
        return torch.ones_like(self.reference, dtype=torch.bool)

    groups = ()

    @property
    def columns(self):
        return torch.arange(self.reference.shape[1])

    def project(self, features, run):
        return features.clamp(-2, 2)

    def round(self, features, run):
        return (self.project(features, run) * 10).round() / 10

    def pull_back(self, gradient):
        return gradient


class Above:
    """Wants the first number above a bound."""

    space = None

    def __init__(self, n_targets, bound=1.0):
        self.n_targets, self.bound, self.asked = n_targets, bound, []

    def loss(self, candidates, target):
        self.asked.append(candidates)
        return self.bound - candidates[:, 0]

    def loss_and_gradient(self, candidates, target):
        gradient = torch.zeros_like(candidates)
        gradient[:, 0] = -1
        return self.bound - candidates[:, 0], gradient


class Apart:
    """The Euclidean distance, squared."""

    domain, differentiable, symmetric, metric = "features", True, True, False

    def fit(self, data):
        pass

    def __call__(self, left, right):
        return (left - right).square().sum(dim=1)


@attrs.frozen(eq=False)
class Standing:
    current: torch.Tensor
    done: bool = False


class Wander:
    """Asks about `count` random rows for each run in each step."""

    requires, rowwise, State = frozenset(), True, Standing

    def __init__(self, count=5, request=None):
        self.count, self.request = count, request

    def start(self, space, rng, initial):
        return Standing(space.reference)

    def step(self, space, state, rng):
        rows = torch.stack([4 * torch.rand(self.count, 2, generator=own).double() - 2 for own in rng])
        run = torch.arange(len(rows)).repeat_interleave(self.count)
        if self.request is not None:
            self.answer = yield self.request(rows.flatten(0, 1), run)
        else:
            self.answer = yield Losses(rows.flatten(0, 1), run, terms=True)
        return Standing(rows[:, -1])


def problem(n_runs=3, bound=1.0, distance=None, **options):
    reference = torch.zeros(n_runs, 2).double()
    decision = Above(n_runs, bound)
    return FeatureProblem(FeatureSearchSpace(Box(reference), distance or Apart(), **options), decision)


def test_what_is_kept_has_been_decided_as_it_is_written_down():
    """The best is the nearest of the rounded rows that are as wanted; the miss came nearest of the others."""
    asked = problem()
    runs = run_features(asked, Wander(), budget=Budget(num_steps=20))
    assert runs.found.all()
    assert torch.equal(runs.best, asked.space.round(runs.best, torch.arange(3)))
    every = torch.cat(asked.decision.asked)
    wanted = every[:, 0] >= 1
    nearest = (every[wanted].square().sum(dim=1)).min()
    assert runs.distance[0] == pytest.approx(float(nearest))
    assert (runs.margin <= 0).all()
    assert runs.miss_margin[0] == pytest.approx(float((1 - every[~wanted][:, 0]).min()))


@pytest.mark.parametrize("limit", [1, 7, 23])
def test_candidates_are_counted_exactly(limit):
    """Not one more than the budget is asked of the model or kept; the optimizer is answered by infinity."""
    asked = problem()
    wander = Wander()
    runs = run_features(asked, wander, budget=Budget(max_candidates=limit))
    assert runs.candidates.tolist() == [limit] * 3
    assert sum(map(len, asked.decision.asked)) == 3 * limit
    assert set(runs.stop_reason) == {"max_candidates"}
    assert wander.answer.isinf().any() == bool(limit % 5)


def test_a_step_that_asks_until_it_is_content_ends_with_its_budget():
    """What it would be answered from then on is infinite."""

    class Insists(Wander):
        def step(self, space, state, rng):
            while True:
                terms = yield Losses(state.current, terms=True)
                if (terms[:, 0] <= 0).all():
                    return state

    runs = run_features(problem(), Insists(), budget=Budget(max_candidates=9))
    assert runs.candidates.tolist() == [9] * 3
    assert set(runs.stop_reason) == {"max_candidates"}


def test_a_run_in_company_goes_as_it_goes_alone():
    """Every run draws its own numbers."""
    together = run_features(problem(3), Wander(), seed=4, budget=Budget(num_steps=6))
    alone = run_features(problem(1), Wander(), seed=4, budget=Budget(num_steps=6))
    assert torch.equal(together.best[2], alone.best[0])
    other = run_features(problem(1), Wander(), seed=5, budget=Budget(num_steps=6))
    assert not torch.equal(other.best, alone.best)
    streams = run_features(problem(3, streams=(0, 1, 0)), Wander(), seed=4, budget=Budget(num_steps=6))
    assert torch.equal(streams.best[0], streams.best[2])
    assert not torch.equal(streams.best[0], streams.best[1])


def test_time_and_cancellation_end_a_search_in_the_middle():
    """What has been found by then stays."""
    asked = iter([False] * 7 + [True] * 100)
    runs = run_features(problem(), Wander(), cancelled=lambda: next(asked))
    assert set(runs.stop_reason) == {"cancelled"}
    assert 0 < runs.candidates[0] < 50
    runs = run_features(problem(), Wander(), budget=Budget(max_seconds=0.05))
    assert set(runs.stop_reason) == {"max_seconds"}
    assert runs.seconds < 5
    assert runs.found.all()


def test_each_run_stops_for_its_own_reason():
    """A target that is met, steps without gain, passes."""
    runs = run_features(problem(), Wander(), budget=Budget(num_steps=500, target_loss=1.5))
    assert set(runs.stop_reason) == {"target_loss"}
    runs = run_features(problem(), Wander(), budget=Budget(num_steps=500, patience=3))
    assert set(runs.stop_reason) == {"patience"}
    runs = run_features(problem(), Wander(), budget=Budget(num_steps=500, max_passes=12))
    assert runs.forward.tolist() == [15] * 3


def test_few_columns_are_a_condition():
    """A row that changes more columns than allowed is no answer, and may be the nearest miss."""
    runs = run_features(problem(max_changed=1), Wander(50), budget=Budget(num_steps=40))
    changed = (runs.best != 0).sum(dim=1)
    assert (changed <= 1).all()
    with pytest.raises(InputError, match="max_changed=0 lets no column change"):
        problem(max_changed=0)


def test_gradients_are_those_of_each_term_or_of_the_sum():
    """With `terms` one by one, otherwise weighted; both are charged as backward passes."""
    wander = Wander(2, lambda rows, run: Gradients(rows, run, terms=True))
    runs = run_features(problem(), wander, budget=Budget(num_steps=1))
    terms, slopes = wander.answer
    assert terms.shape == (6, 2)
    assert slopes.shape == (6, 2, 2)
    assert slopes[:, 0].tolist() == [[-1.0, 0.0]] * 6
    assert runs.backward.tolist() == [2, 2, 2]
    assert not runs.found.any()
    margins = Wander(2, lambda rows, run: Gradients(rows, run, terms="decision"))
    run_features(problem(), margins, budget=Budget(num_steps=1))
    assert torch.equal(margins.answer[0], terms[:, :1])
    assert torch.equal(margins.answer[1], slopes[:, :1])
    summed = Wander(2, lambda rows, run: Gradients(rows, run))
    run_features(problem(), summed, budget=Budget(num_steps=1))
    losses, slope = summed.answer
    torch.testing.assert_close(losses, terms.sum(dim=1))
    torch.testing.assert_close(slope, slopes.sum(dim=1))


def test_the_first_answer_stays_where_draws_are_wanted():
    """An optimizer that says so has its first answer kept, not the nearest."""
    asked, wander = problem(1), Wander(40)
    wander.keeps_first = True
    runs = run_features(asked, wander, budget=Budget(num_steps=5))
    every = torch.cat(asked.decision.asked)
    assert torch.equal(runs.best[0], every[(every[:, 0] >= 1).nonzero()[0, 0]])


def test_listeners_are_told_how_far_it_is():
    """Once a step, with what has been found."""
    told = []
    run_features(problem(), Wander(), budget=Budget(num_steps=4), listeners=[told.append])
    assert [event.step for event in told] == [1, 2, 3, 4]
    assert told[-1].found == 3
    assert told[-1].distance >= 1


def test_what_breaks_the_contract_gets_a_sentence():
    """Requests without owners or of texts, one state a run, distances between texts, answers that are no numbers."""
    with pytest.raises(PluginError, match="15 rows for 3 queries without saying which row belongs"):
        run_features(problem(), Wander(5, lambda rows, run: Losses(rows)), budget=Budget(num_steps=1))
    with pytest.raises(PluginError, match="over features a step may yield Losses or Gradients"):
        run_features(problem(), Wander(5, lambda rows, run: NextTokens(rows)), budget=Budget(num_steps=1))
    single = Wander()
    single.rowwise = False
    with pytest.raises(AssemblyError, match="one state a run"):
        run_features(problem(), single)
    words = Apart()
    words.domain = "text"
    with pytest.raises(AssemblyError, match="a distance between texts"):
        problem(distance=words)
    with pytest.raises(NonFiniteLossError, match="Above answered NaN for candidate 0 of 15"):
        run_features(problem(bound=float("nan")), Wander(), budget=Budget(num_steps=1))
    with pytest.raises(AssemblyError, match="bound to 2 queries and 3 are searched"):
        FeatureProblem(problem().space, Above(2))
