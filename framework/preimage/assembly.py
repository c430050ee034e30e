"""Whether the pieces fit, first by what they declare, then for real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING, Any, cast

import attrs

from preimage.api.component import Component
from preimage.configuration import configure
from preimage.device import resolve_device
from preimage.errors import AssemblyError
from preimage.preset import preset_of
from preimage.targets import shows_picture

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue
    from preimage.api import Captioner, EmbeddingAdapter, Model, Objective, Optimizer
    from preimage.captioning import Captioning
    from preimage.pipeline import Pipeline, Stage, Term
    from preimage.problem import Problem
    from preimage.result import TargetRecord

__all__ = ["Assembly", "assemble", "check", "load_models"]

_EXAMPLES = {
    "classifier": "miniworld:mood or hf:cardiffnlp/twitter-roberta-base-sentiment-latest",
    "denoiser": "miniworld:sd or sd:stabilityai/stable-diffusion-2-1",
    "image-text-encoder": "miniworld:clip or open_clip:ViT-H-14/laion2b_s32b_b79k",
    "language-model": "miniworld:gpt2 or hf:gpt2-medium",
    "text-encoder": "miniworld:sentence or hf:sentence-transformers/all-MiniLM-L6-v2",
}
"""Role to models that a user may have meant."""


@attrs.frozen(eq=False)
class Assembly:
    """A pipeline with everything loaded and bound: ready to run."""

    pipeline: Pipeline
    problem: Problem
    optimizers: tuple[Optimizer[Any], ...]
    targets: tuple[TargetRecord, ...]
    models: Mapping[str, str]
    """Model reference to a hash of its weights."""
    catalogue: Catalogue
    packages: frozenset[str] = frozenset()
    """Where the models' classes come from: a loader may have another one read its models."""


def check(pipeline: Pipeline, catalogue: Catalogue, targets: Sequence[Any] | None = None) -> None:
    """Raise unless what the pieces declare fits together; nothing heavy is imported.

    Pieces that are live objects declare nothing and are checked when they are used.

    Arguments:
        pipeline: what is to be run.
        catalogue: where names are looked up.
        targets: what it is to be run on, where that is known already.

    Raises:
        AssemblyError: they do not fit; the message says what to change.
        UnknownNameError: a name is not in the catalogue.
    """
    objectives = {
        term.name: catalogue.describe("objective", term.objective).component
        for term in pipeline.terms
        if isinstance(term.objective, str)
    }
    for place, stage in enumerate(pipeline.stages):
        if isinstance(stage.optimizer, str):
            optimizer = catalogue.describe("optimizer", stage.optimizer).component
            _check_stage(pipeline, optimizer, objectives, catalogue)
            if place == 0:
                _check_start(stage, optimizer, catalogue)
            if "captions" in optimizer.trait("requires"):
                _check_captions(stage, targets or (), catalogue)
    for term in pipeline.terms:
        if term.name in objectives:
            _check_role(term, objectives[term.name], catalogue)
    _check_options(pipeline, catalogue)


def _check_options(pipeline: Pipeline, catalogue: Catalogue) -> None:
    """Raise for an option that cannot be, before a model is loaded for minutes."""
    given: list[tuple[str, Any, Mapping[str, Any]]] = [
        ("optimizer", stage.optimizer, _stage_options(stage, catalogue)) for stage in pipeline.stages
    ]
    for term in pipeline.terms:
        given += [("objective", term.objective, term.options), ("adapter", term.adapter, term.adapter_options)]
    for kind, name, options in given:
        if isinstance(name, str):
            configure(catalogue.config(kind, name), options, f"The {kind} {name!r}")


def _check_stage(
    pipeline: Pipeline, optimizer: Component, objectives: Mapping[str, Component], catalogue: Catalogue
) -> None:
    """Raise unless the objectives offer what `optimizer` requires, in the kind of space it searches."""
    for name, objective in objectives.items():
        spaces = set(objective.trait("space")), set(optimizer.trait("space"))
        if all(spaces) and not spaces[0] & spaces[1]:
            message = (
                f"{optimizer.name} searches {' and '.join(sorted(spaces[1]))}, and {name} is about "
                f"{' and '.join(sorted(spaces[0]))}: {_alternative(catalogue, objectives)}."
            )
            raise AssemblyError(message)
    required = optimizer.trait("requires")
    if "gradient" in required:
        for name, objective in objectives.items():
            if "gradient" not in objective.trait("offers"):
                message = (
                    f"{optimizer.name} needs gradients and {name} offers values only: "
                    f"{_alternative(catalogue, objectives)}."
                )
                raise AssemblyError(message)
        _check_adapters(pipeline, optimizer)
    if "next-token" in required and not any(
        "next-token" in objective.trait("offers") for objective in objectives.values()
    ):
        message = (
            f"{optimizer.name} needs to know what is likely to follow, and none of {list(objectives)} can tell: add an "
            f"objective of a language model, such as fluency, or {_alternative(catalogue, objectives)}."
        )
        raise AssemblyError(message)


def _check_captions(stage: Stage, targets: Sequence[Any], catalogue: Catalogue) -> None:
    """Raise unless every target shows a picture, and the captioner's loader has captioners."""
    # A single text instead of a list is refused when targets are read.
    for target in () if isinstance(targets, str) else targets:
        if not shows_picture(target):
            message = (
                f"{stage.optimizer} says what a picture shows, and the target {target!r} is a text: run it on "
                "pictures, or leave that stage out."
            )
            raise AssemblyError(message)
    name = cast("str", stage.optimizer)
    given = _stage_options(stage, catalogue)
    options: Any = configure(catalogue.config("optimizer", name), given, f"The optimizer {name!r}")
    reference = getattr(options, "captioner", None)
    if isinstance(reference, str):
        loader = catalogue.describe("model", reference.partition(":")[0]).component
        if loader.trait("role") and "captioner" not in loader.trait("role"):
            message = (
                f"{reference} is loaded by {loader.name}, which loads {' and '.join(sorted(loader.trait('role')))}, "
                f"and {name} needs a captioner: name one, such as miniworld:blip2 or hf:Salesforce/blip2-opt-2.7b."
            )
            raise AssemblyError(message)


def _check_start(stage: Stage, optimizer: Component, catalogue: Catalogue) -> None:
    """Raise where the first stage refines a prompt and none is given."""
    given = {"optim_str_init", "optim_ids_init"} & set(_stage_options(stage, catalogue))
    if "required" in optimizer.trait("start") and not given:
        message = (
            f"{optimizer.name} refines a prompt, and nothing before it finds one: put it behind another stage, such as "
            f"'gcg -> {optimizer.name}', or give it a text to start from (optim_str_init)."
        )
        raise AssemblyError(message)


def _check_adapters(pipeline: Pipeline, optimizer: Component) -> None:
    first, *others = pipeline.terms
    for term in others:
        names = isinstance(first.model, str) and isinstance(term.model, str)
        if names and term.model != first.model and term.adapter is None:
            message = (
                f"{optimizer.name} needs gradients, but {term.name} has a model of its own and no adapter to carry its "
                f"gradient to the tokens of {first.model}: name an adapter for it (adapter: fuse), or use an optimizer "
                "that needs no gradient, such as random-search."
            )
            raise AssemblyError(message)


def _check_role(term: Term, objective: Component, catalogue: Catalogue) -> None:
    """Raise unless the model's loader has a role that the objective can use."""
    wanted = set(objective.trait("role"))
    if not wanted:
        return
    if term.model is None:
        message = (
            f"The objective {objective.name} needs a model ({' or '.join(sorted(wanted))}): name one, such as "
            f"{_EXAMPLES.get(sorted(wanted)[0], _EXAMPLES['image-text-encoder'])}."
        )
        raise AssemblyError(message)
    if not isinstance(term.model, str):
        return
    loader = catalogue.describe("model", term.model.partition(":")[0]).component
    offered = set(loader.trait("role"))
    if offered and not offered & wanted:
        message = (
            f"{term.model} is loaded by {loader.name}, which loads {' and '.join(sorted(offered))}, and "
            f"{objective.name} needs {' or '.join(sorted(wanted))}: use a model of that role."
        )
        raise AssemblyError(message)


def _alternative(catalogue: Catalogue, objectives: Mapping[str, Component]) -> str:
    """Return a clause that names the optimizers which would fit."""
    offers = [set(objective.trait("offers")) for objective in objectives.values()]
    spaces = {space for objective in objectives.values() for space in objective.trait("space")}
    fitting = []
    for name in catalogue.names("optimizer"):
        component = catalogue.describe("optimizer", name).component
        if "required" in component.trait("start") or "captions" in component.trait("requires"):
            continue
        needs_gradient = "gradient" in component.trait("requires")
        needs_next = "next-token" in component.trait("requires")
        if (
            spaces & set(component.trait("space"))
            and (not needs_gradient or all("gradient" in offer for offer in offers))
            and (not needs_next or any("next-token" in offer for offer in offers))
        ):
            fitting.append(name)
    if not fitting:
        return "no installed optimizer fits, so use another objective"
    return f"use {' or '.join(fitting)}, or another objective"


def assemble(pipeline: Pipeline, targets: Sequence[Any], catalogue: Catalogue) -> Assembly:
    """Load the models, bind the objectives to the targets and build the optimizers.

    Raises:
        InputError: there is no target, or one cannot be read.
        AssemblyError: the pieces do not fit after all.
    """
    from preimage.problem import BoundTerm, Problem
    from preimage.search_space import SearchSpace
    from preimage.targets import read_targets

    values, records = read_targets(targets)
    terms: list[BoundTerm] = []
    models: dict[str, str] = {}
    packages: set[str] = set()
    for term in pipeline.terms:
        model = _model(term, pipeline, catalogue)
        objective = _objective(term, model, values, catalogue)
        for asked in (model, *getattr(objective, "models", ())):
            if asked is not None:
                models[asked.reference] = asked.fingerprint
                packages.add(_package(asked))
        source = terms[0].objective.space if terms else objective.space
        adapter = _adapter(term, source, objective.space, catalogue)
        name = _untaken(term.name, [bound.name for bound in terms])
        terms.append(BoundTerm(name, objective, term.weight, term.template, adapter))
    tokens = cast("Any", terms[0].objective.space)
    space = SearchSpace(tokens, pipeline.constraints)
    optimizers = tuple(_optimizer(stage, catalogue) for stage in pipeline.stages)
    captioners = _captioners(optimizers, pipeline, catalogue)
    models |= {reference: captioner.fingerprint for reference, captioner in captioners.items()}
    packages |= {_package(captioner) for captioner in captioners.values()}
    captioning = _captioning(captioners, values)
    problem = Problem(space, terms, batch_size=pipeline.batch_size, captioning=captioning)
    if problem.n_targets != len(values):
        message = (
            f"The objectives are bound to {problem.n_targets} targets and the pipeline is run on {len(values)}: "
            "run it on the targets that the objectives were built with."
        )
        raise AssemblyError(message)
    return Assembly(pipeline, problem, optimizers, records, models, catalogue, frozenset(packages))


def _untaken(name: str, taken: Sequence[str]) -> str:
    """Return the name of a term, numbered where it is `taken`: results tell terms apart by their names.

    >>> _untaken("fluency", ["fluency", "fluency #2"])
    'fluency #3'
    """
    numbered = (f"{name} #{number}" for number in count(2))
    return next(candidate for candidate in chain([name], numbered) if candidate not in taken)


def load_models(pipeline: Pipeline, catalogue: Catalogue) -> None:
    """Load the models that a pipeline names, for whoever wants to know early that one of them is not to be had.

    Raises:
        PreimageError: of the loader, where there is no such model, device or option.
    """
    for term in pipeline.terms:
        _model(term, pipeline, catalogue)
    _captioners([_optimizer(stage, catalogue) for stage in pipeline.stages], pipeline, catalogue)


def _package(model: object) -> str:
    return type(model).__module__.partition(".")[0]


def _captioners(optimizers: Sequence[Optimizer[Any]], pipeline: Pipeline, catalogue: Catalogue) -> dict[str, Captioner]:
    """Return the models that optimizers ask for captions, by their references."""
    device = resolve_device(pipeline.device)
    captioners: dict[str, Captioner] = {}
    for optimizer in optimizers:
        if "captions" not in optimizer.requires:
            continue
        named = getattr(optimizer, "captioner", None)
        if named is None:
            message = (
                f"{type(optimizer).__name__} requires captions and has no `captioner`, which says whose: give it one, "
                "a reference or a model."
            )
            raise AssemblyError(message)
        if isinstance(named, str):
            loaded = catalogue.load_model(named, "captioner", device=device, dtype=pipeline.dtype)
            captioners[named] = cast("Captioner", loaded)
        else:
            captioners[named.reference] = named
    return captioners


def _captioning(captioners: Mapping[str, Captioner], values: Sequence[Any]) -> Captioning | None:
    from preimage.captioning import Captioning, pictures_in

    if not captioners:
        return None
    for value in values:
        if not pictures_in(value):
            message = f"Captions are required, and the target {value!r} is no picture: run the pipeline on pictures."
            raise AssemblyError(message)
    return Captioning(captioners, values)


def _model(term: Term, pipeline: Pipeline, catalogue: Catalogue) -> Model | None:
    if not isinstance(term.model, str):
        return term.model
    roles: tuple[str, ...] = ()
    if isinstance(term.objective, str):
        roles = catalogue.describe("objective", term.objective).component.trait("role")
    role = roles[0] if roles else None
    device = resolve_device(pipeline.device)
    return cast("Model", catalogue.load_model(term.model, role, device=device, dtype=pipeline.dtype))


def _objective(term: Term, model: Model | None, values: Sequence[Any], catalogue: Catalogue) -> Objective:
    if not isinstance(term.objective, str):
        return term.objective
    targets = list(values) if term.targets is None else list(term.targets)
    if len(targets) == 1 and len(values) > 1:
        targets = targets * len(values)
    parts = {"model": model, "targets": targets}
    return cast("Objective", catalogue.build("objective", term.objective, parts, **term.options))


def _adapter(term: Term, source: Any, target: Any, catalogue: Catalogue) -> EmbeddingAdapter | None:
    if not isinstance(term.adapter, str):
        return term.adapter
    parts = {"source": source, "target": target}
    adapter = cast("EmbeddingAdapter", catalogue.build("adapter", term.adapter, parts, **term.adapter_options))
    adapter.fit()
    return adapter


def _optimizer(stage: Stage, catalogue: Catalogue) -> Optimizer[Any]:
    if not isinstance(stage.optimizer, str):
        return stage.optimizer
    return cast("Optimizer[Any]", catalogue.build("optimizer", stage.optimizer, **_stage_options(stage, catalogue)))


def _stage_options(stage: Stage, catalogue: Catalogue) -> Mapping[str, Any]:
    """Return the options of a stage, its preset's among them.

    Raises:
        OptionError: the optimizer has no such preset.
        AssemblyError: the optimizer is a live object, which has its options already.
    """
    if stage.preset is None:
        return stage.options
    if not isinstance(stage.optimizer, str):
        message = (
            f"The stage has the preset {stage.preset!r} and the optimizer {type(stage.optimizer).__name__} as an "
            "object, which was built with its options: name the optimizer, or leave the preset out."
        )
        raise AssemblyError(message)
    owner = f"The optimizer {stage.optimizer!r}"
    preset = preset_of(catalogue.config("optimizer", stage.optimizer), stage.preset, owner)
    return {**preset.options, **stage.options}
