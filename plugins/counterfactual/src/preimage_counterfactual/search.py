"""The one entry to searching: queries in, verified answers out, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import attrs
import torch

from preimage.api.events import Spent
from preimage.errors import AssemblyError, InputError
from preimage.feature_loop import FeatureEvent, FeatureRuns, run_features
from preimage.feature_problem import FeatureProblem
from preimage.feature_space import FeatureSearchSpace
from preimage_counterfactual.diversity import select_diverse
from preimage_counterfactual.restarts import detours

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Distance, Optimizer
    from preimage.budget import Budget
    from preimage_counterfactual.decision import Decision, Wanted
    from preimage_counterfactual.reach import TableReach

__all__ = ["Answers", "Status", "search"]

Status = Literal["found", "already", "fixed", "cancelled", "budget", "none"]

_RESTARTS_PER_ANSWER = 4


@attrs.frozen(eq=False, kw_only=True, slots=False)
class Answers:
    """What was found for each of Q queries, at most K answers each; the best first.

    Attributes:
        reach: of the queries: what was allowed, and the queries themselves as ``reach.reference``.
        decision: what was asked of the model.
        wanted: what was wanted of each query.
        rows: encoded answers, ``(Q, K, D)``; the query itself where there is none.
        valid: which answers there are, bool ``(Q, K)``: each is decided as wanted by the model itself, as it is
            written down.
        distances: of the answers, ``(Q, K)``; infinite where there is none.
        margins: of the answers, ``(Q, K)``.
        misses: of each query the row that came nearest to being decided as wanted and was not, ``(Q, D)``.
        miss_margins: how much each of those lacks, ``(Q,)``; infinite where every row asked about was an answer.
        status: of each query: ``found``; ``already`` decided as wanted; ``fixed``, nothing may change; ``cancelled``;
            ``budget``, it ended before there was an answer; ``none``, the search ended and found none.
        rows_asked: of each query: rows whose values were asked for, rows through the model forward and backward,
            ``(Q, 3)``.
        steps: how many steps the search made.
        seconds: how long it took altogether.
    """

    reach: TableReach
    decision: Decision
    wanted: Wanted
    rows: Tensor
    valid: Tensor
    distances: Tensor
    margins: Tensor
    misses: Tensor
    miss_margins: Tensor
    status: tuple[Status, ...]
    rows_asked: Tensor
    steps: int
    seconds: float

    @property
    def found(self) -> Tensor:
        """Which queries have an answer, bool ``(Q,)``."""
        return self.valid.any(dim=1)

    @property
    def run(self) -> Tensor:
        """Which query each answer belongs to, in the order of `table`."""
        return self.valid.nonzero()[:, 0]

    @cached_property
    def spent(self) -> tuple[Spent, ...]:
        """What each query has cost; seconds are shared."""
        asked = self.rows_asked.tolist()
        return tuple(Spent(values, forward, backward, self.seconds) for values, forward, backward in asked)

    def table(self) -> Any:
        """Return all answers as a table like the queries', query by query; `run` says whose they are."""
        return self.reach.rows(self.rows[self.valid], self.run)

    def reason(self, query: int) -> str:
        """Return a sentence on why a query has no answer; empty where it has one."""
        return _REASONS[self.status[query]].format(lack=float(self.miss_margins[query]))


_REASONS: dict[str, str] = {
    "found": "",
    "already": "The row is already decided as wanted.",
    "fixed": "Every column is fixed for this row: let one change, or widen its range.",
    "cancelled": "The search was cancelled before an answer was found; the nearest miss lacks {lack:.4g}.",
    "budget": "The budget was spent before an answer was found; the nearest miss lacks {lack:.4g}: allow more.",
    "none": (
        "No row within the bounds that was tried is decided as wanted; the nearest miss lacks {lack:.4g}: widen the "
        "ranges, let more columns change, or try another method."
    ),
}


def search(
    decision: Decision,
    distance: Distance,
    optimizer: Optimizer[Any],
    queries: Any,
    *,
    desired: Any = "opposite",
    ranges: Mapping[Any, Sequence[Any]] | Sequence[Mapping[Any, Sequence[Any]]] | None = None,
    vary: Sequence[Any] | None = None,
    max_changed: int | None = None,
    count: int = 1,
    budget: Budget | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    listeners: Sequence[Callable[[FeatureEvent], object]] = (),
    cancelled: Callable[[], bool] | None = None,
) -> Answers:
    """Search for the nearest rows that the model decides as wanted, for all queries at once.

    Arguments:
        decision: the model and what counts as wanted; it knows the columns.
        distance: fitted, between encoded rows.
        optimizer: one that searches features.
        queries: a table.
        desired: a class, one for each query, or ``"opposite"``: the nearest row of any other class. Searches that see
            one class at a time, by its plane or its law, look for each of the others; draws come from the law of the
            likeliest other class, where the law knows classes.
        ranges: what may be answered, by column, for all queries or for each of them; see `around`.
        vary: the columns that may change; all that are not immutable without it.
        max_changed: how many columns an answer may change, besides those that follow others.
        count: answers to each query. Several come from searches of which each has moved another column beforehand, or
            from draws; of their answers those are picked that are near and unlike each other.
        budget: of each search; without it, it ends when the optimizer is done.
        seed: same seed, same answers.
        batch_size: rows in one call of the model at most.
        listeners: told after each step.
        cancelled: asked now and then whether to stop; what has been found by then is answered.

    Raises:
        AssemblyError: the pieces do not fit together.
        InputError: a query or a limit cannot be used.
    """
    if count < 1:
        message = f"count={count} asks for no answer: give 1 or more."
        raise InputError(message)
    _check_fit(decision, distance, optimizer)
    reach = decision.space.around(queries, ranges=ranges, vary=vary)
    if not len(reach.reference):
        message = "There is no row to explain: the table of queries has columns alone. Give one row or more."
        raise InputError(message)
    wanted = decision.wanted(reach, desired)
    keeps_first = getattr(optimizer, "keeps_first", False)
    one_by_one = not keeps_first and _heads_for_one(distance, optimizer) and bool(wanted.away.any())
    n_free = wanted.others.shape[1] if one_by_one else 1
    times = n_free if count == 1 else n_free - 1 + _RESTARTS_PER_ANSWER * count
    searched, asked = (reach, wanted) if times == 1 else (reach.repeated(times), wanted.repeated(times, one_by_one))
    if count > 1 and not keeps_first:
        searched = searched.held(*detours(reach, times, seed, n_free))
    space = FeatureSearchSpace(
        searched,
        distance,
        known=decision.space.data,
        known_margins=lambda: decision.known_margins(asked),
        labels=asked.present,
        wanted=asked.target,
        max_changed=max_changed,
        streams=tuple(range(times)) * len(reach.reference),
    )
    problem = FeatureProblem(space, decision.bind(searched, asked), batch_size=batch_size)
    runs = run_features(problem, optimizer, seed=seed, budget=budget, listeners=listeners, cancelled=cancelled)
    return _answers(reach, decision, wanted, runs, times, count)


def _check_fit(decision: Decision, distance: Distance, optimizer: Optimizer[Any]) -> None:
    """Raise unless the optimizer gets what it requires, before anything is searched."""
    name = type(optimizer).__name__
    requires = optimizer.requires
    if "gradient" in requires and decision.view.smooth is None:
        message = (
            f"{name} needs gradients, and the model offers none that could be followed: use a search that needs none, "
            "such as counterfactual-blackbox, or a torch module, a linear model or a multilayer perceptron."
        )
        raise AssemblyError(message)
    if "gradient" in requires and not distance.differentiable:
        message = (
            f"{name} needs gradients, and {type(distance).__name__} has none: use a search that needs none, such as "
            "counterfactual-blackbox, or another distance."
        )
        raise AssemblyError(message)
    if getattr(optimizer, "needs_linear", False) and not decision.view.linear:
        message = (
            f"{name} solves for scores that are linear in the row, and the model's are not: use another search, such "
            "as counterfactual-gradient or counterfactual-blackbox."
        )
        raise AssemblyError(message)
    solvable = hasattr(distance, "quadratic")
    if getattr(optimizer, "needs_quadratic", False) and not getattr(distance, "is_quadratic", solvable):
        what = f"{type(distance).__name__} with these options" if solvable else type(distance).__name__
        message = (
            f"{name} solves for distances that are quadratic forms, and {what} is none: use l2, mahalanobis, or joint "
            "with Gaussian margins, or another search, such as counterfactual-gradient."
        )
        raise AssemblyError(message)


def _heads_for_one(distance: Distance, optimizer: Optimizer[Any]) -> bool:
    """Tell whether a search that may end in any other class would look at one of them alone.

    A gradient shows the plane of the class that is likeliest at a row, which need not be the nearest; a
    class-conditional distance asks which class the answer has.
    """
    return "gradient" in optimizer.requires or bool(getattr(distance, "conditional", False))


def _answers(
    reach: TableReach, decision: Decision, wanted: Wanted, runs: FeatureRuns, times: int, count: int
) -> Answers:
    """Return the best `count` of each query's `times` runs."""
    n_queries = len(reach.reference)
    distances = runs.distance.view(n_queries, times)
    rows = runs.best.view(n_queries, times, -1)
    picked = torch.zeros(n_queries, 1, dtype=torch.int64)
    if times > 1:
        picked, fresh = select_diverse(rows, distances, count)
        chosen = torch.where(fresh, distances.gather(1, picked), torch.inf)
        order = chosen.argsort(dim=1, stable=True)
        picked, distances = picked.gather(1, order), chosen.gather(1, order)
    rows = rows.gather(1, picked[:, :, None].expand(-1, -1, rows.shape[2]))
    margins = runs.margin.view(n_queries, times).gather(1, picked)
    lacks, nearest = runs.miss_margin.view(n_queries, times).min(dim=1)
    misses = runs.miss.view(n_queries, times, -1)[torch.arange(n_queries), nearest]
    # Nearer to the middle of the data than such a row itself may be another one, which nobody has asked for.
    already = wanted.margin <= 0
    distances = torch.where(already[:, None], torch.inf, distances)
    lacks = torch.where(already, torch.inf, lacks)
    valid = distances < torch.inf
    rows = torch.where(valid[:, :, None], rows, reach.reference[:, None])
    status: list[Status] = ["found"] * n_queries
    for query in (~valid.any(dim=1)).nonzero().flatten().tolist():
        fixed = not bool(reach.free[query].any())
        status[query] = _unanswered(bool(already[query]), fixed, runs.stop_reason[query * times])
    counts = torch.stack([runs.candidates, runs.forward, runs.backward], dim=1)
    return Answers(
        reach=reach,
        decision=decision,
        wanted=wanted,
        rows=rows,
        valid=valid,
        distances=distances,
        margins=margins,
        misses=misses,
        miss_margins=lacks,
        status=tuple(status),
        rows_asked=counts.view(n_queries, times, 3).sum(dim=1),
        steps=runs.step,
        seconds=runs.seconds,
    )


def _unanswered(already: bool, fixed: bool, stopped: str) -> Status:
    if already:
        return "already"
    if fixed:
        return "fixed"
    if stopped == "cancelled":
        return "cancelled"
    return "none" if stopped in ("", "done") else "budget"
