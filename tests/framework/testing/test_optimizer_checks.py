"""Each check of optimizers passes for a sound one and catches the one that breaks its rule."""

from __future__ import annotations

import random
import sys

import attrs
import pytest
import torch

from preimage.api import Gradients, Losses
from preimage.start import random_ids
from preimage.testing import ConformanceError, check_optimizer
from preimage.testing.check import Violation
from preimage.testing.example import HillClimb, HillClimbState
from preimage.testing.optimizer import CHECKS, OptimizerSubject

BROKEN = {}


def breaks(check_id):
    """Register an optimizer as the one that the check `check_id` is there for."""

    def register(optimizer):
        BROKEN[check_id] = optimizer
        return optimizer

    return register


@attrs.frozen(eq=False)
class IntegerDoneState:
    current: torch.Tensor
    done: int = 0


@breaks("follows-the-protocol")
class SaysDoneInNumbers(HillClimb):
    State = IntegerDoneState

    def start(self, space, rng, initial):
        return IntegerDoneState(super().start(space, rng, initial).current)

    def step(self, space, state, rng):
        moved = yield from super().step(space, state, rng)
        return IntegerDoneState(moved.current)


@breaks("starts-where-it-is-told")
class StartsAnywhere(HillClimb):
    def start(self, space, rng, initial):
        return HillClimbState(random_ids(space, rng, 4 if initial is None else len(initial)))


@breaks("same-seed-same-result")
class DrawsGlobally(HillClimb):
    def neighbours(self, space, prompt, rng):
        # Put back what was drawn, which hides it from whoever watches the generator's state.
        state = random.getstate()
        local = torch.Generator().manual_seed(random.randrange(2**32) + int(torch.randint(2**32, (), generator=rng)))
        random.setstate(state)
        return super().neighbours(space, prompt, local)


@attrs.frozen(eq=False)
class DictionaryState:
    current: torch.Tensor
    notes: dict = attrs.field(factory=dict)
    done: bool = False


@breaks("state-can-be-saved")
class KeepsNotes(HillClimb):
    State = DictionaryState

    def start(self, space, rng, initial):
        return DictionaryState(super().start(space, rng, initial).current)

    def step(self, space, state, rng):
        moved = yield from super().step(space, state, rng)
        return DictionaryState(moved.current)


@breaks("resumes-where-it-stopped")
class RemembersItsSteps(HillClimb):
    def __init__(self):
        self.steps = {}

    def start(self, space, rng, initial):
        state = super().start(space, rng, initial)
        self.steps[id(rng)] = 0
        return state

    def step(self, space, state, rng):
        self.steps[id(rng)] = self.steps.get(id(rng), 0) + 1
        candidates = self.neighbours(space, state.current, rng)[self.steps[id(rng)] :]
        losses = yield Losses(torch.cat([state.current[None], candidates]))
        del losses
        return HillClimbState(candidates[0])

    def neighbours(self, space, prompt, rng):
        self.width = 300
        return super().neighbours(space, prompt, rng)


@attrs.frozen(eq=False)
class StaleState:
    current: torch.Tensor
    stale: int = 0
    done: bool = False


@breaks("budget-is-spent-exactly")
class GivesUpSilently(HillClimb):
    State = StaleState

    def start(self, space, rng, initial):
        return StaleState(super().start(space, rng, initial).current)

    def step(self, space, state, rng):
        if state.stale == 5:
            return state
        moved = yield from super().step(space, state, rng)
        stale = state.stale + 1 if torch.equal(moved.current, state.current) else 0
        return StaleState(moved.current, stale)


@breaks("best-never-worsens")
class FalsifiesTheRecord(HillClimb):
    def step(self, space, state, rng):
        moved = yield from super().step(space, state, rng)
        frame = sys._getframe()
        while "running" not in frame.f_locals:
            frame = frame.f_back
        (track,) = next(search.tracks for search in frame.f_locals["running"] if search.state is state)
        track.best = attrs.evolve(track.best, loss=track.best.loss + 0.5)
        return moved


@breaks("bans-are-respected")
class IgnoresBans(HillClimb):
    def neighbours(self, space, prompt, rng):
        drawn = super().neighbours(space, prompt, rng)
        ids = space.tokens.allowed.nonzero().flatten()
        if len(space.allowed_ids) > 1:
            drawn[0, 0] = ids[torch.randint(len(ids), (), generator=rng)]
        return drawn


@breaks("requests-are-well-formed")
class AsksInShortIntegers(HillClimb):
    def neighbours(self, space, prompt, rng):
        return super().neighbours(space, prompt, rng).int()

    def step(self, space, state, rng):
        candidates = torch.cat([state.current[None].int(), self.neighbours(space, state.current, rng)])
        losses = yield Losses(candidates)
        return HillClimbState(candidates[losses.argmin()].long())


@breaks("asks-only-for-what-it-declares")
class TakesGradientsUnasked(HillClimb):
    def step(self, space, state, rng):
        yield Gradients(state.current[None])
        return (yield from super().step(space, state, rng))


@breaks("inputs-are-not-changed")
class MovesInPlace(HillClimb):
    def step(self, space, state, rng):
        moved = yield from super().step(space, state, rng)
        state.current.copy_(moved.current)
        return moved


@breaks("company-changes-nothing")
class CountsItsRuns(HillClimb):
    active = 0

    def step(self, space, state, rng):
        self.active += 1
        try:
            candidates = torch.cat([state.current[None], self.neighbours(space, state.current, rng)])
            losses = yield Losses(candidates[: len(candidates) // self.active])
        finally:
            self.active -= 1
        return HillClimbState(candidates[losses.argmin()])


@breaks("survives-a-vocabulary-of-one-token")
class NeedsAnotherToken(HillClimb):
    def neighbours(self, space, prompt, rng):
        torch.randint(len(space.allowed_ids) - 1, (1,), generator=rng)
        return super().neighbours(space, prompt, rng)


@breaks("finds-the-best-of-all")
class NeverTouchesTheSecondToken(HillClimb):
    def neighbours(self, space, prompt, rng):
        drawn = super().neighbours(space, prompt, rng)
        drawn[:, 1] = prompt[1]
        return drawn


@breaks("leaves-the-process-alone")
class SeedsTheWorld(HillClimb):
    def __init__(self):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def same_draws_every_time():
    """Let the optimizer that draws globally do so alike in every session."""
    state = random.getstate()
    random.seed(0)
    yield
    random.setstate(state)


def test_a_sound_optimizer_passes():
    """Nothing is found wrong with the example that authors start from."""
    report = check_optimizer(HillClimb)
    assert [(outcome.check.id, outcome.message) for outcome in report.outcomes if outcome.status != "passed"] == []


def test_every_check_has_a_broken_optimizer():
    """No check is registered without an optimizer that it catches."""
    assert set(BROKEN) == set(CHECKS.ids())


@pytest.mark.parametrize("check_id", CHECKS.ids())
def test_catches(check_id):
    """A broken optimizer fails the check of the rule that it breaks, and no other."""
    report = check_optimizer(BROKEN[check_id], strict=False)
    assert [outcome.check.id for outcome in report.failures] == [check_id], report.to_text(only_failures=True)


def test_a_failure_raises_with_rule_finding_and_remedy():
    """The error of the Python door says what was seen and what to do."""
    with pytest.raises(ConformanceError, match=r"(?s)does not allow.*To mend it: Draw tokens from"):
        check_optimizer(IgnoresBans)


def test_rowwise_optimizers_are_checked_too():
    """An optimizer that carries all targets as rows of one state passes the same checks."""

    class Rows(HillClimb):
        rowwise = True

        def start(self, space, rng, initial):
            starts = [super(Rows, self).start(space, *given).current for given in zip(rng, initial, strict=True)]
            return HillClimbState(torch.stack(starts))

        def step(self, space, state, rng):
            n_runs = len(state.current)
            pools = torch.stack(
                [
                    torch.cat([row[None], self.neighbours(space, row, torch.Generator().manual_seed(int(row.sum())))])
                    for row in state.current
                ]
            )
            losses = yield Losses(pools.flatten(0, 1), run=torch.arange(n_runs).repeat_interleave(pools.shape[1]))
            best = losses.reshape(n_runs, -1).argmin(dim=1)
            return HillClimbState(pools[torch.arange(n_runs), best])

    report = check_optimizer(Rows, strict=False)
    # Its proposals depend on the prompt alone, so that a local optimum holds it.
    assert {outcome.check.id for outcome in report.failures} <= {"finds-the-best-of-all"}


def test_who_looks_at_few_prompts_gets_more_starts():
    """Eight starts are enough for fifty candidates a step; one candidate a step gets as many candidates in all."""

    class StandsStill(HillClimb):
        def step(self, space, state, rng):
            yield Losses(state.current[None])
            return state

    (check,) = (check for check in CHECKS if check.id == "finds-the-best-of-all")
    with pytest.raises(Violation, match="from 100 starts"):
        check.run(OptimizerSubject("stands still", StandsStill))
    with pytest.raises(Violation, match="from 8 starts"):
        check.run(OptimizerSubject("broken", BROKEN[check.id]))
