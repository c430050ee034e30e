"""Pipelines as YAML, TOML or plain dictionaries."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from preimage.budget import Budget
from preimage.errors import AssemblyError, InputError, nearest
from preimage.pipeline import Pipeline, Stage, Term
from preimage.search_space import Constraints

__all__ = ["from_dict", "read", "to_dict"]

_NAMES = ("optimizer", "objective", "model", "adapter")


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a recipe file holds.

    Raises:
        InputError: the file cannot be read, or is not valid YAML (``.yaml``, ``.yml``) or TOML (``.toml``).
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"The recipe {path} cannot be read ({error}): check the path."
        raise InputError(message) from error
    try:
        data = _parse(path.suffix.lower(), text)
    except ValueError as error:
        message = f"The recipe {path} cannot be understood: {error}."
        raise InputError(message) from error
    if not isinstance(data, dict):
        message = f"The recipe {path} holds a {type(data).__name__}; it must hold 'stages' and 'terms'."
        raise InputError(message)
    return data


def from_dict(data: Mapping[str, Any]) -> Pipeline:
    """Return the pipeline that `data` describe; see the recipes in the documentation.

    Raises:
        InputError: a key is unknown or missing, or a part has the wrong form.
    """
    fields = dict(data)
    fields["stages"] = [_stage(item) for item in _items(data, "stages")]
    fields["terms"] = [_record(Term, item, "A term of the recipe") for item in _items(data, "terms")]
    if fields.get("constraints") is not None:
        fields["constraints"] = _record(Constraints, fields["constraints"], "A constraint of the recipe")
    if fields.get("budget") is not None:
        fields["budget"] = _record(Budget, fields["budget"], "The budget of the recipe")
    pipeline: Pipeline = _record(Pipeline, fields, "The recipe")
    return pipeline


def to_dict(pipeline: Pipeline, live: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """Return the pipeline by names and options; what has its default value is left out.

    Arguments:
        pipeline: what is written down.
        live: returns what stands for a live object; without it there may be none.

    Raises:
        AssemblyError: it holds live objects, and nothing stands for them.
    """
    return {
        "stages": [_plain(stage, {"budget": stage.budget.to_dict()}, live) for stage in pipeline.stages],
        "terms": [
            _plain(term, {} if term.template.text == "{optim_str}" else {"template": term.template.text}, live)
            for term in pipeline.terms
        ],
        **({} if pipeline.constraints is None else {"constraints": _plain(pipeline.constraints, {}, live)}),
        **({} if pipeline.budget is None else {"budget": pipeline.budget.to_dict()}),
        **_plain(pipeline, {}, live, skip=("stages", "terms", "constraints", "budget")),
    }


def _parse(suffix: str, text: str) -> Any:
    if suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    if suffix in {".yaml", ".yml"}:
        import yaml

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from error
    message = f"its name ends in {suffix!r}, not in .yaml, .yml or .toml"
    raise ValueError(message)


def _items(data: Mapping[str, Any], key: str) -> Sequence[Any]:
    items = data.get(key)
    if not isinstance(items, Sequence) or isinstance(items, str) or not items:
        message = f"The recipe's {key!r} is {items!r}; it must be a list with at least one entry."
        raise InputError(message)
    return items


def _stage(data: Any) -> Stage:
    if isinstance(data, Mapping) and isinstance(data.get("budget"), Mapping):
        data = {**data, "budget": _record(Budget, data["budget"], "A budget of the recipe")}
    stage: Stage = _record(Stage, data, "A stage of the recipe")
    return stage


def _record(cls: type[Any], data: Any, what: str) -> Any:
    """Build `cls` from a mapping, with a sentence for each way that can go wrong."""
    if not isinstance(data, Mapping):
        message = f"{what} is {data!r}; it must map names to values."
        raise InputError(message)
    names = {field.name: field for field in attrs.fields(cls)}
    for key in data:
        if key not in names:
            message = f"{what} has no {key!r}.{nearest(str(key), list(names))} It can have: {', '.join(names)}."
            raise InputError(message)
    missing = [name for name, field in names.items() if field.default is attrs.NOTHING and name not in data]
    if missing:
        message = f"{what} lacks {', '.join(missing)}: add {'it' if len(missing) == 1 else 'them'}."
        raise InputError(message)
    for key in _NAMES:
        # A live object has no place in plain data, and a number would be taken for one.
        if key in names and not isinstance(data.get(key, ""), str | None):
            message = f"{what} has the {key} {data[key]!r}, which is not a name: `preimage plugins` lists them."
            raise InputError(message)
    try:
        return cls(**data)
    except TypeError as error:
        message = f"{what} has a value of the wrong type ({error})."
        raise InputError(message) from error


def _plain(
    record: Any, replaced: dict[str, Any], live: Callable[[Any], Any] | None, skip: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the fields of `record` that differ from their defaults, as plain data."""
    plain: dict[str, Any] = {}
    for field in attrs.fields(type(record)):
        if field.name in replaced:
            plain[field.name] = replaced[field.name]
            continue
        value = getattr(record, field.name)
        default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
        if field.name in skip or value == default:
            continue
        plain[field.name] = _value(value, f"{type(record).__name__}.{field.name}", live)
    return plain


def _value(value: Any, where: str, live: Callable[[Any], Any] | None) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {key: _value(item, where, live) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item, where, live) for item in value]
    if live is not None:
        return live(value)
    message = (
        f"{where} is a live {type(value).__name__}, which a recipe cannot name: build the pipeline from names and "
        "options where it has to be written down."
    )
    raise AssemblyError(message)
