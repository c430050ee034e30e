"""The checks of optimizers: run by the host's own loop on a world small enough to try every prompt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage import checkpoint
from preimage.api import Captions, Component, NextTokens, Optimizer
from preimage.budget import Budget
from preimage.errors import PluginError
from preimage.loop import advance, begin
from preimage.search import Search
from preimage.search_space import Constraints
from preimage.start import random_ids
from preimage.testing.check import CheckList, NotApplicable, Report, Violation, report_given
from preimage.testing.process import untouched
from preimage.testing.recorder import Recorder, same
from preimage.testing.rules import require_declared, require_members, require_record, require_state, run_twice
from preimage.testing.toy import WORDS, brute_force, toy_problem
from preimage.track import Best, Track

if TYPE_CHECKING:
    from torch import Tensor

    from preimage._catalogue import Catalogue
    from preimage.problem import Problem

__all__ = ["CHECKS", "OptimizerSubject", "check_optimizer"]

CHECKS = CheckList("optimizer")

_TOLERANCE = 1e-9


@attrs.frozen(eq=False)
class OptimizerSubject:
    """What the checks look at.

    Attributes:
        name: for people.
        build: returns a new optimizer.
        component: what its plugin declares, where it has one.
    """

    name: str
    build: Callable[[], Optimizer[Any]]
    component: Component | None = None


def check_optimizer(
    optimizer: str | Callable[[], Optimizer[Any]],
    *,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    strict: bool = True,
    catalogue: Catalogue | None = None,
) -> Report:
    """Check an optimizer; one that is given by name is checked as a component, too.

    Arguments:
        optimizer: its name in the catalogue, or a function that returns a new one.
        options: its options, where it is given by name.
        expected_failures: check id to the reason why it may fail.
        strict: raise where a required check fails, instead of only reporting it.
        catalogue: where the name is looked up; the installed plugins without it.

    Raises:
        ConformanceError: a required check failed.
        UnknownNameError: the catalogue has no such optimizer.

    >>> from preimage.testing import check_optimizer
    >>> from preimage.testing.example import HillClimb
    >>> check_optimizer(HillClimb).ok
    True
    """
    return report_given(
        "optimizer",
        optimizer,
        CHECKS,
        OptimizerSubject,
        options=options,
        expected_failures=expected_failures,
        strict=strict,
        catalogue=catalogue,
    )


def subject_of(name: str, options: Mapping[str, Any], catalogue: Catalogue) -> OptimizerSubject:
    """Return what the checks look at, for an optimizer of the catalogue."""
    provider = catalogue.describe("optimizer", name)
    return OptimizerSubject(str(provider), lambda: catalogue.build("optimizer", name, **options), provider.component)


@attrs.frozen(eq=False)
class _Run:
    problem: Problem
    recorder: Recorder
    searches: tuple[Search, ...]
    tracks: list[Track]

    @property
    def candidates(self) -> list[Tensor]:
        """All candidates and prefixes that were asked about, each ``(B, L)``."""
        return [_rows(request) for request in self.recorder.requests if not isinstance(request, Captions)]


def _run(
    subject: OptimizerSubject,
    *,
    steps: int | None = None,
    candidates: int | None = None,
    target_loss: float | None = None,
    patience: int | None = None,
    n_targets: int = 1,
    targets: Sequence[int] | None = None,
    length: int | None = None,
    seed: int = 0,
    constraints: Constraints | None = None,
) -> _Run:
    """Run a new optimizer on a new toy; with `length` from random ids, without from where its options say."""
    problem = toy_problem(n_targets=n_targets, constraints=constraints, captioner=_captioner_of(subject))
    if length is None and _refines(subject):
        length = 3
    recorder = Recorder(subject.build())
    tracks = [Track(target) for target in (range(n_targets) if targets is None else targets)]
    if length is not None:
        for track in tracks:
            track.best = _start(problem, track.target, length, seed)
    searches = tuple(begin(problem, recorder, tracks, seed))
    budget = Budget(num_steps=steps, max_candidates=candidates, target_loss=target_loss, patience=patience)
    advance(problem, recorder, searches, budget)
    return _Run(problem, recorder, searches, tracks)


def _captioner_of(subject: OptimizerSubject) -> Any:
    """Return the captioner that it asks, where it asks for captions."""
    optimizer = subject.build()
    if "captions" not in optimizer.requires:
        return None
    captioner = getattr(optimizer, "captioner", None)
    if captioner is None:
        raise Violation(f"{type(optimizer).__name__} requires captions and has no `captioner`, which says whose.")
    return captioner


def _refines(subject: OptimizerSubject) -> bool:
    """Tell whether it only works on the prompts that it is given."""
    return subject.component is not None and "required" in subject.component.trait("start")


def _start(problem: Problem, target: int, length: int, seed: int) -> Best:
    rng = torch.Generator().manual_seed(1000 * seed + 7)
    ids = random_ids(problem.space, rng, length)
    evaluation = problem.losses(ids[None], torch.tensor([target]))
    (text,) = problem.space.decode(ids[None])
    terms = tuple(evaluation.terms[0].tolist())
    return Best(text, tuple(ids.tolist()), float(evaluation.losses[0]), terms, 0)


def _rows(request: Any) -> Tensor:
    rows: Tensor = request.prefixes if isinstance(request, NextTokens) else request.candidates
    return rows[None] if rows.ndim == 1 else rows


def _history(track: Track) -> tuple[Any, ...]:
    """Return what a run has been through, without the time that it took."""
    assert track.best is not None
    points = tuple(
        (point.step, point.loss, point.best_loss, point.best_text, point.spent.candidates) for point in track.trajectory
    )
    return track.best.text, track.best.ids, track.best.loss, track.step, track.spent.candidates, points


def _require_same(left: Sequence[Track], right: Sequence[Track], what: str, tolerance: float = 0.0) -> None:
    for one, other in zip(left, right, strict=True):
        ours, theirs = _history(one), _history(other)
        if same(ours, theirs, tolerance):
            continue
        step = next((a[0] for a, b in zip(ours[-1], theirs[-1], strict=False) if not same(a, b, tolerance)), 0)
        message = (
            f"{what} differ from step {step} on: the best prompts are {ours[0]!r} (loss {ours[2]:.6g}) and "
            f"{theirs[0]!r} (loss {theirs[2]:.6g})."
        )
        raise Violation(message)


@CHECKS.required(remedy="Add what is missing; see preimage.api.Optimizer.")
def _follows_the_protocol(subject: OptimizerSubject) -> None:
    """It has requires, rowwise, State, start and step, and a state has current and done."""
    optimizer = subject.build()
    require_members(optimizer)
    unknown = set(optimizer.requires) - {"gradient", "next-token", "captions"}
    if unknown:
        raise Violation(f"requires holds {sorted(unknown)}; it may hold 'gradient', 'next-token' and 'captions'.")
    run = _run(subject, steps=1)
    state = run.searches[0].state
    require_state(state, optimizer)
    current = state.current
    if not isinstance(current, torch.Tensor) or current.ndim != 1 + optimizer.rowwise:
        shape = tuple(current.shape) if isinstance(current, torch.Tensor) else current
        raise Violation(f"The state's current is {shape!r} instead of a tensor of ids (L,), or of rows of them.")


@CHECKS.required(remedy="Return a state at `initial` where it is given, as preimage.start.initial_ids does.")
def _starts_where_it_is_told(subject: OptimizerSubject) -> None:
    """A search that is given ids to start from starts from them, so that stages can follow one another."""
    problem = toy_problem()
    optimizer = subject.build()
    rng = torch.Generator().manual_seed(0)
    ids = random_ids(problem.space, rng, 3)
    if optimizer.rowwise:
        current = optimizer.start(problem.space, (rng,), (ids.clone(),)).current[0]
    else:
        current = optimizer.start(problem.space, rng, ids.clone()).current
    if not torch.equal(current, ids):
        raise Violation(f"It was given {ids.tolist()} and starts from {current.tolist()}.")


@CHECKS.required(remedy="Draw every random number from the generator that start and step are given.")
def _same_seed_same_result(subject: OptimizerSubject) -> None:
    """The same seed gives the same prompts, losses and costs, whatever other generators have drawn."""
    one, other = run_twice(lambda: _run(subject, steps=4, seed=3).tracks)
    _require_same(one, other, "Two runs with one seed")


@CHECKS.required(remedy="Hold tensors, numbers, texts, None and tuples of these; State is an attrs.frozen class.")
def _state_can_be_saved(subject: OptimizerSubject) -> None:
    """A state is a frozen record of tensors, numbers, texts and tuples of these."""
    run = _run(subject, steps=2)
    require_record(run.searches[0].state)
    with tempfile.TemporaryDirectory() as folder:
        try:
            checkpoint.save(Path(folder) / "run", "check", [run.searches], run.problem)
        except PluginError as error:
            raise Violation(str(error)) from error


@CHECKS.required(remedy="Keep everything that the next step depends on in the state, and nothing on the optimizer.")
def _resumes_where_it_stopped(subject: OptimizerSubject) -> None:
    """Ten steps are five steps, saved, loaded by a new process, and five more."""
    whole = _run(subject, steps=10, n_targets=2, seed=5)
    half = _run(subject, steps=5, n_targets=2, seed=5)
    problem = toy_problem(n_targets=2, captioner=_captioner_of(subject))
    optimizer = subject.build()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        try:
            checkpoint.save(path, "check", [half.searches], half.problem)
        except Exception as error:
            raise NotApplicable("The state cannot be saved; see state-can-be-saved.") from error
        saved = checkpoint.load(path, "check", [optimizer], problem)
    advance(problem, optimizer, saved.searches, Budget(num_steps=10))
    resumed = [track for search in saved.searches for track in search.tracks]
    _require_same(whole.tracks, resumed, "A run and one that was interrupted")


@CHECKS.required(remedy="Ask for losses in every step until the state is done, and let GeneratorExit end the step.")
def _budget_is_spent_exactly(subject: OptimizerSubject) -> None:
    """A run ends when its candidates are spent, not one later, or when it says that it is done."""
    for limit in (1, 60, 777):
        run = _run(subject, candidates=limit, steps=800, length=3)
        (track,) = run.tracks
        if track.spent.candidates > limit:
            raise Violation(f"With a budget of {limit} candidates it spent {track.spent.candidates}.")
        if track.stop_reason == "num_steps":
            raise Violation(
                f"With a budget of {limit} candidates it was still going after 800 steps, {track.spent.candidates} "
                "candidates spent: a step that asks for nothing never ends."
            )


@CHECKS.required(remedy="Leave the host's bookkeeping alone: yield requests and return states.")
def _best_never_worsens(subject: OptimizerSubject) -> None:
    """The best prompt's loss never rises, and it is the loss of the prompt's text."""
    run = _run(subject, steps=8, length=4)
    (track,) = run.tracks
    assert track.best is not None
    losses = [point.best_loss for point in track.trajectory] + [track.best.loss]
    for step, (earlier, later) in enumerate(pairwise(losses), start=2):
        if later > earlier:
            raise Violation(f"The best loss rises from {earlier:.6g} to {later:.6g} at step {step}.")
    afresh = float(run.problem.score_texts([track.best.text], torch.tensor([0])).losses[0])
    if abs(afresh - track.best.loss) > _TOLERANCE:
        raise Violation(f"The best loss is {track.best.loss:.9g}, but its text {track.best.text!r} has {afresh:.9g}.")


@CHECKS.required(remedy="Draw tokens from space.allowed_ids, and set the scores of all others to minus infinity.")
def _bans_are_respected(subject: OptimizerSubject) -> None:
    """No token is proposed that the model cannot read or the user has banned."""
    few = WORDS[::3]
    for constraints in (
        None,
        Constraints(banned_words=tuple(WORDS[:12])),
        Constraints(allowed_words=tuple(few)),
    ):
        run = _run(subject, steps=4, length=3, constraints=constraints)
        allowed = run.problem.space.allowed
        for rows in run.candidates:
            ids = rows[(rows >= 0) & (rows < len(allowed))].long()
            forbidden = ids[~allowed[ids]]
            if len(forbidden):
                (word,) = run.problem.space.decode(forbidden[:1][None])
                raise Violation(
                    f"It asked about token {int(forbidden[0])} ({word!r}), which {constraints or 'the model'} "
                    "does not allow."
                )


@CHECKS.required(remedy="Ask about int64 ids of shape (B, L) with 1 <= L <= space.max_length.")
def _requests_are_well_formed(subject: OptimizerSubject) -> None:
    """Candidates are ids (B, L) of type int64, at least one of them, no longer than the model reads."""
    run = _run(subject, steps=4, length=3)
    vocabulary, longest = len(run.problem.space.embedding), run.problem.space.max_length
    for request in run.recorder.requests:
        if isinstance(request, Captions):
            continue
        rows = request.prefixes if isinstance(request, NextTokens) else request.candidates
        shape = f"{type(request).__name__} of shape {tuple(rows.shape)} and {rows.dtype}"
        shortest = 0 if isinstance(request, NextTokens) else 1
        if rows.ndim != 2 or rows.dtype != torch.int64:
            raise Violation(f"It yielded {shape}; ids are int64 (B, L).")
        if not len(rows) or not shortest <= rows.shape[1] <= longest:
            raise Violation(f"It yielded {shape}; at least one row is needed, of {shortest} to {longest} tokens.")
        if rows.numel() and not (int(rows.min()) >= 0 and int(rows.max()) < vocabulary):
            raise Violation(f"It yielded ids from {int(rows.min())} to {int(rows.max())} of {vocabulary} tokens.")


@CHECKS.required(remedy="Add what it asks for to requires, and to the component's requires:… traits.")
def _asks_only_for_what_it_declares(subject: OptimizerSubject) -> None:
    """Gradients, next tokens and captions are asked for only if requires says so; the component's traits agree."""
    run = _run(subject, steps=4)
    require_declared(run.recorder.requires, run.recorder.requests, subject.component)


@CHECKS.required(remedy="Work on copies: scatter instead of scatter_, torch.where instead of assignment.")
def _inputs_are_not_changed(subject: OptimizerSubject) -> None:
    """Neither the space nor the state nor the ids it starts from are written to."""
    problem = toy_problem(captioner=_captioner_of(subject))
    embedding, allowed = problem.space.embedding.clone(), problem.space.allowed.clone()
    recorder = Recorder(subject.build())
    track = Track(0, best=_start(problem, 0, 3, 0))
    searches = begin(problem, recorder, [track], 0)
    advance(problem, recorder, searches, Budget(num_steps=4))
    changed = sorted(recorder.mutated)
    if not torch.equal(embedding, problem.space.embedding):
        changed.append("the embedding matrix")
    if not torch.equal(allowed, problem.space.allowed):
        changed.append("the mask of allowed tokens")
    if changed:
        raise Violation(f"It writes to {' and to '.join(changed)}.")


@CHECKS.required(remedy="Keep nothing on the optimizer: all searches of a set of runs share one.")
def _company_changes_nothing(subject: OptimizerSubject) -> None:
    """Three targets searched in lockstep take the same paths as each alone."""
    together = _run(subject, steps=4, n_targets=3, length=4, seed=2)
    for target in range(3):
        alone = _run(subject, steps=4, n_targets=3, targets=[target], length=4, seed=2)
        _require_same([together.tracks[target]], alone.tracks, "A run in company and alone", _TOLERANCE)


@CHECKS.required(remedy="Return the state with done=True where no other prompt exists; propose nothing otherwise.")
def _survives_a_vocabulary_of_one_token(subject: OptimizerSubject) -> None:
    """Where one token is left there is nothing to search, and that is no error."""
    run = _run(subject, steps=3, candidates=50, length=2, constraints=Constraints(allowed_words=(WORDS[13],)))
    (track,) = run.tracks
    assert track.best is not None
    if set(track.best.text.split()) != {WORDS[13]}:
        raise Violation(f"Only {WORDS[13]!r} is allowed, and the best prompt is {track.best.text!r}.")


@CHECKS.required(remedy="See that every position can change to every allowed token, and that better prompts are kept.")
def _finds_the_best_of_all(subject: OptimizerSubject) -> None:
    """The best of all prompts of two tokens is found from one of several starts within 3,000 candidates."""
    if _refines(subject):
        raise NotApplicable("It refines the prompt that it is given (start:required) and does not look for others.")
    if _captioner_of(subject) is not None:
        raise NotApplicable("It proposes what a captioner says of the picture (requires:captions), and nothing else.")
    problem = toy_problem()
    ids, loss = brute_force(problem, length=2)
    (text,) = problem.space.decode(ids[None])
    found: list[Best] = []
    spent = 0
    # Eight starts, and more for those that look at few prompts a step, until they have looked at as many in all.
    for seed in range(100):
        if seed >= 8 and spent >= 3000:
            break
        run = _run(subject, steps=100, candidates=3000, patience=25, target_loss=loss + _TOLERANCE, length=2, seed=seed)
        best = run.tracks[0].best
        assert best is not None
        if best.loss <= loss + _TOLERANCE:
            return
        found.append(best)
        spent += run.tracks[0].spent.candidates
    nearest = min(found, key=lambda best: best.loss)
    raise Violation(
        f"The best prompt is {text!r} (loss {loss:.4g}); the best that it found from {len(found)} starts is "
        f"{nearest.text!r} (loss {nearest.loss:.4g})."
    )


@CHECKS.required(remedy="Use the generator that is given, the logging module, and local settings.")
def _leaves_the_process_alone(subject: OptimizerSubject) -> None:
    """Building and running it prints nothing and changes no global generator, setting or directory."""
    with untouched("Building and running it"):
        _run(subject, steps=2)
