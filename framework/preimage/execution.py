"""An assembled pipeline carried out: stage after stage, saved on the way, told to observers, turned into results."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage import checkpoint as checkpoints
from preimage.api.events import RunEvent
from preimage.errors import AssemblyError, BudgetError
from preimage.image import sha256
from preimage.loop import Listener, advance, begin, goes_on
from preimage.recipe import to_dict
from preimage.result import Provenance, Result
from preimage.search import Search
from preimage.track import Track

if TYPE_CHECKING:
    from preimage.assembly import Assembly

__all__ = ["execute"]


def execute(
    assembly: Assembly,
    *,
    seed: int,
    listeners: Sequence[Listener] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 50,
    resume: bool = False,
) -> list[Result]:
    """Carry out all stages and return one result per target; arguments as for `Pipeline.run`.

    Raises:
        BudgetError: the budget ended before there was any prompt.
    """
    pipeline, problem, catalogue = assembly.pipeline, assembly.problem, assembly.catalogue
    identity = _identity(assembly, seed)
    started = catalogue.observe("run_started")
    stepped = catalogue.observe("step_finished")
    finished = catalogue.observe("run_finished")
    heard = [*listeners, *([stepped] if stepped else [])]
    if started:
        budget = pipeline.stages[-1].budget.to_dict()
        stages, targets = tuple(_names(assembly)), tuple(target.name for target in assembly.targets)
        started(RunEvent(stages[-1], problem.n_targets, seed, budget, stages, targets))

    tracks = [Track(target) for target in range(problem.n_targets)]
    reached: list[tuple[Search, ...]] = []
    covered: list[Mapping[str, Mapping[str, int]]] = []
    if resume and checkpoint is not None and Path(checkpoint).exists():
        saved = checkpoints.load(checkpoint, identity, list(assembly.optimizers), problem)
        reached = _taken_up(assembly, saved)
        *covered, so_far = saved.coverage[: len(reached)]
        problem.count_on(so_far)
        tracks = sorted((track for search in reached[-1] for track in search.tracks), key=lambda track: track.target)
    interrupted = False
    first = max(len(reached) - 1, 0)
    try:
        for stage in range(first, len(pipeline.stages)):
            optimizer = assembly.optimizers[stage]
            if stage == len(reached):
                # The stages before are kept as they ended: a larger budget may let one of them go on.
                if reached:
                    covered.append(problem.coverage())
                reached = [tuple(search.copied() for search in ended) for ended in reached]
                reached.append(tuple(begin(problem, optimizer, tracks, seed, stage=stage)))
            save = _Saver(checkpoint, checkpoint_every, identity, reached, covered, assembly)
            advance(
                problem,
                optimizer,
                reached[stage],
                pipeline.stages[stage].budget,
                total=pipeline.budget,
                listeners=heard,
                after_step=save.step if checkpoint is not None else None,
            )
            save.now()
    except KeyboardInterrupt:
        if any(track.best is None for track in tracks):
            raise
        interrupted = True
        if reached:
            _Saver(checkpoint, checkpoint_every, identity, reached, covered, assembly).now()
    results = [_result(assembly, track, seed, interrupted=interrupted) for track in tracks]
    if finished:
        finished(results)
    return results


@attrs.define
class _Saver:
    """Writes a stage to the checkpoint now and then; does nothing without a path."""

    path: str | os.PathLike[str] | None
    every: int
    identity: str
    stages: Sequence[tuple[Search, ...]]
    covered: Sequence[Mapping[str, Mapping[str, int]]]
    assembly: Assembly
    steps: int = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps % self.every == 0:
            self.now()

    def now(self) -> None:
        if self.path is not None:
            checkpoints.save(self.path, self.identity, self.stages, self.assembly.problem, self.covered)


def _taken_up(assembly: Assembly, saved: checkpoints.Checkpoint) -> list[tuple[Search, ...]]:
    """Return the searches of the stages that a resumed run keeps, the last of which goes on.

    That is the first stage whose budget has grown, so that the result is that of a run with this budget from the
    beginning; what came after it started from another prompt and is done again.
    """
    for place, searches in enumerate(saved.stages):
        if goes_on(searches, assembly.pipeline.stages[place].budget, assembly.pipeline.budget):
            return list(saved.stages[: place + 1])
    return list(saved.stages)


def _result(assembly: Assembly, track: Track, seed: int, *, interrupted: bool) -> Result:
    """Return the best of a track, its loss computed from its text once more."""
    problem = assembly.problem
    if track.best is None:
        message = (
            f"The budget {assembly.pipeline.stages[-1].budget.describe()} ended before the first prompt could be "
            "scored: allow more candidates."
        )
        raise BudgetError(message)
    target = torch.tensor([track.target], device=problem.space.device)
    afresh = problem.score_texts([track.best.text], target)
    return Result(
        text=track.best.text,
        ids=track.best.ids,
        loss=float(afresh.losses[0]),
        terms=dict(zip((term.name for term in problem.terms), afresh.terms[0].tolist(), strict=True)),
        target=assembly.targets[track.target],
        stop_reason="interrupted" if interrupted else (track.stop_reason or "done"),
        best_step=track.best.step,
        spent=track.spent,
        trajectory=tuple(track.trajectory),
        coverage=problem.coverage(),
        provenance=Provenance(
            recipe=_recipe(assembly, track.target),
            seed=seed,
            versions=_versions(assembly),
            models=dict(assembly.models),
        ),
    )


def _identity(assembly: Assembly, seed: int) -> str:
    """Return a hash of everything that shapes the run besides its budgets."""
    recipe = to_dict(assembly.pipeline, live=_shown)
    for stage in recipe["stages"]:
        del stage["budget"]
    recipe.pop("budget", None)
    # What a preset's name stands for is in no recipe, and may be another thing tomorrow.
    options = [repr(getattr(optimizer, "config", type(optimizer))) for optimizer in assembly.optimizers]
    targets = [attrs.asdict(target) for target in assembly.targets]
    shape = [recipe, options, seed, targets, dict(assembly.models)]
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


def _shown(live: Any) -> list[str]:
    """Return what a live object shows of itself, by which it is told from others."""
    from PIL.Image import Image

    kind = f"{type(live).__module__}.{type(live).__qualname__}"
    if isinstance(live, Image):
        return [kind, sha256(live)]
    if isinstance(live, os.PathLike):
        return [kind, os.fspath(live)]
    # A model has a reference; an objective is bound to one, whose name its space has.
    names = [getattr(live, "reference", ""), getattr(getattr(live, "space", None), "name", "")]
    return [kind, repr(getattr(live, "config", None)), *names]


def _recipe(assembly: Assembly, target: int) -> dict[str, Any]:
    """Return the pipeline that finds the result of one target, without what its terms compare the others with."""
    n_targets = assembly.problem.n_targets
    terms = [
        attrs.evolve(term, targets=[term.targets[target]])
        if term.targets is not None and len(term.targets) == n_targets
        else term
        for term in assembly.pipeline.terms
    ]
    try:
        return attrs.evolve(assembly.pipeline, terms=terms).to_dict()
    except AssemblyError:
        # Live objects have no names to be found again by; the result says so with an empty recipe.
        return {}


def _names(assembly: Assembly) -> list[str]:
    return [
        stage.optimizer if isinstance(stage.optimizer, str) else type(stage.optimizer).__name__
        for stage in assembly.pipeline.stages
    ]


def _versions(assembly: Assembly) -> dict[str, str]:
    """Return the versions of everything that had a part in the result."""
    import preimage

    named: list[tuple[str, Any]] = [("optimizer", stage.optimizer) for stage in assembly.pipeline.stages]
    captioners = [getattr(optimizer, "captioner", None) for optimizer in assembly.optimizers]
    named += [("model", name.partition(":")[0]) for name in captioners if isinstance(name, str)]
    for term in assembly.pipeline.terms:
        loader = term.model.partition(":")[0] if isinstance(term.model, str) else None
        named += [("objective", term.objective), ("model", loader), ("adapter", term.adapter)]
    provided = [assembly.catalogue.describe(kind, name) for kind, name in named if isinstance(name, str)]
    plugins = assembly.catalogue.plugins
    read_by = [plugin for plugin in plugins if plugin.module.partition(".")[0] in assembly.packages]
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "preimage": preimage.__version__,
        **{item.distribution: item.version for item in provided},
        **{plugin.distribution: plugin.version for plugin in read_by},
    }
