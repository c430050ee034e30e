"""The checks of optimizers that search rows of features: run by the host's own loop on a small table."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage import checkpoint
from preimage._catalogue import catalogue as installed
from preimage.api import Component, Distance, Optimizer
from preimage.budget import Budget
from preimage.errors import AssemblyError, PluginError, PreimageError
from preimage.feature_loop import Draws, FeatureRuns, run_features
from preimage.testing.check import CheckList, NotApplicable, Report, Violation, report_given
from preimage.testing.process import untouched
from preimage.testing.recorder import Recorder, copied, same
from preimage.testing.rules import require_declared, require_members, require_record, require_state, run_twice
from preimage.testing.toy_rows import Scene, ToyColumns, toy_rows, toy_rows_problem

if TYPE_CHECKING:
    from torch import Tensor

    from preimage._catalogue import Catalogue
    from preimage.feature_problem import FeatureProblem

__all__ = ["CHECKS", "FeatureSearchSubject", "check_feature_search"]

CHECKS = CheckList("optimizer", title="Optimizer of rows")

_TOLERANCE = 1e-6
_STEPS = 100
"""Steps after which the checks cut a search short that has not ended."""
_MANY_STEPS = 500
"""Steps after which a search that has not ended is not expected to."""


@attrs.frozen(eq=False)
class FeatureSearchSubject:
    """What the checks look at.

    Attributes:
        name: for people.
        build: returns a new optimizer.
        component: what its plugin declares, where it has one.
        catalogue: whose distances it is tried with; the installed plugins without it.
    """

    name: str
    build: Callable[[], Optimizer[Any]]
    component: Component | None = None
    catalogue: Catalogue | None = None


def check_feature_search(
    optimizer: str | Callable[[], Optimizer[Any]],
    *,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    strict: bool = True,
    catalogue: Catalogue | None = None,
) -> Report:
    """Check an optimizer that searches rows of features; one given by name is checked as a component, too.

    Arguments:
        optimizer: its name in the catalogue, or a function that returns a new one.
        options: its options, where it is given by name.
        expected_failures: check id to the reason why it may fail.
        strict: raise where a required check fails, instead of only reporting it.
        catalogue: where the name, and the distances that it is tried with, are looked up; the installed plugins
            without it.

    Raises:
        ConformanceError: a required check failed.
        UnknownNameError: the catalogue has no such optimizer.

    >>> from preimage.testing import check_feature_search
    >>> from preimage.testing.example import RowClimb
    >>> check_feature_search(RowClimb).ok
    True
    """
    return report_given(
        "optimizer",
        optimizer,
        CHECKS,
        functools.partial(FeatureSearchSubject, catalogue=catalogue),
        options=options,
        expected_failures=expected_failures,
        strict=strict,
        catalogue=catalogue,
    )


def subject_of(name: str, options: Mapping[str, Any], catalogue: Catalogue) -> FeatureSearchSubject:
    """Return what the checks look at, for an optimizer of the catalogue."""
    provider = catalogue.describe("optimizer", name)
    return FeatureSearchSubject(
        str(provider), lambda: catalogue.build("optimizer", name, **options), provider.component, catalogue
    )


class _Kept(Recorder):
    """Keeps the states."""

    def __init__(self, optimizer: Optimizer[Any]) -> None:
        super().__init__(optimizer)
        self.states: list[Any] = []

    def start(self, space: Any, rng: Any, initial: Any) -> Any:
        state = super().start(space, rng, initial)
        self.states.append(state)
        return state

    def step(self, space: Any, state: Any, rng: Any) -> Any:
        after = yield from super().step(space, state, rng)
        self.states.append(after)
        return after


class _Resumed(Recorder):
    """Has every step carried out by a new optimizer, on a state that was written down and read again."""

    def __init__(self, build: Callable[[], Optimizer[Any]]) -> None:
        super().__init__(build())
        self._build = build

    def step(self, space: Any, state: Any, rng: Any) -> Any:
        optimizer = self._build()
        values, tensors = _saved(state)
        restored = {name: checkpoint.unpacked(value, tensors, space.device) for name, value in values.items()}
        return (yield from optimizer.step(space, optimizer.State(**restored), rng))


def _saved(state: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a saved run holds of a state: plain data, and copies of its tensors."""
    kind = type(state)
    tensors: dict[str, Tensor] = {}
    values = {
        field.name: checkpoint.packed(getattr(state, field.name), field.name, tensors, kind)
        for field in attrs.fields(kind)
    }
    return json.loads(json.dumps(values)), {name: copied(tensor) for name, tensor in tensors.items()}


@attrs.frozen(eq=False)
class _Run:
    problem: FeatureProblem
    recorder: Recorder
    runs: FeatureRuns

    @property
    def found(self) -> Tensor:
        """Which queries have an answer, bool ``(N,)``."""
        return self.runs.found


def _run(
    subject: FeatureSearchSubject,
    *,
    optimizer: Any = None,
    seed: int = 0,
    steps: int = _STEPS,
    candidates: int | None = None,
    cancelled: Callable[[], bool] | None = None,
    **world: Any,
) -> _Run:
    """Run a new optimizer, or the one that is given, on a new toy."""
    problem = toy_rows_problem(**world)
    recorder = Recorder(subject.build() if optimizer is None else optimizer)
    budget = Budget(num_steps=steps, max_candidates=candidates)
    watch: Any = recorder
    return _Run(problem, recorder, run_features(problem, watch, seed=seed, budget=budget, cancelled=cancelled))


def _needs(subject: FeatureSearchSubject, what: str) -> bool:
    return bool(getattr(subject.build(), f"needs_{what}", False))


def _scenes(subject: FeatureSearchSubject) -> tuple[Scene, ...]:
    return ("linear",) if _needs(subject, "linear") else ("linear", "bent")


def _require_same(left: FeatureRuns, right: FeatureRuns, what: str, tolerance: float = 0.0) -> None:
    """Raise unless two searches have found the same, at the same cost."""
    for name in ("best", "distance", "miss", "miss_margin", "candidates"):
        ours, theirs = getattr(left, name), getattr(right, name)
        if same(ours, theirs, tolerance):
            continue
        query = next(n for n in range(len(ours)) if not same(ours[n], theirs[n], tolerance))
        message = (
            f"{what} differ in the {name.replace('_', ' ')} of query {query}: {_told(ours[query])} and "
            f"{_told(theirs[query])}."
        )
        raise Violation(message)


def _told(value: Tensor) -> str:
    return "(" + ", ".join(f"{number:.6g}" for number in value.flatten().tolist()) + ")"


@CHECKS.required(remedy="Add what is missing; see preimage.api.Optimizer. Searches over rows are rowwise.")
def _follows_the_protocol(subject: FeatureSearchSubject) -> None:
    """It has requires, rowwise, State, start and step; a state has done, and a current row of each query."""
    optimizer = subject.build()
    require_members(optimizer)
    unknown = set(optimizer.requires) - {"gradient"}
    if unknown:
        raise Violation(f"requires holds {sorted(unknown)}; over rows of features it may hold 'gradient'.")
    if not optimizer.rowwise:
        raise Violation("rowwise is false; over rows of features one state carries the runs of all queries.")
    space = toy_rows_problem().space
    state = optimizer.start(space, Draws(0, space.streams), (None,) * space.n_runs)
    require_state(state, optimizer)
    current = state.current
    if not isinstance(current, torch.Tensor) or current.shape != space.reference.shape:
        shape = tuple(current.shape) if isinstance(current, torch.Tensor) else current
        raise Violation(f"For queries {tuple(space.reference.shape)} the state's current is {shape!r}.")


@CHECKS.required(remedy="Return a state whose current are the rows of `initial`, where they are given.")
def _starts_where_it_is_told(subject: FeatureSearchSubject) -> None:
    """A search that is given rows to start from starts from them, so that searches can follow one another."""
    space = toy_rows_problem().space
    run = torch.arange(space.n_runs)
    rows = space.round(toy_rows(space.n_runs, seed=5), run)
    current = subject.build().start(space, Draws(0, space.streams), tuple(rows.clone())).current
    if not same(current, rows):
        raise Violation(f"It was given {_told(rows[0])} and starts from {_told(current[0])}.")


@CHECKS.required(remedy="Draw every random number from the generators that start and step are given.")
def _same_seed_same_result(subject: FeatureSearchSubject) -> None:
    """The same seed gives the same answers at the same cost, whatever other generators have drawn."""
    one, other = run_twice(lambda: _run(subject, seed=3).runs)
    _require_same(one, other, "Two runs with one seed")


@CHECKS.required(remedy="Hold tensors, numbers, texts, None and tuples of these; State is an attrs.frozen class.")
def _state_can_be_saved(subject: FeatureSearchSubject) -> None:
    """A state is a frozen record of tensors, numbers, texts and tuples of these."""
    kept = _Kept(subject.build())
    _run(subject, optimizer=kept, steps=2)
    for state in kept.states:
        require_record(state)
        try:
            _saved(state)
        except PluginError as error:
            raise Violation(str(error)) from error


@CHECKS.required(remedy="Keep everything that the next step depends on in the state, and nothing on the optimizer.")
def _resumes_where_it_stopped(subject: FeatureSearchSubject) -> None:
    """A search whose every step is carried out by a new optimizer on a saved and restored state finds the same."""
    whole = _run(subject, seed=5)
    try:
        resumed = _run(subject, optimizer=_Resumed(subject.build), seed=5)
    except (PluginError, attrs.exceptions.NotAnAttrsClassError) as error:
        raise NotApplicable("The state cannot be saved; see state-can-be-saved.") from error
    _require_same(whole.runs, resumed.runs, "A run and one that was interrupted at every step")


@CHECKS.required(remedy="Take infinity for an answer: what the budget does not pay for has no other.")
def _budget_is_spent_exactly(subject: FeatureSearchSubject) -> None:
    """A search whose rows are spent in the middle of a step ends without an error, and has not asked for more."""
    for limit in (1, 7, 60):
        spent = _run(subject, candidates=limit).runs.candidates
        if int(spent.max()) > limit:
            raise Violation(f"With a budget of {limit} rows a query it spent {int(spent.max())}.")


@CHECKS.required(remedy="Return a state with done=True when nothing is gained any more, or after so many steps.")
def _ends_by_itself(subject: FeatureSearchSubject) -> None:
    """Without a budget a search ends, whether or not it has found anything."""
    for scene in (*_scenes(subject), "out-of-reach"):
        if "num_steps" in _run(subject, scene=scene, steps=_MANY_STEPS).runs.stop_reason:
            where = "where there is no answer" if scene == "out-of-reach" else "where there are answers"
            raise Violation(f"It was still going after {_MANY_STEPS} steps {where}.")


@CHECKS.required(remedy="Let GeneratorExit end the step: catch no BaseException around a yield.")
def _can_be_interrupted(subject: FeatureSearchSubject) -> None:
    """A search that is cancelled before any of its requests ends there, and what it has found by then stays."""
    whole = _run(subject)
    for count in range(1, min(len(whole.recorder.requests), 6) + 1):
        cut = _run(subject, cancelled=functools.partial(next, iter([False] * count), True))
        if len(cut.recorder.requests) > count:
            raise Violation(f"Cancelled before it is answered for the {count}th time, it asks again.")


@CHECKS.required(remedy="Ask about finite float64 rows (B, D), and say by `run` (B,) whose they are.")
def _requests_are_well_formed(subject: FeatureSearchSubject) -> None:
    """It asks for Losses and Gradients of finite rows (B, D) in float64 and says whose they are."""
    for scene in (*_scenes(subject), "out-of-reach"):
        done = _run(subject, scene=scene)
        n_runs, width = done.problem.space.reference.shape
        for request in done.recorder.requests:
            rows, run = request.candidates, request.run
            shape = f"{type(request).__name__} of shape {tuple(rows.shape)} and {rows.dtype}"
            if rows.ndim != 2 or rows.shape[1] != width or rows.dtype != torch.float64:
                raise Violation(f"It yielded {shape}; rows are float64 (B, {width}).")
            if not rows.isfinite().all():
                raise Violation(f"It asked about {_told(rows[~rows.isfinite().all(dim=1)][0])}.")
            if run is None and len(rows) == n_runs:
                continue
            if not isinstance(run, torch.Tensor) or run.shape != (len(rows),) or run.dtype != torch.int64:
                raise Violation(f"It yielded {shape} whose run is no int64 ({len(rows)},).")
            if len(run) and not (int(run.min()) >= 0 and int(run.max()) < n_runs):
                raise Violation(f"It asked for queries {int(run.min())} to {int(run.max())} of {n_runs}.")


@CHECKS.required(remedy="Add 'gradient' to requires, and to the component's requires:… traits, or ask for losses only.")
def _asks_only_for_what_it_declares(subject: FeatureSearchSubject) -> None:
    """Gradients are asked for only if requires says so; the component's traits agree."""
    done = _run(subject)
    require_declared(done.recorder.requires, done.recorder.requests, subject.component)


_GIVEN = {
    "reference": "the queries",
    "known": "the rows that exist",
    "known_margins": "their margins",
    "lower": "the bounds",
    "upper": "the bounds",
    "free": "what may move",
    "anchor": "where a query stays",
    "columns": "the columns' numbers",
}


@CHECKS.required(remedy="Work on copies: torch.where instead of assignment, clone() before index_put_.")
def _inputs_are_not_changed(subject: FeatureSearchSubject) -> None:
    """Neither the queries nor the rows that exist, nor bounds, nor the state are written to."""
    for max_changed in (None, 2):
        done = _run(subject, max_changed=max_changed)
        changed = set(done.recorder.mutated)
        before = toy_rows_problem(max_changed=max_changed).space
        for name, said in _GIVEN.items():
            if not same(getattr(done.problem.space, name), getattr(before, name)):
                changed.add(said)
        if changed:
            raise Violation(f"It writes to {' and to '.join(sorted(changed))}.")


@CHECKS.required(remedy="Let a query depend on its own rows and generator alone, and end by what it alone has found.")
def _company_changes_nothing(subject: FeatureSearchSubject) -> None:
    """Queries searched as one batch get the answers that each gets alone."""
    together = _run(subject, seed=2).runs
    for query in range(len(together.distance)):
        alone = _run(subject, seed=2, only=query).runs
        ours, theirs = float(together.distance[query]), float(alone.distance[0])
        if not same(ours, theirs, _TOLERANCE):
            raise Violation(f"In company query {query} has an answer at {ours:.6g}, alone at {theirs:.6g}.")


@CHECKS.required(remedy="Leave the host's record and the reach alone: yield requests and return states.")
def _answers_keep_every_limit(subject: FeatureSearchSubject) -> None:
    """Every answer is within bounds and directions, with one level of each block, and no more changes than allowed."""
    for scene in _scenes(subject):
        for max_changed in (None, 2):
            done = _run(subject, scene=scene, max_changed=max_changed)
            run = done.found.nonzero().flatten()
            space = toy_rows_problem(scene=scene).space
            reach: Any = space.reach
            complaint = reach.complaint(done.runs.best[run], run)
            if complaint:
                raise Violation(f"An answer has {complaint}.")
            changed = space.changed(done.runs.best, torch.arange(space.n_runs)).sum(dim=1)[run]
            if max_changed is not None and len(run) and int(changed.max()) > max_changed:
                raise Violation(f"An answer changes {int(changed.max())} columns, and {max_changed} may be changed.")


@CHECKS.required(remedy="Leave the host's record alone: it keeps the best of the rows that a search asks about.")
def _answers_are_scored_by_the_model(subject: FeatureSearchSubject) -> None:
    """Asked afresh, the model decides every answer as wanted, and it is as far away as it is said to be."""
    for scene in _scenes(subject):
        done = _run(subject, scene=scene)
        run = done.found.nonzero().flatten()
        problem, rows = toy_rows_problem(scene=scene), done.runs.best[run]
        margins, distances = problem.decision.loss(rows, run).tolist(), problem.space.distances(rows, run).tolist()
        for query, margin, distance in zip(run.tolist(), margins, distances, strict=True):
            said = float(done.runs.distance[query])
            if margin > 0:
                raise Violation(f"The answer to query {query} is not decided as wanted: it lacks {margin:.6g}.")
            if abs(distance - said) > _TOLERANCE * max(1.0, abs(distance)):
                raise Violation(f"The answer to query {query} is said to be {said:.6g} away, and is {distance:.6g}.")


@CHECKS.required(remedy="Go on until a row is decided as wanted; numbers have to move together with levels.")
def _finds_an_answer_where_there_is_one(subject: FeatureSearchSubject) -> None:
    """All queries are answered in a table where some of the rows that exist are decided as wanted."""
    for scene in _scenes(subject):
        done = _run(subject, scene=scene)
        lost = (~done.found).nonzero().flatten().tolist()
        if lost:
            raise Violation(
                f"Where the score is {scene} it finds nothing for {len(lost)} of {len(done.found)} queries; the "
                f"nearest miss lacks {float(done.runs.miss_margin[lost[0]]):.4g}."
            )


@CHECKS.required(remedy="Ask about the query itself, too, or about rows near to it.")
def _a_query_that_is_decided_already_is_answered(subject: FeatureSearchSubject) -> None:
    """A query that is decided as wanted has an answer, and the others of its batch have theirs."""
    plain, mixed = _run(subject), _run(subject, decided=True)
    if not mixed.found[0]:
        raise Violation("For the query that is decided as wanted nothing is found.")
    for query in range(1, 4):
        if plain.found[query] and not mixed.found[query]:
            raise Violation(f"Beside a query that is decided as wanted nothing is found for query {query}.")


@CHECKS.required(remedy="Return the state with done=True where nothing can be found; expect no row to be an answer.")
def _says_so_where_there_is_no_answer(subject: FeatureSearchSubject) -> None:
    """Where bounds do not let the score through, or nothing may change, the search ends with the nearest miss."""
    worlds: tuple[dict[str, Any], ...] = ({"scene": "out-of-reach"}, {"fixed": True}, {"fixed": True, "max_changed": 1})
    for world in worlds:
        runs = _run(subject, **world).runs
        if runs.found.any():
            raise Violation("It has an answer where there is none.")
        if "fixed" not in world and not runs.miss_margin.isfinite().all():
            raise Violation("It asks about no row of a query that has no answer, so that nobody learns what it lacks.")


@CHECKS.required(remedy="Do without space.known where it is empty.")
def _survives_a_table_without_rows(subject: FeatureSearchSubject) -> None:
    """Where no rows are known, or only such as are not decided as wanted, the search ends without an error."""
    _run(subject, known=False)
    _run(subject, scene="out-of-reach", known=False, max_changed=2)


@CHECKS.required(remedy="Ask the distance by space.distances alone, or declare needs_quadratic or needs_sample.")
def _works_with_every_distance(subject: FeatureSearchSubject) -> None:
    """Where it finds answers, it finds some under every installed distance of features that has what it looks for."""
    if not _run(subject).found.any():
        raise NotApplicable("It finds nothing; see finds-an-answer-where-there-is-one.")
    optimizer = subject.build()
    tried = 0
    for name, distance in _distances(subject.catalogue or installed()):
        if not _fits(optimizer, distance):
            continue
        try:
            found = _run(subject, distance=distance).found
        except AssemblyError:
            continue  # it has said itself that they do not fit
        except Exception as error:
            raise Violation(f"With the distance {name} it raises {type(error).__name__}: {error}") from error
        if not found.any():
            raise Violation(f"With the distance {name} it finds nothing.")
        tried += 1
    if not tried:
        raise NotApplicable("No distance of features that fits is installed.")


def _fits(optimizer: Any, distance: Any) -> bool:
    """Tell whether a distance has what an optimizer says that it needs."""
    if "gradient" in optimizer.requires and not distance.differentiable:
        return False
    if getattr(optimizer, "needs_sample", False) and not hasattr(distance, "sample"):
        return False
    if not getattr(optimizer, "needs_quadratic", False):
        return True
    return toy_rows_problem(distance=distance).space.quadratic is not None


@functools.lru_cache(maxsize=8)
def _distances(catalogue: Catalogue) -> tuple[tuple[str, Distance], ...]:
    """Return the distances of features that can be built and fitted as they are, by name: some train a network."""
    return tuple(_fitted(catalogue))


def _fitted(catalogue: Catalogue) -> Iterator[tuple[str, Distance]]:
    rows = toy_rows()
    margins = toy_rows_problem(n_queries=1).space.known_margins[:, 0]
    offered = {"labels": (margins <= 0).long(), "space": ToyColumns()}
    for provider in catalogue.providers:
        if (
            provider.kind != "distance"
            or provider.state != "ok"
            or "features" not in provider.component.trait("domain")
        ):
            continue
        try:
            distance = catalogue.build("distance", provider.qualified)
            taken = inspect.signature(distance.fit).parameters
            distance.fit(rows, **{name: value for name, value in offered.items() if name in taken})
        except PreimageError:
            continue  # what it lacks is for its own checks to say
        yield provider.component.name, distance


@CHECKS.optional(remedy="Go back from an answer towards the query as far as the decision holds.")
def _nearer_than_a_row_that_exists(subject: FeatureSearchSubject) -> None:
    """On average, answers are nearer than what looking up the nearest row of the table would have given."""
    if getattr(subject.build(), "keeps_first", False):
        raise NotApplicable("It keeps its first answer, which is to be a draw and not the nearest.")
    for scene in _scenes(subject):
        done = _run(subject, scene=scene)
        problem = toy_rows_problem(scene=scene)
        space = problem.space
        run = torch.arange(space.n_runs).repeat_interleave(len(space.known))
        looked_up = problem.losses(space.known.repeat(space.n_runs, 1), run)
        distances = torch.where(looked_up.eligible, looked_up.terms[:, 1], torch.inf).view(space.n_runs, -1).amin(1)
        both = done.found & distances.isfinite()
        if not both.any():
            raise NotApplicable("It finds nothing; see finds-an-answer-where-there-is-one.")
        ours, theirs = float(done.runs.distance[both].mean()), float(distances[both].mean())
        if ours >= theirs:
            raise Violation(
                f"Its answers are {ours:.4g} away on average, and the nearest rows that exist {theirs:.4g}."
            )


@CHECKS.required(remedy="Use the generators that are given, the logging module, and local settings.")
def _leaves_the_process_alone(subject: FeatureSearchSubject) -> None:
    """Building and running it prints nothing and changes no global generator, setting or directory."""
    with untouched("Building and running it"):
        _run(subject, steps=2)
