"""From options, as people type them or files hold them, to a component's config class.

The attrs class of a component is the only source of its options: names, types, defaults, validators and help.
Text is converted by the type of the field, so that ``-o topk=64`` and ``topk = 64`` in a recipe mean the same.
"""

from __future__ import annotations

import enum
import inspect
import numbers
import re
import types
import typing
from collections import abc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import attrs

from preimage.errors import OptionError, PluginError, PreimageError, nearest

__all__ = ["Option", "configure", "convert", "options_of"]

C = TypeVar("C")

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_NONE = ("none", "null")


@attrs.frozen
class Option:
    """One option of a component, for tables."""

    name: str
    type: str
    """In words: ``int``, ``float``, ``text``, ``true or false``, ``greedy or beam``, …"""
    default: str
    """As it would be typed; empty if there is none."""
    required: bool
    help: str

    def __str__(self) -> str:
        default = "required" if self.required else f"default {self.default}"
        return f"{self.name} ({self.type}, {default})" + (f": {self.help}" if self.help else "")


def options_of(config: type) -> tuple[Option, ...]:
    """Return the options that a config class declares, in its order.

    Raises:
        PluginError: it is not an attrs class.
    """
    annotations = _annotations(config)
    return tuple(
        Option(
            name=field.alias,
            type=_in_words(annotations[field.name]),
            default=_default(field),
            required=field.default is attrs.NOTHING,
            help=str(field.metadata.get("help", "")),
        )
        for field in attrs.fields(config)
        if field.init
    )


def configure(config: type[C], options: Mapping[str, Any], owner: str) -> C:
    """Return a `config` made of `options`; fields without one keep their default.

    >>> @attrs.frozen(kw_only=True)
    ... class Config:
    ...     topk: int = attrs.field(default=256, validator=attrs.validators.ge(1))
    >>> configure(Config, {"topk": "64"}, "The optimizer 'gcg'")
    Config(topk=64)
    >>> configure(Config, {"top_k": 64}, "The optimizer 'gcg'")
    Traceback (most recent call last):
    preimage.errors.OptionError: The optimizer 'gcg' has no option 'top_k'. Did you mean 'topk'? It has topk.

    Arguments:
        config: an attrs class.
        options: values, or texts that stand for them.
        owner: whose options they are, as the beginning of a sentence.

    Raises:
        OptionError: an option does not exist, is missing, or its value is refused.
        PluginError: `config` is not an attrs class.
    """
    annotations = _annotations(config)
    fields = {field.alias: field for field in attrs.fields(config) if field.init}  # type: ignore[arg-type]
    known = {option.name: option for option in options_of(config)}
    for name in options:
        if name not in fields:
            has = f"It has {', '.join(known)}." if known else "It has none."
            message = f"{owner} has no option {name!r}.{nearest(name, list(known))} {has}"
            raise OptionError(message)
    lacking = [option for option in known.values() if option.required and option.name not in options]
    if lacking:
        message = f"{owner} needs a value for {'; and for '.join(str(option) for option in lacking)}"
        raise OptionError(_sentence(message))
    values = {}
    for name, value in options.items():
        try:
            values[name] = convert(value, annotations[fields[name].name])
        except ValueError as error:
            message = f"{owner} cannot take {name}={value!r}, which is not {error}. {known[name]}"
            raise OptionError(_sentence(message)) from error
    try:
        return config(**values)
    except PreimageError:
        raise
    except (ValueError, TypeError) as error:
        raise OptionError(_refusal(owner, values, known, error)) from error


def _refusal(owner: str, values: Mapping[str, Any], known: Mapping[str, Option], error: Exception) -> str:
    """Return the sentence for what a validator refused."""
    text = " ".join(str(error.args[0] if error.args else error).split())
    # The validators of attrs begin with the field: "'topk' must be >= 1: 0".
    match = re.match(r"'(\w+)' (.*?):? ?(\S+)?$", text)
    if match and match[1] in values:
        name = match[1]
        rule = re.sub(rf": {re.escape(repr(values[name]))}$", "", text.partition("' ")[2])
        rule = re.sub(r" \(got .*$", "", rule)
        return _sentence(f"{owner} cannot take {name}={values[name]!r}: it {rule}. {known[name]}")
    given = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return _sentence(f"{owner} cannot take {given or 'its own defaults'}: {text}")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _annotations(config: type) -> dict[str, Any]:
    """Return the types of the fields, as objects wherever their names can be looked up."""
    if not attrs.has(config):
        message = f"The config class {config!r} is not an attrs class: decorate it with attrs.frozen(kw_only=True)."
        raise PluginError(message)
    try:
        hints = typing.get_type_hints(config, include_extras=True)
    except Exception:
        # A name that exists for type checkers only; the other fields are looked up one by one.
        hints = {}
        for base in reversed(config.__mro__):
            hints.update(_hints_one_by_one(base))
    return {field.name: hints.get(field.name, Any) for field in attrs.fields(config)}


def _hints_one_by_one(config: type) -> dict[str, Any]:
    hints = {}
    for name, annotation in inspect.get_annotations(config).items():
        probe = type(config.__name__, (), {"__annotations__": {name: annotation}, "__module__": config.__module__})
        try:
            hints.update(typing.get_type_hints(probe, include_extras=True))
        except Exception:
            hints[name] = Any
    return hints


def convert(value: Any, annotation: Any) -> Any:
    """Return `value` as `annotation` wants it; text is read, numbers widen, sequences become tuples.

    >>> convert("a, b", tuple[str, ...]), convert("none", int | None), convert("1e-3", float)
    (('a', 'b'), None, 0.001)

    A field that takes text keeps it as it is: ``"none"`` for ``str | None`` is the word.

    Raises:
        ValueError: it cannot be; the message completes "… is not".
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return convert(value, arguments[0])
    if origin in (Union, types.UnionType):
        return _one_of(value, arguments, _in_words(annotation))
    if origin is Literal:
        return _literal(value, arguments, _in_words(annotation))
    if annotation in _SIMPLE:
        return _SIMPLE[annotation](value)
    if annotation is Path:
        return Path(value) if isinstance(value, str) else value
    container = origin or annotation
    if not isinstance(container, type):
        return value
    if issubclass(container, enum.Enum):
        return _member(value, container)
    if container in (tuple, list, set, frozenset, abc.Sequence, abc.Iterable, abc.Collection):
        return _collection(value, container, arguments, _in_words(annotation))
    if container in (dict, abc.Mapping) and isinstance(value, str):
        return _mapping(value)
    if attrs.has(container) and isinstance(value, Mapping):
        return configure(container, value, f"{container.__name__}")
    return value


def _one_of(value: Any, members: tuple[Any, ...], words: str) -> Any:
    if isinstance(value, str) and str in members:
        literals = [member for member in members if typing.get_origin(member) is Literal]
        return _first_that_converts(value, (*literals, str), words)
    # None first and bool before int, so that each text is read as the narrowest type that fits it.
    ranks = {type(None): 0, bool: 1, int: 2, float: 3, str: 9}
    ordered = sorted(members, key=lambda member: ranks.get(member, 4) if isinstance(member, type) else 4)
    if not isinstance(value, str):
        exact = [member for member in ordered if isinstance(member, type) and type(value) is member]
        ordered = [*exact, *ordered]
    return _first_that_converts(value, tuple(ordered), words)


def _first_that_converts(value: Any, members: tuple[Any, ...], words: str) -> Any:
    for member in members:
        try:
            return convert(value, member)
        except ValueError:
            continue
    raise ValueError(words)


def _literal(value: Any, choices: tuple[Any, ...], words: str) -> Any:
    for choice in choices:
        if (type(choice) is type(value) and choice == value) or (isinstance(value, str) and str(choice) == value):
            return choice
    if None in choices and isinstance(value, str) and value.lower() in _NONE:
        return None
    raise ValueError(words)


def _member(value: Any, choices: type[enum.Enum]) -> enum.Enum:
    for choice in choices:
        if value is choice or value == choice.value or str(value).lower() in (choice.name.lower(), str(choice.value)):
            return choice
    raise ValueError(_in_words(choices))


def _collection(value: Any, container: type, arguments: tuple[Any, ...], words: str) -> Any:
    if isinstance(value, str):
        parts = _json(value, "[")
        value = [part for part in (piece.strip() for piece in value.split(",")) if part] if parts is None else parts
    if not isinstance(value, abc.Iterable):
        raise ValueError(words)
    items = list(value)
    if container is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(items) != len(arguments):
            raise ValueError(words)
        return tuple(convert(item, each) for item, each in zip(items, arguments, strict=True))
    converted = [convert(item, arguments[0]) if arguments else item for item in items]
    return container(converted) if container in (list, set, frozenset) else tuple(converted)


def _mapping(value: str) -> Any:
    mapping = _json(value, "{")
    if mapping is None:
        message = 'a mapping written as JSON, such as {"a": 1}'
        raise ValueError(message)
    return mapping


def _json(text: str, bracket: str) -> Any:
    """Return what a text that begins with `bracket` says as JSON, or None if it says nothing."""
    if not text.lstrip().startswith(bracket):
        return None
    import json

    try:
        return json.loads(text)
    except ValueError:
        return None


def _as_none(value: Any) -> None:
    if value is not None and not (isinstance(value, str) and value.strip().lower() in _NONE):
        message = "none"
        raise ValueError(message)


def _as_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE + _FALSE:
        return value.strip().lower() in _TRUE
    message = "true or false"
    raise ValueError(message)


def _as_int(value: Any) -> int:
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
        try:
            if float(value).is_integer():  # 1e3
                return int(float(value))
        except ValueError:
            pass
    message = "a whole number"
    raise ValueError(message)


def _as_float(value: Any) -> float:
    message = "a number"
    if isinstance(value, bool) or not isinstance(value, numbers.Real | str):
        raise ValueError(message)
    try:
        return float(value)
    except ValueError:
        raise ValueError(message) from None


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        message = "a text"
        raise ValueError(message)
    return value


_SIMPLE: dict[Any, abc.Callable[[Any], Any]] = {
    None: _as_none,
    type(None): _as_none,
    bool: _as_bool,
    int: _as_int,
    float: _as_float,
    str: _as_text,
}


def _in_words(annotation: Any) -> str:
    """Return a type as a reader of a table would say it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    names = {bool: "true or false", int: "int", float: "float", str: "text", type(None): "none", Any: "any"}
    if annotation in (None, *names):
        return names.get(annotation, "none")
    if origin is typing.Annotated:
        return _in_words(arguments[0])
    if origin in (Union, types.UnionType):
        ordered = sorted(arguments, key=lambda member: member is type(None))
        return " or ".join(_in_words(member) for member in ordered)
    if origin is Literal:
        return " or ".join("none" if choice is None else str(choice) for choice in arguments)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(str(choice.value) for choice in annotation)
    container = origin or annotation
    if container in (tuple, list, set, frozenset, abc.Sequence, abc.Iterable, abc.Collection):
        if container is tuple and arguments and arguments[-1] is not Ellipsis:
            return ", ".join(_in_words(each) for each in arguments)
        each = _in_words(arguments[0]) if arguments else "any"
        return f"{each}, {each}, …"
    return getattr(container, "__name__", str(container)).lower()


def _default(field: attrs.Attribute[Any]) -> str:
    default: Any = field.default
    if default is attrs.NOTHING:
        return ""
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return "computed" if default.takes_self else _typed(default.factory())
    return _typed(default)


def _typed(value: Any) -> str:
    """Return a value as it would be typed on the command line."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, tuple | list | set | frozenset):
        return ",".join(map(_typed, value)) or "(none)"
    if isinstance(value, str):
        return value or "(empty)"
    return str(value)
