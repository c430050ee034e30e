"""The loop of searches over features: all queries are rows of one state, and what a query costs is a tensor's entry.

The loop of texts keeps a track and a history for each run; a thousand counterfactuals a second leave no time for
that. Here a step over a hundred queries costs the same Python as over one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage.api.events import Spent
from preimage.api.optimizer import Gradients, Losses
from preimage.errors import AssemblyError, PluginError

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.optimizer import Optimizer
    from preimage.budget import Budget
    from preimage.feature_problem import FeatureEvaluation, FeatureProblem

__all__ = ["Draws", "FeatureEvent", "FeatureRuns", "run_features"]


@attrs.frozen
class FeatureEvent:
    """One step of all runs has ended."""

    step: int
    n_runs: int
    running: int
    found: int
    """How many queries have an answer."""
    distance: float
    """The mean distance of the answers, infinite before there is one."""
    seconds: float


@attrs.define(eq=False)
class FeatureRuns:
    """What the host knows of N runs: the best answer to each, the nearest miss, and the cost. It alone writes it.

    Attributes:
        best: the eligible row of least distance, ``(N, D)``; the query itself where there is none yet.
        distance: of the best, ``(N,)``; infinite where there is none.
        margin: of the best, ``(N,)``.
        miss: of the rows that were not eligible the one that is decided most nearly as wanted, ``(N, D)``.
        miss_margin: of the miss, ``(N,)``.
        candidates: rows whose values were asked for, ``(N,)``; forward and backward are rows through the model.
        improved_at: the step of the last improvement, ``(N,)``.
        stop_reason: of each run; empty while it goes on.
    """

    best: Tensor
    distance: Tensor
    margin: Tensor
    miss: Tensor
    miss_margin: Tensor
    candidates: Tensor
    forward: Tensor
    backward: Tensor
    improved_at: Tensor
    stop_reason: list[str]
    first: bool = False
    """Whether the first answer is kept instead of the nearest: draws are no draws once the nearest is picked."""
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def at(cls, reference: Tensor) -> FeatureRuns:
        """Return the runs of queries, ``(N, D)``, before anything has been asked."""
        n_runs = len(reference)
        none = reference.new_full((n_runs,), torch.inf)
        zero = torch.zeros(n_runs, dtype=torch.int64, device=reference.device)
        return cls(
            best=reference.clone(),
            distance=none,
            margin=none.clone(),
            miss=reference.clone(),
            miss_margin=none.clone(),
            candidates=zero,
            forward=zero.clone(),
            backward=zero.clone(),
            improved_at=zero.clone(),
            stop_reason=[""] * n_runs,
        )

    @property
    def found(self) -> Tensor:
        """Which queries have an answer, bool ``(N,)``."""
        return self.distance < torch.inf

    @property
    def live(self) -> Tensor:
        """Which runs go on, bool ``(N,)``."""
        return torch.tensor([not reason for reason in self.stop_reason], device=self.best.device)

    def spent(self, run: int) -> Spent:
        """Return what one run has cost."""
        candidates, forward, backward = (int(count[run]) for count in (self.candidates, self.forward, self.backward))
        return Spent(candidates, forward, backward, self.seconds)

    def stop(self, runs: Tensor, reason: str) -> None:
        """Write down why runs, bool ``(N,)``, that still go on are over."""
        for run in runs.nonzero().flatten().tolist():
            self.stop_reason[run] = self.stop_reason[run] or reason

    def keep(self, evaluation: FeatureEvaluation, run: Tensor) -> None:
        """Look for better answers and nearer misses among rows that have been evaluated."""
        margin, distance = evaluation.terms.unbind(dim=1)
        worth, bound = distance, self.distance
        if self.first:
            worth = torch.arange(len(run), dtype=distance.dtype, device=distance.device)
            bound = torch.where(self.found, -1.0, torch.inf).to(distance)
        better = self._least(torch.where(evaluation.eligible, worth, torch.inf), run, bound)
        if better is not None:
            at, rows = better
            self.best[at], self.margin[at], self.distance[at] = evaluation.rows[rows], margin[rows], distance[rows]
            self.improved_at[at] = self.step
        nearer = self._least(torch.where(evaluation.eligible, torch.inf, margin), run, self.miss_margin)
        if nearer is not None:
            at, rows = nearer
            self.miss[at], self.miss_margin[at] = evaluation.rows[rows], margin[rows]

    def _least(self, values: Tensor, run: Tensor, bound: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the runs whose least value is below `bound`, and the first row that has it."""
        least = bound.scatter_reduce(0, run, values, "amin")
        improved = least < bound
        if not improved.any():
            return None
        winners = ((values == least[run]) & improved[run]).nonzero().flatten()
        first = run.new_full((len(bound),), len(values)).scatter_reduce(0, run[winners], winners, "amin")
        at = improved.nonzero().flatten()
        return at, first[at]


class Draws(Sequence[torch.Generator]):
    """A generator for each run, made when it is first asked for; runs of one stream draw the same numbers."""

    def __init__(self, seed: int, streams: Sequence[int]) -> None:
        self._seed, self._streams = seed, streams
        self._made: dict[int, torch.Generator] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def __getitem__(self, run: Any) -> Any:
        if isinstance(run, slice):
            return [self[index] for index in range(*run.indices(len(self)))]
        if not -len(self) <= run < len(self):
            raise IndexError(run)
        if run not in self._made:
            self._made[run] = torch.Generator().manual_seed(_seed_of(self._seed, self._streams[run]))
        return self._made[run]

    def __iter__(self) -> Iterator[torch.Generator]:
        return (self[run] for run in range(len(self)))


def run_features(
    problem: FeatureProblem,
    optimizer: Optimizer[Any],
    *,
    seed: int = 0,
    budget: Budget | None = None,
    initial: Tensor | None = None,
    listeners: Sequence[Callable[[FeatureEvent], object]] = (),
    cancelled: Callable[[], bool] | None = None,
) -> FeatureRuns:
    """Search until every run has a reason to stop, and return what was found.

    Time, cancellation and what is left to ask are looked at before each request, so that a search ends in the middle
    of a step; what it has found by then stays. Candidates are counted exactly: those beyond the limit are answered by
    infinity.

    Arguments:
        problem: answers the requests.
        optimizer: a rowwise one.
        seed: of the run.
        budget: per query; without it the search ends when the optimizer is done.
        initial: rows to start from, ``(N, D)``, for example the answers of another search.
        listeners: told after each step.
        cancelled: asked now and then whether to stop.

    Raises:
        AssemblyError: the optimizer is not rowwise.
        PluginError: it asked for something that features have no answer to.
    """
    if not optimizer.rowwise:
        message = f"{type(optimizer).__name__} has one state a run; searches over features carry all runs in one state."
        raise AssemblyError(message)
    space = problem.space
    runs = FeatureRuns.at(space.reference)
    runs.first = getattr(optimizer, "keeps_first", False)
    draws = Draws(seed, space.streams)
    watch = _Watch(runs, budget, cancelled)
    with torch.no_grad():
        given = (None,) * space.n_runs if initial is None else tuple(initial)
        state = optimizer.start(space, draws, given)
        while not state.done and not watch.over():
            finished = _step(problem, optimizer, state, draws, runs, watch)
            if finished is None:
                break
            state = finished
            runs.step += 1
            watch.step_ended()
            for listener in listeners:
                listener(_event(runs))
    runs.seconds = watch.seconds
    runs.stop(runs.live, "done")
    return runs


class _Watch:
    """Says when a run is over."""

    def __init__(self, runs: FeatureRuns, budget: Budget | None, cancelled: Callable[[], bool] | None) -> None:
        self.runs, self.budget, self.cancelled = runs, budget, cancelled
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def over(self) -> bool:
        """Tell whether no run goes on."""
        runs, budget = self.runs, self.budget
        if self.cancelled is not None and self.cancelled():
            runs.stop(runs.live, "cancelled")
        elif budget is not None and budget.max_seconds is not None and self.seconds >= budget.max_seconds:
            runs.stop(runs.live, "max_seconds")
        elif budget is not None and budget.max_candidates is not None:
            # A step that asks until it is content would go on for ever: all its answers would be infinite.
            runs.stop(runs.candidates >= budget.max_candidates, "max_candidates")
        return all(runs.stop_reason)

    def step_ended(self) -> None:
        """Stop the runs whose limits are reached."""
        runs, budget = self.runs, self.budget
        runs.seconds = self.seconds
        if budget is None:
            return
        if budget.num_steps is not None and runs.step >= budget.num_steps:
            runs.stop(runs.live, "num_steps")
        if budget.max_candidates is not None:
            runs.stop(runs.candidates >= budget.max_candidates, "max_candidates")
        if budget.max_passes is not None:
            runs.stop(runs.forward + runs.backward >= budget.max_passes, "max_passes")
        if budget.target_loss is not None:
            runs.stop(runs.distance <= budget.target_loss, "target_loss")
        if budget.patience is not None:
            runs.stop(runs.step - 1 - runs.improved_at >= budget.patience, "patience")

    def granted(self, run: Tensor) -> Tensor | None:
        """Return which rows the budget still pays for, bool ``(B,)``; None for all of them."""
        runs, budget = self.runs, self.budget
        if budget is None or (budget.max_candidates is None and not any(runs.stop_reason)):
            return None
        granted = runs.live[run]
        if budget.max_candidates is not None:
            order = run.argsort(stable=True)
            counts = torch.bincount(run, minlength=len(runs.candidates))
            place = torch.empty_like(run)
            place[order] = torch.arange(len(run), device=run.device) - (counts.cumsum(0) - counts)[run[order]]
            granted &= place < (budget.max_candidates - runs.candidates)[run]
        return granted


def _step(
    problem: FeatureProblem, optimizer: Optimizer[Any], state: Any, draws: Draws, runs: FeatureRuns, watch: _Watch
) -> Any:
    """Carry out one step; return the next state, or None where the search ended in the middle."""
    step = optimizer.step(problem.space, state, draws)
    given: Any = None
    while True:
        try:
            request = step.send(given)
        except StopIteration as stop:
            return stop.value
        if watch.over():
            step.close()
            return None
        given = _answer(problem, optimizer, request, runs, watch)


def _answer(problem: FeatureProblem, optimizer: Optimizer[Any], request: Any, runs: FeatureRuns, watch: _Watch) -> Any:
    """Return the answer to a request; charge each run for its rows and look for a new best among them."""
    if not isinstance(request, Losses | Gradients):
        message = f"{type(optimizer).__name__} yielded {request!r}; over features a step may yield Losses or Gradients."
        raise PluginError(message)
    rows = request.candidates
    run = request.run
    if run is None:
        run = torch.arange(len(runs.distance), device=rows.device)
    if len(run) != len(rows):
        message = (
            f"{type(optimizer).__name__} asked about {len(rows)} rows for {len(runs.distance)} queries without saying "
            "which row belongs to which query: set the request's `run`."
        )
        raise PluginError(message)
    granted = watch.granted(run)
    asked, owner = (rows, run) if granted is None else (rows[granted], run[granted])
    counts = torch.bincount(owner, minlength=len(runs.candidates))
    runs.candidates += counts
    runs.forward += counts
    slopes: Tensor | None = None
    if isinstance(request, Gradients):
        terms, slopes = problem.gradients(asked, owner, distance=request.terms != "decision")
        runs.backward += counts
    else:
        evaluation = problem.losses(asked, owner)
        terms = evaluation.terms
        if len(asked):
            runs.keep(evaluation, owner)
    if granted is not None:
        terms = _spread(terms, granted, torch.inf)
        slopes = None if slopes is None else _spread(slopes, granted, 0.0)
    if not request.terms:
        terms = terms @ problem.weights
        slopes = None if slopes is None else torch.einsum("t,btd->bd", problem.weights, slopes)
    return terms if slopes is None else (terms, slopes)


def _spread(values: Tensor, granted: Tensor, fill: float) -> Tensor:
    """Return values of the granted rows among rows of `fill`."""
    whole = values.new_full((len(granted), *values.shape[1:]), fill)
    whole[granted] = values
    return whole


def _event(runs: FeatureRuns) -> FeatureEvent:
    found = runs.found
    distance = float(runs.distance[found].mean()) if found.any() else float("inf")
    running = sum(not reason for reason in runs.stop_reason)
    return FeatureEvent(runs.step, len(found), running, int(found.sum()), distance, runs.seconds)


def _seed_of(seed: int, stream: int) -> int:
    """Return a generator's seed: independent between streams, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")
