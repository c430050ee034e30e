"""The one-line answer to "which prompt would make this picture?"."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from preimage.budget import Budget
from preimage.errors import InputError
from preimage.pipeline import Pipeline, Stage, Term
from preimage.preset import preset_of
from preimage.targets import read_targets

if TYPE_CHECKING:
    from PIL.Image import Image

    from preimage.loop import Listener
    from preimage.result import Result, TargetRecord
    from preimage.search_space import Constraints

__all__ = ["DEFAULT_BUDGET", "DEFAULT_MODEL", "default_budget", "invert", "rerun"]

DEFAULT_MODEL = "open_clip:ViT-H-14/laion2b_s32b_b79k"
"""The text tower that Stable Diffusion 2 listens to, so the prompt-recovery study optimises against it."""

DEFAULT_BUDGET = Budget(num_steps=250)

_HASH = 64
"""Letters of a target's hash; a group has that many for each of its members."""


@overload
def invert(image: str | os.PathLike[str] | Image, **options: Any) -> Result: ...
@overload
def invert(image: Sequence[str | os.PathLike[str] | Image], **options: Any) -> list[Result]: ...
def invert(
    image: Any,
    *,
    optimizer: str = "gcg",
    objective: str = "clip-similarity",
    model: str = DEFAULT_MODEL,
    template: str = "{optim_str}",
    preset: str | None = None,
    budget: Budget | None = None,
    num_steps: int | None = None,
    max_candidates: int | None = None,
    max_seconds: float | None = None,
    constraints: Constraints | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int | None = None,
    listeners: Sequence[Listener] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **options: Any,
) -> Any:
    """Return the prompt that a picture is most like, by the model's judgement.

    Several pictures are searched for in lockstep, each for its own prompt, and give a list of results.

    Arguments:
        image: a path or PIL image, or a list of them.
        optimizer: the search, by name; `options` are its options.
        objective: what makes a prompt good, by name.
        model: the reference of the model that the objective asks.
        template: where the prompt stands in the text that is scored.
        preset: a name for more options of the optimizer, ``"paper"``, and for its number of steps, unless given.
        budget: when to stop; or give `num_steps`, `max_candidates` or `max_seconds`.
        num_steps: see `Budget`.
        max_candidates: see `Budget`.
        max_seconds: see `Budget`.
        constraints: which words a prompt may hold.
        seed: of all randomness.
        device: where the model is loaded.
        dtype: the model's precision.
        batch_size: candidates in one forward pass at most.
        listeners: called with a `StepEvent` after each step.
        checkpoint: a file that the run is saved to.
        resume: go on from the checkpoint, if there is one.
        **options: of the optimizer, such as ``topk=64``.

    Raises:
        PreimageError: see `preimage.errors`.
    """
    given = {"num_steps": num_steps, "max_candidates": max_candidates, "max_seconds": max_seconds}
    limits: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if budget is not None and limits:
        message = f"Both budget={budget.describe()} and {limits} are given: give one of them."
        raise InputError(message)
    pipeline = Pipeline(
        stages=[
            Stage(
                optimizer=optimizer,
                budget=budget or (Budget(**limits) if limits else default_budget(optimizer, preset)),
                options=options,
                preset=preset,
            )
        ],
        terms=[Term(objective=objective, model=model, template=template)],
        constraints=constraints,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
    )
    several = isinstance(image, Sequence) and not isinstance(image, str | bytes | tuple)
    results = pipeline.run(
        list(image) if several else [image],
        seed=seed,
        listeners=listeners,
        checkpoint=checkpoint,
        resume=resume,
    )
    return results if several else results[0]


def default_budget(optimizer: str, preset: str | None = None) -> Budget:
    """Return when a search ends that was given no limit: after as many steps as its preset says.

    Raises:
        UnknownNameError: there is no such optimizer.
        OptionError: it has no such preset.
    """
    if preset is None:
        return DEFAULT_BUDGET
    from preimage._catalogue import catalogue

    owner = f"The optimizer {optimizer!r}"
    num_steps = preset_of(catalogue().config("optimizer", optimizer), preset, owner).num_steps
    return DEFAULT_BUDGET if num_steps is None else Budget(num_steps=num_steps)


def rerun(result: Result, target: Any = None) -> Result:
    """Search again as `result` was found: the same pipeline, target and seed.

    Arguments:
        result: from names and options; one from live objects cannot name what made it.
        target: the picture, where its file is no longer where it was; the tuple, where it was a group of several.

    Raises:
        InputError: the result names no recipe or no target, or the target is another one.
    """
    if not result.provenance.recipe:
        message = "This result was made with live objects, which it cannot name: build the pipeline and run it again."
        raise InputError(message)
    pipeline = Pipeline.from_dict(result.provenance.recipe)
    made_from = result.target
    source = _named(made_from) if target is None else target
    if made_from.kind == "image" and isinstance(source, str):
        source = Path(source)
    _, (found,) = read_targets([source])
    if (found.sha256 or found.name) != (made_from.sha256 or made_from.name):
        why = f"it was {made_from.name!r}"
        if made_from.sha256:
            why = f"it hashes to {found.sha256[:12]}…, not {made_from.sha256[:12]}…"
        message = f"{found.name or 'The picture'} is not what this result was made from ({why}): give that as `target`."
        raise InputError(message)
    (again,) = pipeline.run([source], seed=result.provenance.seed)
    return again


def _named(target: TargetRecord) -> str:
    """Return the path or text that a record names.

    Raises:
        InputError: it names none, or several.
    """
    if len(target.sha256) > _HASH:
        message = f"This result was made from a group, {target.name}: give its members, in a tuple, as `target`."
        raise InputError(message)
    if not target.name:
        message = "This result was made from a picture without a file: give the picture as `target`."
        raise InputError(message)
    return target.name
