"""The loop that every optimizer runs in: it answers requests, keeps the best and knows when to stop."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs
import torch

from preimage.api.events import StepEvent
from preimage.api.optimizer import Gradients, Losses, NextTokens, Optimizer, Request
from preimage.errors import PluginError
from preimage.track import Best, Track

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.budget import Budget
    from preimage.problem import Evaluation, Problem

__all__ = ["Listener", "Search", "advance", "begin"]

Listener = Callable[[StepEvent], object]

_READ_BACK = 8
"""Unstable candidates of a step whose text is scored on the chance that it is still an improvement."""


@attrs.define(eq=False)
class Search:
    """One state of an optimizer with its generator and the runs that it carries.

    A rowwise optimizer has one search for all targets; any other has one per target.
    """

    state: Any
    rngs: tuple[torch.Generator, ...]
    tracks: list[Track]
    rowwise: bool = False

    @property
    def rng(self) -> Any:
        """What the optimizer draws from: a generator for each run if it is rowwise, otherwise the only one."""
        return self.rngs if self.rowwise else self.rngs[0]

    @property
    def running(self) -> bool:
        """Whether any of its runs goes on."""
        return not self.state.done and any(track.stop_reason is None for track in self.tracks)


@attrs.frozen(eq=False)
class _Asked:
    """A request together with what the host needs to answer it."""

    search: Search
    request: Request
    rows: Tensor
    run: Tensor

    @property
    def kind(self) -> tuple[type, int]:
        """Requests of one kind, type and length, are answered by one forward pass."""
        return type(self.request), self.rows.shape[1]

    @property
    def target(self) -> Tensor:
        targets = torch.tensor([track.target for track in self.search.tracks], device=self.run.device)
        return targets[self.run]


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
    groups = [list(tracks)] if optimizer.rowwise else [[track] for track in tracks]
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
                _read_back(problem, track, row[None])
    return searches


def advance(
    problem: Problem,
    optimizer: Optimizer[Any],
    searches: Sequence[Search],
    budget: Budget,
    *,
    listeners: Sequence[Listener] = (),
    after_step: Callable[[], object] | None = None,
) -> None:
    """Step all searches in lockstep until each has a reason to stop.

    The searches and their tracks are left at the last whole step: a step that the budget cut short counts in
    what was spent and may have improved the best, but its state is dropped, so that a resumed run repeats it.

    Arguments:
        problem: answers the requests.
        optimizer: what searches.
        searches: from `begin`, or restored from a checkpoint.
        budget: of this stage, per run.
        listeners: told after each step; no event is made when there are none.
        after_step: called at the end of each step, when everything can be saved.
    """
    _stop_where_due(searches, budget)
    while running := [search for search in searches if search.running]:
        started = time.perf_counter()
        before = {id(search): [rng.get_state() for rng in search.rngs] for search in running}
        finished: dict[int, Any] = {}
        try:
            finished = _step(problem, optimizer, running, budget)
        finally:
            # Also when Ctrl-C comes in the middle of a forward pass: the step will be repeated.
            for search in running:
                if id(search) not in finished:
                    for rng, state in zip(search.rngs, before[id(search)], strict=True):
                        rng.set_state(state)
        seconds = time.perf_counter() - started
        for search in running:
            whole = id(search) in finished
            for track in search.tracks:
                if track.stop_reason is None or not whole:
                    track.charge(seconds=seconds)
                    track.step += whole
                    if whole:
                        _require_best(optimizer, track)
                    if track.lowest < float("inf"):
                        track.finish_step()
        for search in running:
            if id(search) in finished:
                search.state = finished[id(search)]
        _stop_where_due(searches, budget)
        if listeners:
            event = _event(searches)
            for listener in listeners:
                listener(event)
        if after_step is not None:
            after_step()


def _step(problem: Problem, optimizer: Optimizer[Any], running: Iterable[Search], budget: Budget) -> dict[int, Any]:
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
            asked.append(_read(optimizer, search, request))
        for kind in dict.fromkeys(item.kind for item in asked):
            for item, answer in _answer(problem, [item for item in asked if item.kind == kind], budget):
                key = id(item.search)
                if answer is None:
                    steps.pop(key)[1].close()
                else:
                    answers[key] = answer
    return finished


def _read(optimizer: Optimizer[Any], search: Search, request: object) -> _Asked:
    """Return what `request` asks for, with the run that each row belongs to."""
    if not isinstance(request, Losses | Gradients | NextTokens):
        message = f"{type(optimizer).__name__} yielded {request!r}; a step may yield Losses, Gradients or NextTokens."
        raise PluginError(message)
    rows = request.prefixes if isinstance(request, NextTokens) else request.candidates
    rows = rows[None] if rows.ndim == 1 else rows
    run = request.run
    if run is None:
        n_runs = len(search.tracks)
        run = torch.arange(len(rows)) if n_runs > 1 else torch.zeros(len(rows), dtype=torch.int64)
        if len(run) != len(rows) or (n_runs > 1 and len(rows) != n_runs):
            message = (
                f"{type(optimizer).__name__} asked about {len(rows)} rows for {n_runs} runs without saying which row "
                "belongs to which run: set the request's `run`."
            )
            raise PluginError(message)
    return _Asked(search, request, rows, run.to(rows.device))


def _answer(
    problem: Problem, asked: Sequence[_Asked], budget: Budget
) -> Iterable[tuple[_Asked, Tensor | tuple[Tensor, Tensor] | None]]:
    """Yield the answer to each of `asked`, all of one kind; None where the budget is at its end."""
    if isinstance(asked[0].request, NextTokens):
        joined = problem.next_token_log_probs(
            torch.cat([item.rows for item in asked]), torch.cat([item.target for item in asked])
        )
        for item, answer in zip(asked, torch.split(joined, [len(item.rows) for item in asked]), strict=True):
            for track, count in _per_track(item, torch.ones(len(item.rows), dtype=torch.int64)):
                track.charge(forward=count)
            yield item, answer
        return
    with_gradient = isinstance(asked[0].request, Gradients)
    granted = [_granted(item, budget) for item in asked]
    rows = torch.cat([item.rows[mask] for item, mask in zip(asked, granted, strict=True)])
    target = torch.cat([item.target[mask] for item, mask in zip(asked, granted, strict=True)])
    if not len(rows):
        for item in asked:
            yield item, None
        return
    evaluation = (problem.losses_and_gradients if with_gradient else problem.losses)(rows, target)
    start = 0
    for item, mask in zip(asked, granted, strict=True):
        stop = start + int(mask.sum())
        _account(problem, item, mask, evaluation, slice(start, stop))
        if not mask.all():
            yield item, None
        elif with_gradient:
            assert evaluation.gradient is not None
            yield item, (evaluation.losses[start:stop], evaluation.gradient[start:stop])
        else:
            yield item, evaluation.losses[start:stop]
        start = stop


def _granted(item: _Asked, budget: Budget) -> Tensor:
    """Return which rows the budget still pays for, bool ``(B,)``."""
    granted = torch.ones(len(item.rows), dtype=torch.bool, device=item.rows.device)
    for index, track in enumerate(item.search.tracks):
        left = budget.candidates_left(track.spent_in_stage)
        mine = item.run == index
        if left is not None and int(mine.sum()) > left:
            granted &= ~mine | (mine.cumsum(0) <= left)
            track.stop_reason = "max_candidates"
    return granted


def _account(problem: Problem, item: _Asked, mask: Tensor, evaluation: Evaluation, span: slice) -> None:
    """Charge each run for its rows and look for a new best among them."""
    run, rows = item.run[mask], item.rows[mask]
    losses, terms = evaluation.losses[span], evaluation.terms[span]
    for index, track in enumerate(item.search.tracks):
        mine = run == index
        if not mine.any():
            continue
        track.charge(
            candidates=int(mine.sum()),
            forward=int(evaluation.forward[span][mine].sum()),
            backward=int(evaluation.backward[span][mine].sum()),
        )
        track.lowest = min(track.lowest, float(losses[mine].min()))
        _keep_best(problem, track, rows[mine], losses[mine], terms[mine])


def _keep_best(problem: Problem, track: Track, rows: Tensor, losses: Tensor, terms: Tensor) -> None:
    """Let the lowest loss become the best, if its text is read back as its ids.

    Candidates that change on re-reading are never the best; the prompt they turn into may be.
    """
    bound = track.best.loss if track.best else float("inf")
    better = (losses < bound).nonzero().flatten()
    if not len(better):
        return
    order = better[losses[better].argsort(stable=True)]
    stable = problem.stable(rows[order])
    first = int(stable.int().argmax()) if stable.any() else len(order)
    for index in order[: min(first, _READ_BACK)]:
        _read_back(problem, track, rows[index][None])
    if first < len(order):
        winner = order[first]
        (text,) = problem.space.decode(rows[winner][None])
        track.improve(
            Best(
                text,
                tuple(rows[winner].tolist()),
                float(losses[winner]),
                tuple(terms[winner].tolist()),
                track.step + 1,
            )
        )


def _read_back(problem: Problem, track: Track, row: Tensor) -> None:
    """Score the text of `row`, ``(1, L)``, as it is read back, and keep it if it is better."""
    (text,) = problem.space.decode(row)
    (ids,) = problem.space.encode([text])
    if not 0 < len(ids) <= problem.space.max_length:
        return
    evaluation = problem.score_texts([text], torch.tensor([track.target], device=row.device))
    track.charge(forward=int(evaluation.forward.sum()))
    terms = tuple(evaluation.terms[0].tolist())
    track.improve(Best(text, tuple(ids), float(evaluation.losses[0]), terms, track.step))


def _per_track(item: _Asked, counts: Tensor) -> Iterable[tuple[Track, int]]:
    for index, track in enumerate(item.search.tracks):
        yield track, int(counts[(item.run == index).cpu()].sum())


def _stop_where_due(searches: Iterable[Search], budget: Budget) -> None:
    """Write down why each run that is over is over."""
    for search in searches:
        for track in search.tracks:
            if track.stop_reason is not None:
                continue
            if search.state.done:
                track.stop_reason = "done"
            elif budget.target_loss is not None and track.best and track.best.loss <= budget.target_loss:
                track.stop_reason = "target_loss"
            elif budget.patience is not None and track.step - track.improved_at >= budget.patience:
                track.stop_reason = "patience"
            else:
                track.stop_reason = budget.spent_by(track.step, track.spent_in_stage)


def _require_best(optimizer: Optimizer[Any], track: Track) -> None:
    if track.best is None:
        message = (
            f"After its first step {type(optimizer).__name__} has no prompt whose text can be read back: every "
            "optimizer has to ask for the loss of at least one readable candidate in each step."
        )
        raise PluginError(message)


def _event(searches: Sequence[Search]) -> StepEvent:
    tracks = sorted((track for search in searches for track in search.tracks), key=lambda track: track.target)
    bests = [cast("Best", track.best) for track in tracks]
    return StepEvent(
        step=max(track.step for track in tracks),
        loss=tuple(track.trajectory[-1].loss if track.trajectory else float("inf") for track in tracks),
        best_loss=tuple(best.loss for best in bests),
        best_text=tuple(best.text for best in bests),
        spent=tuple(track.spent for track in tracks),
        running=sum(track.stop_reason is None for track in tracks),
        stage=tracks[0].stage,
    )


def _seed_of(seed: int, stage: int) -> int:
    """Return the generator's seed for one stage: independent between stages, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}/{stage}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")
