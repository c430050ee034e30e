"""Each check of optimizers over rows passes for a sound one and catches the one that breaks its rule."""

from __future__ import annotations

import random
import sys

import attrs
import pytest
import torch

from preimage import Catalogue
from preimage.api import Component, Gradients, Losses
from preimage.settings import Settings
from preimage.testing import ConformanceError, FeatureSearchSuite, OptimizerSuite, check_feature_search
from preimage.testing.component import plan_for
from preimage.testing.example import RowClimb
from preimage.testing.feature_search import CHECKS
from preimage.testing.toy_rows import ToyReach, toy_rows, toy_rows_problem

BROKEN = {}


def breaks(check_id):
    """Register an optimizer as the one that the check `check_id` is there for."""

    def register(optimizer):
        BROKEN[check_id] = optimizer
        return optimizer

    return register


def record():
    """Return what the host knows of the runs, from where no optimizer has any business."""
    frame = sys._getframe()
    while "watch" not in frame.f_locals or "runs" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["runs"]


@attrs.frozen(eq=False)
class IntegerDoneState:
    current: torch.Tensor
    worth: torch.Tensor
    round: int = 0
    done: int = 0


@breaks("follows-the-protocol")
class SaysDoneInNumbers(RowClimb):
    State = IntegerDoneState

    def start(self, space, rng, initial):
        return self.numbered(super().start(space, rng, initial))

    def step(self, space, state, rng):
        return self.numbered((yield from super().step(space, state, rng)))

    def numbered(self, state):
        return IntegerDoneState(state.current, state.worth, state.round, int(state.done))


@breaks("starts-where-it-is-told")
class StartsAtTheQuery(RowClimb):
    def start(self, space, rng, initial):
        return super().start(space, rng, (None,) * space.n_runs)


@breaks("same-seed-same-result")
class DrawsGlobally(RowClimb):
    def neighbours(self, space, state, rng):
        # Put back what was drawn, which hides it from whoever watches the generator's state.
        before = random.getstate()
        shift = 1 + random.random() / 100
        random.setstate(before)
        run = torch.arange(space.n_runs).repeat_interleave(self.width)
        rows = shift * super().neighbours(space, state, rng)
        return space.round(rows.flatten(0, 1), run).view(rows.shape)


@attrs.frozen(eq=False)
class DictionaryState:
    current: torch.Tensor
    worth: torch.Tensor
    round: int = 0
    done: bool = False
    notes: dict = attrs.field(factory=dict)


@breaks("state-can-be-saved")
class KeepsNotes(RowClimb):
    State = DictionaryState

    def start(self, space, rng, initial):
        return self.noted(super().start(space, rng, initial))

    def step(self, space, state, rng):
        return self.noted((yield from super().step(space, state, rng)))

    def noted(self, state):
        return DictionaryState(state.current, state.worth, state.round, state.done)


@breaks("resumes-where-it-stopped")
class CountsOnItself(RowClimb):
    def __init__(self):
        self.steps = 0

    def neighbours(self, space, state, rng):
        self.steps += 1
        return super().neighbours(space, attrs.evolve(state, round=self.steps), rng)


@breaks("ends-by-itself")
class NeverSatisfied(RowClimb):
    width = 16

    def step(self, space, state, rng):
        return attrs.evolve((yield from super().step(space, state, rng)), done=False)


def asked(step):
    """Return the first request of a step."""
    return next(step)


def ended(step, answer):
    """Return the state that a step ends with once it is answered."""
    with pytest.raises(StopIteration) as stop:
        step.send(answer)
    return stop.value.value


@breaks("budget-is-spent-exactly")
class CountsInWholeNumbers(RowClimb):
    def step(self, space, state, rng):
        step = super().step(space, state, rng)
        answer = yield asked(step)
        # Of what the budget does not pay for the answer is infinity.
        [int(margin) for margin in answer[:, 0].tolist()]
        return ended(step, answer)


@breaks("can-be-interrupted")
class HoldsOn(RowClimb):
    def step(self, space, state, rng):
        step = super().step(space, state, rng)
        request = asked(step)
        try:
            answer = yield request
        except GeneratorExit:
            answer = yield request
        return ended(step, answer)


@breaks("requests-are-well-formed")
class AsksInSinglePrecision(RowClimb):
    def step(self, space, state, rng):
        yield Losses(state.current.float(), terms=True)
        return (yield from super().step(space, state, rng))


@breaks("asks-only-for-what-it-declares")
class TakesGradientsUnasked(RowClimb):
    def step(self, space, state, rng):
        yield Gradients(state.current, terms="decision")
        return (yield from super().step(space, state, rng))


@breaks("inputs-are-not-changed")
class SortsTheTable(RowClimb):
    def start(self, space, rng, initial):
        space.known.copy_(space.known.flip(0))
        return super().start(space, rng, initial)


@breaks("company-changes-nothing")
class SharesAGenerator(RowClimb):
    def neighbours(self, space, state, rng):
        return super().neighbours(space, state, [rng[0]] * len(rng))


@breaks("answers-keep-every-limit")
class CutsQuarters(RowClimb):
    """It improves the answers in the host's record a little, where only quarters are allowed."""

    def step(self, space, state, rng):
        moved = yield from super().step(space, state, rng)
        runs = record()
        runs.best[runs.found, 2] += 1e-4
        distances = space.distances(runs.best, torch.arange(space.n_runs))
        runs.distance = torch.where(runs.found, distances, runs.distance)
        return moved


@breaks("answers-are-scored-by-the-model")
class FalsifiesTheRecord(RowClimb):
    def step(self, space, state, rng):
        moved = yield from super().step(space, state, rng)
        if moved.done:
            record().distance.mul_(0.9)
        return moved


@breaks("finds-an-answer-where-there-is-one")
class LeavesSomeAlone(RowClimb):
    def neighbours(self, space, state, rng):
        rows = super().neighbours(space, state, rng)
        left = space.reference[:, 5] == 1
        return torch.where(left[:, None, None], space.reference[:, None], rows)


@breaks("a-query-that-is-decided-already-is-answered")
class AsksForTheOthersOnly(RowClimb):
    requires = frozenset({"gradient"})

    def step(self, space, state, rng):
        margins, _ = yield Gradients(space.reference, terms="decision")
        step = super().step(space, state, rng)
        request = asked(step)
        open_ = (margins[:, 0] > 0)[request.run]
        answer = torch.full((len(request.run), 2), torch.inf, dtype=torch.float64)
        answer[open_] = yield Losses(request.candidates[open_], request.run[open_], terms=True)
        return ended(step, answer)


@breaks("says-so-where-there-is-no-answer")
class ExpectsARowToBeAnAnswer(RowClimb):
    def step(self, space, state, rng):
        if len(space.known) and not (space.known_margins <= 0).any():
            return attrs.evolve(state, done=True)
        return (yield from super().step(space, state, rng))


@breaks("survives-a-table-without-rows")
class NeedsRows(RowClimb):
    def start(self, space, rng, initial):
        space.known.min(dim=0)
        return super().start(space, rng, initial)


@breaks("works-with-every-distance")
class NeedsForms(RowClimb):
    def start(self, space, rng, initial):
        torch.linalg.cholesky(space.quadratic.precision)
        return super().start(space, rng, initial)


@breaks("nearer-than-a-row-that-exists")
class GoesFar(RowClimb):
    def step(self, space, state, rng):
        rows = space.reference.clone()
        rows[:, 0] += 30
        yield Losses(space.reference, terms=True)
        yield Losses(rows, terms=True)
        return attrs.evolve(state, current=rows, done=True)


@breaks("leaves-the-process-alone")
class SeedsTheWorld(RowClimb):
    def __init__(self):
        torch.manual_seed(0)


class Street:
    """The sum of absolute differences: no quadratic form."""

    domain, differentiable, symmetric, metric = "features", True, True, True

    def __init__(self, config):
        pass

    def fit(self, data):
        pass

    def __call__(self, left, right):
        return (left - right).abs().sum(dim=1)


@attrs.frozen(kw_only=True)
class Nothing:
    pass


@pytest.fixture(scope="module")
def catalogue():
    """A catalogue of a distance and a search, so that none that is installed and learns for seconds is tried."""
    made = Catalogue(Settings(), path=[])
    street = Component("street", f"{__name__}:Street", f"{__name__}:Nothing", "1.0", "Goes by blocks.", DOMAIN)
    climb = Component("row-climb", f"{__name__}:Configured", f"{__name__}:Nothing", "1.0", "Climbs rows.", SPACE)
    with made.register("distance", street), made.register("optimizer", climb):
        yield made


DOMAIN, SPACE = ("domain:features",), ("space:features",)


class Configured(RowClimb):
    def __init__(self, config):
        pass


@pytest.fixture(autouse=True)
def same_draws_every_time():
    """Let the search that draws globally do so alike in every session."""
    state = random.getstate()
    random.seed(0)
    yield
    random.setstate(state)


class TestRowClimb(FeatureSearchSuite):
    factory = RowClimb

    @classmethod
    def catalogue(cls):
        return Catalogue(Settings(), path=[])


def test_a_sound_search_passes(catalogue):
    """Nothing is found wrong with the example that authors start from."""
    report = check_feature_search(RowClimb, catalogue=catalogue)
    assert [(outcome.check.id, outcome.message) for outcome in report.outcomes if outcome.status != "passed"] == []


def test_every_check_has_a_broken_search():
    """No check is registered without a search that it catches."""
    assert set(BROKEN) == set(CHECKS.ids())


@pytest.mark.parametrize("check_id", CHECKS.ids())
def test_catches(check_id, catalogue):
    """A broken search fails the check of the rule that it breaks, and no other."""
    report = check_feature_search(BROKEN[check_id], strict=False, catalogue=catalogue)
    assert [outcome.check.id for outcome in report.failures] == [check_id], report.to_text(only_failures=True)


def test_a_failure_raises_with_rule_finding_and_remedy(catalogue):
    """The error of the Python door says what was seen and what to do."""
    with pytest.raises(ConformanceError, match=r"(?s)a value between the quarters.*To mend it: Leave the host's"):
        check_feature_search(CutsQuarters, catalogue=catalogue)


def test_a_component_that_searches_features_is_checked_on_rows(catalogue):
    """By its trait; that of a search over texts is what it was."""
    _, plan = plan_for("optimizer", "row-climb", None, catalogue)
    ids = {check.id for checks, _ in plan for check in checks}
    assert set(CHECKS.ids()) <= ids
    assert "bans-are-respected" not in ids


def test_the_suite_of_the_other_space_fails(catalogue):
    """A search over rows has no test in the suite of texts that could pass or be skipped in silence."""
    body = {"component": "row-climb", "catalogue": classmethod(lambda cls: catalogue)}
    with pytest.raises(pytest.fail.Exception, match="of rows those of FeatureSearchSuite"):
        type("Suite", (OptimizerSuite,), body)().test_bans_are_respected()


def test_the_toy_says_what_a_row_has_that_it_may_not():
    """Each rule of its columns by itself, and rows that are rounded keep them all."""
    reach = ToyReach(toy_rows(4, seed=3))
    run = torch.arange(4)
    noise = 3 * torch.randn(4, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = reach.round(reach.reference + noise, run)
    assert reach.complaint(rows, run) == ""
    for column, shift in {4: 1.0, 3: -9.0, 6: 0.5, 1: 9.0, 2: 0.1, 5: 0.5, 9: 1.0, 0: torch.inf}.items():
        wrong = rows.clone()
        wrong[0, column] += shift
        assert reach.complaint(wrong, run) != ""


def test_the_toy_projects_to_the_nearest_feasible_row():
    """No row that keeps the bounds between levels is nearer; followers aside, which follow."""
    reach = ToyReach(toy_rows(4, seed=3))
    rng = torch.Generator().manual_seed(0)
    run = torch.zeros(400, dtype=torch.int64)
    asked = 3 * torch.randn(1, 10, generator=rng, dtype=torch.float64)
    nearest = reach.project(asked, run[:1])
    shares = torch.rand(400, 3, generator=rng, dtype=torch.float64) * (reach.upper[:1, 6:9] > 0)
    others = torch.clamp(
        asked + torch.randn(400, 10, generator=rng, dtype=torch.float64), reach.lower[:1], reach.upper[:1]
    )
    others[:, 6:9] = shares / shares.sum(dim=1, keepdim=True)
    assert nearest[0, 6:9].sum() == pytest.approx(1)
    apart, least = (others - asked)[:, :9].norm(dim=1), (nearest - asked)[:, :9].norm()
    assert (apart >= least - 1e-9).all()


def test_the_toys_slopes_are_those_of_its_margin():
    """By finite differences, with what the follower feels handed to the column that it follows."""
    problem = toy_rows_problem(scene="bent")
    space, run = problem.space, torch.arange(4)
    rows = space.project(space.reference + 0.1, run)
    _, slopes = problem.gradients(rows, run)
    for column in (0, 1, 2, 3):
        step = torch.zeros_like(rows)
        step[:, column] = 1e-6
        ahead, behind = (problem.decision.loss(space.project(rows + sign * step, run), run) for sign in (1, -1))
        torch.testing.assert_close(slopes[:, 0, column], (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-4)
