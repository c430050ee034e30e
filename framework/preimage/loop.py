"""The loop that every optimizer runs in: many runs in lockstep, each until it has a reason to stop."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage.answering import answer, read_back, read_request
from preimage.api.events import StepEvent
from preimage.budget import Limits
from preimage.errors import ConstraintError, PluginError
from preimage.search import Search

if TYPE_CHECKING:
    from preimage.api.optimizer import Optimizer
    from preimage.budget import Budget
    from preimage.problem import Problem
    from preimage.track import Track

__all__ = ["Listener", "advance", "begin", "goes_on"]

Listener = Callable[[StepEvent], object]


def begin(
    problem: Problem, optimizer: Optimizer[Any], tracks: Sequence[Track], seed: int, *, stage: int = 0
) -> list[Search]:
    """Return the searches of a stage at their start, each prompt they start from scored.

    Every run draws from a generator of its own with the same seed, so that a run in company takes the same
    path as a run alone.

    Arguments:
        problem: bound to at least as many targets as the tracks name.
        optimizer: what searches.
        tracks: one per target; a track that has a best hands it on as the start.
        seed: of the run.
        stage: the place of this stage in its pipeline.
    """
    for track in tracks:
        track.begin_stage(stage)
    groups = _of_one_length(tracks) if optimizer.rowwise else [[track] for track in tracks]
    searches = []
    for group in groups:
        rngs = tuple(torch.Generator().manual_seed(_seed_of(seed, stage)) for _ in group)
        starts = tuple(track.initial_ids(problem.space.device) if track.best else None for track in group)
        search = Search(None, rngs, group, optimizer.rowwise)
        search.state = optimizer.start(problem.space, search.rng, starts if optimizer.rowwise else starts[0])
        searches.append(search)
    for search in searches:
        current = search.state.current
        rows = current if optimizer.rowwise else current[None]
        if rows.shape[1] == 0:
            continue
        for row, track in zip(rows, search.tracks, strict=True):
            if track.best is None:
                read_back(problem, track, row[None], track.step)
    return searches


def advance(
    problem: Problem,
    optimizer: Optimizer[Any],
    searches: Sequence[Search],
    budget: Budget,
    *,
    total: Budget | None = None,
    listeners: Sequence[Listener] = (),
    after_step: Callable[[], object] | None = None,
) -> None:
    """Step all searches in lockstep until each has a reason to stop.

    The searches are left at the last whole step: a step that was cut short, by the budget or by Ctrl-C, counts in what
    was spent and may have improved the best, but its state is dropped. A run that goes on after all, with a larger
    budget, takes that step back and repeats it.

    Arguments:
        problem: answers the requests.
        optimizer: what searches.
        searches: from `begin`, or restored from a checkpoint.
        budget: of this stage, per run.
        total: of all stages together, per run.
        listeners: told after each step; no event is made when there are none.
        after_step: called at the end of each step, when everything can be saved.
    """
    limits = Limits(budget, total)
    _stop_where_due(searches, limits)
    while running := [search for search in searches if search.running]:
        started = time.perf_counter()
        before = [_Before.of(search) for search in running]
        remembered = problem.memory.n_remembered
        finished: dict[int, Any] = {}
        try:
            finished = _step(problem, optimizer, running, limits)
        finally:
            # Also when Ctrl-C comes in the middle of a forward pass: the step will be repeated.
            cut = [each for each in before if id(each.search) not in finished]
            for each in cut:
                each.keep()
            if cut:
                problem.memory.forget(remembered, {track.target for each in cut for track in each.search.tracks})
        seconds = time.perf_counter() - started
        for each in before:
            whole = id(each.search) in finished
            for track, _ in each.tracks:
                track.charge(seconds=seconds)
                # A run whose budget ended in the midst of a step that its company finished has not finished it.
                if whole and track.stop_reason is None:
                    track.step += 1
                    _require_best(problem, optimizer, track)
                if track.best is not None and track.lowest < float("inf"):
                    track.finish_step()
            if whole:
                each.search.state = finished[id(each.search)]
        _stop_where_due(searches, limits)
        event = _event(searches, problem) if listeners else None
        if event is not None:
            for listener in listeners:
                listener(event)
        if after_step is not None:
            after_step()


def goes_on(searches: Sequence[Search], budget: Budget, total: Budget | None = None) -> bool:
    """Tell whether `advance` would take a step with any of the searches; why the others are over is written down."""
    _stop_where_due(searches, Limits(budget, total))
    return any(search.running for search in searches)


@attrs.frozen(eq=False)
class _Before:
    """A search before a step, in case that the step is cut short."""

    search: Search
    rngs: list[torch.Tensor]
    tracks: list[tuple[Track, Track]]
    """The runs that go on, each with what it was."""

    @classmethod
    def of(cls, search: Search) -> _Before:
        tracks = [(track, attrs.evolve(track)) for track in search.tracks if track.stop_reason is None]
        return cls(search, [rng.get_state() for rng in search.rngs], tracks)

    def keep(self) -> None:
        """See to it that the step can be repeated."""
        for rng, state in zip(self.search.rngs, self.rngs, strict=True):
            rng.set_state(state)
        for track, before in self.tracks:
            # The history is written at the end of a step, so that it is still what it was.
            track.before_cut = attrs.evolve(before, trajectory=list(track.trajectory))


def _of_one_length(tracks: Sequence[Track]) -> list[list[Track]]:
    """Return the tracks that start from equally long prompts together: one state's rows are equally long."""
    groups: dict[int | None, list[Track]] = {}
    for track in tracks:
        groups.setdefault(len(track.best.ids) if track.best else None, []).append(track)
    return list(groups.values())


def _step(problem: Problem, optimizer: Optimizer[Any], running: Iterable[Search], limits: Limits) -> dict[int, Any]:
    """Carry out one step of each search; return the next states of those that the budget let finish."""
    steps = {id(search): (search, optimizer.step(problem.space, search.state, search.rng)) for search in running}
    answers: dict[int, Any] = dict.fromkeys(steps)
    finished: dict[int, Any] = {}
    while steps:
        asked = []
        for key, (search, step) in list(steps.items()):
            try:
                request = step.send(answers[key])
            except StopIteration as stop:
                finished[key] = stop.value
                del steps[key]
                continue
            asked.append(read_request(optimizer, search, request))
        for kind in dict.fromkeys(item.kind for item in asked):
            for item, given in answer(problem, [item for item in asked if item.kind == kind], limits):
                key = id(item.search)
                if given is None:
                    steps.pop(key)[1].close()
                else:
                    answers[key] = given
    return finished


def _stop_where_due(searches: Iterable[Search], limits: Limits) -> None:
    """Write down why each run that is over is over."""
    budget = limits.stage
    for search in searches:
        for track in search.tracks:
            if track.stop_reason is not None:
                continue
            if track.before_cut is not None:
                if limits.candidates_left(track) == 0:
                    track.stop_reason = "max_candidates"
                    continue
                track.take_back()
            if search.state.done:
                track.stop_reason = "done"
            elif budget.target_loss is not None and track.best and track.best.loss <= budget.target_loss:
                track.stop_reason = "target_loss"
            elif budget.patience is not None and track.step - track.improved_at >= budget.patience:
                track.stop_reason = "patience"
            else:
                track.stop_reason = limits.spent_by(track)


def _require_best(problem: Problem, optimizer: Optimizer[Any], track: Track) -> None:
    """Raise where a step has ended and there is no prompt.

    Raises:
        ConstraintError: what was asked about turns into something else when its text is read.
        PluginError: nothing was asked about.
    """
    if track.best is not None:
        return
    name = type(optimizer).__name__
    if track.spent.candidates:
        message = (
            f"None of the {track.spent.candidates} prompts that {name} has tried is read back from its text as 1 to "
            f"{problem.space.max_length} tokens that may be proposed, which is what {problem.space.name} has room for: "
            "start from a shorter prompt (prompt_length), shorten the template, or allow more words."
        )
        raise ConstraintError(message)
    message = (
        f"After its first step {name} has no prompt whose text can be read back: every optimizer has to ask for the "
        "loss of at least one readable candidate in each step."
    )
    raise PluginError(message)


def _event(searches: Sequence[Search], problem: Problem) -> StepEvent | None:
    """Return what to tell listeners; None while the budget ended before there was any prompt."""
    tracks = sorted((track for search in searches for track in search.tracks), key=lambda track: track.target)
    bests = [track.best for track in tracks if track.best is not None]
    if len(bests) < len(tracks):
        return None
    return StepEvent(
        step=max(track.step for track in tracks),
        loss=tuple(track.trajectory[-1].loss if track.trajectory else float("inf") for track in tracks),
        best_loss=tuple(best.loss for best in bests),
        best_text=tuple(best.text for best in bests),
        spent=tuple(track.spent for track in tracks),
        running=sum(track.stop_reason is None for track in tracks),
        stage=tracks[0].stage,
        coverage=problem.coverage(),
    )


def _seed_of(seed: int, stage: int) -> int:
    """Return the generator's seed for one stage: independent between stages, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}/{stage}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")
