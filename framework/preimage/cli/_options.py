"""The options of ``preimage invert`` and the pipeline that they describe."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from preimage.cli import UsageError
from preimage.errors import UnknownNameError, nearest

__all__ = ["add_pipeline_arguments", "pipeline_from"]

_LIMITS = {
    "num_steps": (int, "STEPS", "stop after so many steps (default: the preset's, or 250, where no limit is given)"),
    "max_candidates": (int, "COUNT", "stop when so many candidates have been scored"),
    "max_seconds": (float, "SECONDS", "stop after so much time"),
    "patience": (int, "STEPS", "stop after so many steps without an improvement"),
    "target_loss": (float, "LOSS", "stop as soon as the loss is this low"),
}
_SHAPE = (
    "optimizer",
    "preset",
    "objective",
    "model",
    "template",
    "option",
    "banned_word",
    "allowed_word",
    "allow_non_ascii",
)
"""What a recipe decides, so that it cannot be given beside one."""

_ENDING = ("num_steps", "max_candidates", "max_seconds")
"""Limits of which a search needs one; the others end it earlier."""

_TERM_KEYS = ("model", "template", "weight", "adapter")


def add_pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare everything that shapes the search."""
    search = parser.add_argument_group("what is searched, and how")
    search.add_argument("--model", metavar="LOADER:NAME", help="the model to ask, such as miniworld:clip")
    search.add_argument(
        "--optimizer",
        metavar="NAME",
        help="how to search (default: gcg); several stages: 'random-search -> gcg'",
    )
    search.add_argument(
        "-o",
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="an option of the optimizer, such as topk=64; of one stage of several: gcg.topk=64, or 2.topk=64",
    )
    search.add_argument(
        "--preset",
        action="append",
        metavar="NAME",
        help="more options of the optimizer under one name, such as paper; -o comes on top; of one stage of several: "
        "gcg.paper, or 2.paper",
    )
    search.add_argument(
        "--objective",
        action="append",
        metavar="NAME[:KEY=VALUE,…]",
        help="what makes a prompt good (default: clip-similarity); repeated ones are added up; "
        "keys: model, template, weight, adapter, adapter.OPTION and the objective's own options",
    )
    search.add_argument("--template", help="where the prompt stands, such as 'an image of {optim_str}'")
    search.add_argument("--banned-word", action="append", metavar="WORD", help="never propose it; repeatable")
    search.add_argument("--allowed-word", action="append", metavar="WORD", help="propose nothing else; repeatable")
    search.add_argument(
        "--allow-non-ascii", action="store_const", const=True, help="propose letters outside ASCII, too"
    )
    search.add_argument("--recipe", metavar="FILE", help="read all of this from a YAML or TOML file")

    budget = parser.add_argument_group("when it ends (several stages: one limit for each, such as 100,50)")
    for name, (number, metavar, help_text) in _LIMITS.items():
        budget.add_argument(f"--{name.replace('_', '-')}", type=_numbers(number), metavar=metavar, help=help_text)

    machine = parser.add_argument_group("on what it runs")
    machine.add_argument("--device", help="such as cpu or cuda:0 (default: the accelerator, if there is one)")
    machine.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="precision of the model")
    machine.add_argument("--batch-size", type=_count, metavar="N", help="candidates in one forward pass at most")


def pipeline_from(arguments: argparse.Namespace, defaults: Mapping[str, str]) -> Any:
    """Return the `Pipeline` that the arguments describe.

    Arguments:
        arguments: as `add_pipeline_arguments` declares them.
        defaults: of the settings.

    Raises:
        UsageError: options contradict each other.
        PreimageError: a part of the pipeline cannot be as it is described.
    """
    import attrs

    from preimage.pipeline import Pipeline

    if arguments.recipe is None:
        pipeline = _described(arguments, defaults)
    else:
        both = [f"--{name.replace('_', '-')}" for name in _SHAPE if getattr(arguments, name) is not None]
        if both:
            message = f"--recipe describes the search, and so does {' and '.join(both)}: leave one of them out."
            raise UsageError(message)
        pipeline = Pipeline.load(arguments.recipe)
        limits = _limits(arguments, len(pipeline.stages))
        stages = [
            attrs.evolve(stage, budget=_replaced(stage.budget, limit))
            for stage, limit in zip(pipeline.stages, limits, strict=True)
        ]
        pipeline = attrs.evolve(pipeline, stages=stages)
    machine = {
        "device": arguments.device or (defaults.get("device") if pipeline.device is None else None),
        "dtype": arguments.dtype or (defaults.get("dtype") if arguments.recipe is None else None),
        "batch_size": arguments.batch_size,
    }
    return attrs.evolve(pipeline, **{name: value for name, value in machine.items() if value is not None})


def _described(arguments: argparse.Namespace, defaults: Mapping[str, str]) -> Any:
    from preimage.inversion import DEFAULT_MODEL
    from preimage.pipeline import Pipeline, Stage
    from preimage.search_space import Constraints

    search = arguments.optimizer or defaults.get("optimizer", "gcg")
    names = [name.strip() for name in search.split("->")]
    if not all(names):
        message = f"{search!r} names no optimizer at one side of '->': write 'random-search -> gcg'."
        raise UsageError(message)
    options = _stage_options(arguments.option or (), names)
    presets = _stage_presets(arguments.preset or (), names)
    limits = _limits(arguments, len(names))
    stages = [
        Stage(optimizer=name, budget=_budget(limit, name, preset), options=own, preset=preset)
        for name, limit, own, preset in zip(names, limits, options, presets, strict=True)
    ]
    model = arguments.model or defaults.get("model", DEFAULT_MODEL)
    objectives = arguments.objective or [defaults.get("objective", "clip-similarity")]
    terms = [_term(text, model, arguments.template) for text in objectives]
    words = {
        "banned_words": arguments.banned_word,
        "allowed_words": arguments.allowed_word,
        "allow_non_ascii": arguments.allow_non_ascii,
    }
    given = {name: value for name, value in words.items() if value is not None}
    return Pipeline(stages=stages, terms=terms, constraints=Constraints(**given) if given else None)


def _stage_options(given: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the options of each stage; one without a stage's name is for all of them."""
    options: list[dict[str, Any]] = [{} for _ in names]
    for text in given:
        key, equals, value = text.partition("=")
        stage, _, name = key.strip().rpartition(".")
        if not equals or not name:
            message = f"-o {text} is not of the form name=value: write, for example, -o topk=64."
            raise UsageError(message)
        for index in _chosen(stage, names, f"-o {text}"):
            options[index][name] = value
    return options


def _stage_presets(given: Sequence[str], names: Sequence[str]) -> list[str | None]:
    """Return the preset of each stage; one without a stage's name is for all of them."""
    presets: list[str | None] = [None for _ in names]
    for text in given:
        stage, _, preset = text.strip().rpartition(".")
        for index in _chosen(stage, names, f"--preset {text}"):
            presets[index] = preset
    return presets


def _chosen(stage: str, names: Sequence[str], what: str) -> list[int]:
    """Return the places of the stages that are meant: by name, by number, or all of them by an empty text.

    Raises:
        UnknownNameError: none is.
    """
    chosen = [index for index, known in enumerate(names) if stage in ("", known, str(index + 1))]
    if not chosen:
        message = f"{what} is for the stage {stage!r}.{nearest(stage, list(names))} The stages are {_row(names)}."
        raise UnknownNameError(message)
    return chosen


def _term(text: str, model: str, template: str | None) -> Any:
    """Return the term that ``name:key=value,…`` stands for; a comma separates only where a key follows it."""
    from preimage.pipeline import Term

    name, _, rest = text.partition(":")
    values: dict[str, Any] = {}
    for part in re.split(r",(?=\s*[\w.-]+=)", rest) if rest else ():
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            message = f"The objective {text!r} has {part!r}, which is not of the form key=value."
            raise UsageError(message)
        values[key.strip()] = value.strip()
    own = {key: values.pop(key) for key in _TERM_KEYS if key in values}
    if template is not None:
        own.setdefault("template", template)
    adapter = {key.removeprefix("adapter."): values.pop(key) for key in list(values) if key.startswith("adapter.")}
    return Term(**{"objective": name.strip(), "model": model, **own}, options=values, adapter_options=adapter)


def _limits(arguments: argparse.Namespace, n_stages: int) -> list[dict[str, float]]:
    """Return the limits of each stage; one number is for all of them."""
    limits: list[dict[str, float]] = [{} for _ in range(n_stages)]
    for name in _LIMITS:
        values = getattr(arguments, name)
        if values is None:
            continue
        if len(values) not in (1, n_stages):
            message = (
                f"--{name.replace('_', '-')} has {len(values)} numbers and the search {n_stages} "
                f"stage{'s' * (n_stages > 1)}: give one number for all stages, or one for each."
            )
            raise UsageError(message)
        for index in range(n_stages):
            limits[index][name] = values[index % len(values)]
    return limits


def _budget(limit: Mapping[str, float], optimizer: str = "", preset: str | None = None) -> Any:
    from preimage.budget import Budget
    from preimage.inversion import default_budget

    endless = not set(_ENDING) & set(limit)
    return Budget(**{**(default_budget(optimizer, preset).to_dict() if endless else {}), **limit})  # type: ignore[arg-type]


def _replaced(budget: Any, limit: Mapping[str, float]) -> Any:
    """Return a recipe's budget with the limits that are given beside it; one that ends a search replaces it whole."""
    import attrs

    return _budget(limit) if set(_ENDING) & set(limit) else attrs.evolve(budget, **limit)


def _row(names: Sequence[str]) -> str:
    return ", ".join(f"{index} ({name})" for index, name in enumerate(names, 1))


def _numbers(number: type[int] | type[float]) -> Any:
    def numbers(text: str) -> list[float]:
        try:
            return [number(part) for part in text.split(",")]
        except ValueError:
            kind = "a whole number" if number is int else "a number"
            message = f"{text!r} is not {kind}, or one for each stage separated by commas"
            raise argparse.ArgumentTypeError(message) from None

    return numbers


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = f"{text!r} is not a whole number above 0"
        raise argparse.ArgumentTypeError(message)
    return int(text)
