"""Letting one plugin in: import, inspection, registration and its records, each step in a guard.

Whatever a plugin does wrong ends as a state with cause and remedy on its own record and leaves all others alone.
With ``PREIMAGE_STRICT=1`` the exception is raised instead, which is what the author of a plugin wants to see.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import attrs
import pluggy

from preimage._loading import foreign_module, missing_needs, one_line, pip_line
from preimage.api import hooks
from preimage.api.component import API, Component
from preimage.discovery import Entry
from preimage.errors import MissingDependencyError, PluginError, nearest
from preimage.plugin import Plugin, Provider, State

__all__ = ["admit", "inspect_implementations", "judge", "new_manager", "require", "validate"]

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*$")
_REFERENCE = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*$")
_VERSION = re.compile(r"(\d+)\.(\d+)$")


def new_manager() -> pluggy.PluginManager:
    """Return a manager that knows our hooks and no plugin."""
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    return manager


def admit(manager: pluggy.PluginManager, entry: Entry) -> Plugin:
    """Import the module of `entry`, register it with `manager` and collect what it provides."""
    if entry.problem:
        remedy = f"correct {entry.path} or reinstall {entry.distribution}"
        return _broken(entry, entry.problem, remedy)
    before = time.perf_counter()
    try:
        module = importlib.import_module(entry.module)
    except (Exception, SystemExit) as error:  # never KeyboardInterrupt: that is the user's
        _raise_if_strict(error, f"importing plugin {entry.id} {entry.version}")
        return _unimportable(entry, error)
    seconds = time.perf_counter() - before
    fault = _register(manager, entry, module)
    if fault:
        _raise_if_strict(None, fault)
        return _broken(entry, fault, _tell_the_authors(entry), seconds)
    providers, faults = _collect(manager, entry)
    return _summary(entry, tuple(providers), faults, seconds)


def _broken(entry: Entry, cause: str, remedy: str, seconds: float = 0.0) -> Plugin:
    """Return the record of a plugin that cannot be used."""
    return Plugin(entry.distribution, entry.version, entry.name, entry.module, "broken", cause, remedy, seconds=seconds)


def _unimportable(entry: Entry, error: BaseException) -> Plugin:
    missing = foreign_module(error, entry.module)
    if missing:
        cause = f"importing {entry.module} needs {missing}, which is not installed"
        return attrs.evolve(_broken(entry, cause, pip_line([missing])), state="missing-dependency")
    if isinstance(error, ModuleNotFoundError):
        cause = f"the entry point names {entry.module}, but there is no module {error.name}"
        return _broken(entry, cause, f"pip install --force-reinstall --no-deps {entry.distribution}")
    return _broken(entry, f"importing {entry.module} raised {one_line(error)}", _tell_the_authors(entry))


def _tell_the_authors(entry: Entry) -> str:
    return f"upgrade {entry.distribution}, report it to its authors, or pip uninstall {entry.distribution}"


def _raise_if_strict(error: BaseException | None, doing: str) -> None:
    if os.environ.get("PREIMAGE_STRICT", "") not in ("", "0"):
        if error is None:
            raise PluginError(doing)
        error.add_note(f"raised while {doing}")
        raise error


def _register(manager: pluggy.PluginManager, entry: Entry, module: ModuleType) -> str:
    """Register a module; return why that cannot be, or nothing."""
    fault = inspect_implementations(manager, module)
    if fault:
        return fault
    try:
        manager.register(module, name=entry.id)
        manager.check_pending()
    except Exception as error:
        # Before 1.7 pluggy leaves a plugin that it refused half registered.
        if manager.has_plugin(entry.id):
            manager.unregister(name=entry.id)
        return f"registering it raised {one_line(error)}"
    return ""


def inspect_implementations(manager: pluggy.PluginManager, plugin: object) -> str:
    """Return what is wrong with the hook implementations of a module or object, or nothing.

    Refused is what pluggy would accept and then do otherwise than the author expects: unknown hooks (silently
    never called), defaults (always used before 1.7), keyword-only parameters (never filled), generators and
    coroutines (run nothing), wrappers (change what other plugins answer).
    """
    found = 0
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            continue
        found += 1
        name = options.get("specname") or attribute
        if name not in _specifications():
            if options.get("optionalhook"):
                continue
            known = list(_specifications())
            return f"it implements {name}, which is not a hook of this version.{nearest(name, known, count=1)}"
        if options.get("wrapper") or options.get("hookwrapper"):
            return f"{attribute} is a wrapper, which could change what other plugins answer"
        fault = _signature_fault(attribute, getattr(plugin, attribute), _specifications()[name])
        if fault:
            return fault
    if not found:
        return "it has no function marked with @hookimpl, so that it provides nothing"
    return ""


@functools.cache
def _specifications() -> dict[str, tuple[str, ...]]:
    """Return the parameters of every hook."""
    names = (*hooks.COLLECTORS.values(), *hooks.OBSERVERS, "check_installation")
    return {name: tuple(inspect.signature(getattr(hooks, name)).parameters) for name in names}


def _signature_fault(name: str, function: Any, parameters: tuple[str, ...]) -> str:
    if inspect.isgeneratorfunction(function):
        return f"{name} is a generator; return a tuple instead of yielding"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return f"{name} is a coroutine, which nobody would await"
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            return f"{name} has the keyword-only parameter {parameter.name!r}, which hooks never fill"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return f"{name} takes {parameter}, which hooks never fill"
        if parameter.name not in parameters:
            takes = f"only {', '.join(parameters)}" if parameters else "no parameter"
            return f"{name} asks for {parameter.name!r}, but the hook has {takes}"
        if parameter.default is not parameter.empty:
            return f"{name} gives {parameter.name!r} a default, which would replace what the host passes"
    return ""


def _collect(manager: pluggy.PluginManager, entry: Entry) -> tuple[list[Provider], list[str]]:
    """Call a plugin's providers one by one; return what they provide, and what went wrong."""
    providers: list[Provider] = []
    faults: list[str] = []
    for kind, hook in hooks.COLLECTORS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin_name != entry.id:
                continue
            try:
                components = list(_components(hook, implementation.function()))
            except (Exception, SystemExit) as error:
                _raise_if_strict(error, f"calling {hook} of plugin {entry.id} {entry.version}")
                faults.append(str(error) if isinstance(error, PluginError) else f"{hook} raised {one_line(error)}")
                continue
            for component in components:
                if any(p.kind == kind and p.component.name == component.name for p in providers):
                    faults.append(f"{hook} returned two components of the name {component.name!r}")
                    continue
                providers.append(judge(Provider(kind, component, entry.distribution, entry.version, entry.module)))
    return providers, faults


def _components(hook: str, answer: object) -> Iterator[Component]:
    """Yield the components that a provider returned.

    Raises:
        PluginError: the answer is something else.
    """
    if isinstance(answer, Component):
        message = f"{hook} returned a Component instead of a tuple of them: write a comma behind it"
        raise PluginError(message)
    if not isinstance(answer, tuple | list):
        message = f"{hook} returned {type(answer).__name__} instead of a tuple of Component"
        raise PluginError(message)
    for component in answer:
        if not isinstance(component, Component):
            message = f"{hook} returned a tuple with {type(component).__name__} instead of Component"
            raise PluginError(message)
        fault = validate(component)
        if fault:
            message = f"{hook} returned a component with {fault}"
            raise PluginError(message)
        yield component


def validate(component: Component) -> str:
    """Return what is wrong with a record, as "a component with …" would go on, or nothing."""
    for field in attrs.fields(Component):
        value = getattr(component, field.name)
        if field.name in ("traits", "needs"):
            if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
                return f"{field.name}={value!r}, which is not a tuple of texts"
        elif not isinstance(value, str):
            return f"{field.name}={value!r}, which is not a text"
    if not _NAME.match(component.name):
        return f"name={component.name!r}, which is not lower-case words joined by hyphens"
    for role in ("target", "config"):
        if not _REFERENCE.match(getattr(component, role)):
            return f"{role}={getattr(component, role)!r}, which is not of the form 'module:attribute'"
    if not _VERSION.match(component.api):
        return f"api={component.api!r}, which is not of the form '1.0'"
    if not component.summary.strip():
        return f"no summary for {component.name!r}"
    wrong = next((trait for trait in component.traits if not all(trait.partition(":"))), None)
    return "" if wrong is None else f"the trait {wrong!r}, which is not of the form 'key:value'"


def judge(provider: Provider) -> Provider:
    """Return the provider with its state: whether its contract and its needs are met here."""
    provider = attrs.evolve(provider, state="ok", cause="", remedy="")
    match = _VERSION.match(provider.component.api)
    wanted = (int(match[1]), int(match[2])) if match else (0, 0)
    here = API[provider.kind]
    if wanted[0] != here[0] or wanted > here:
        cause = (
            f"{provider.component.name!r} is written for version {provider.component.api} of the "
            f"{provider.kind} contract, this host has {here[0]}.{here[1]}"
        )
        which = "preimage" if wanted > here else provider.distribution
        return attrs.evolve(provider, state="incompatible", cause=cause, remedy=f"pip install --upgrade {which}")
    missing = missing_needs(provider.component.needs)
    if missing:
        be = "is" if len(missing) == 1 else "are"
        cause = f"{provider.component.name!r} needs {' and '.join(missing)}, which {be} not installed"
        return attrs.evolve(provider, state="missing-dependency", cause=cause, remedy=pip_line(missing))
    return provider


def require(provider: Provider) -> None:
    """Raise unless a provider can be loaded here.

    Raises:
        MissingDependencyError: a package that it needs is not installed.
        PluginError: it is written for another version of the contract.
    """
    if provider.state == "ok":
        return
    message = f"The {provider} cannot be used: {provider.cause}. {provider.remedy[:1].upper()}{provider.remedy[1:]}"
    if provider.state == "missing-dependency":
        raise MissingDependencyError(message)
    raise PluginError(message)


def _summary(entry: Entry, providers: tuple[Provider, ...], faults: list[str], seconds: float) -> Plugin:
    state: State = "ok"
    cause = remedy = ""
    if faults:
        state, cause, remedy = "broken", "; ".join(faults), _tell_the_authors(entry)
    else:
        for worst in ("missing-dependency", "incompatible"):
            wrong = [provider for provider in providers if provider.state == worst]
            if wrong:
                state = wrong[0].state
                cause = "; ".join(dict.fromkeys(provider.cause for provider in wrong))
                remedy = _joined(wrong)
    return Plugin(entry.distribution, entry.version, entry.name, entry.module, state, cause, remedy, providers, seconds)


def _joined(wrong: list[Provider]) -> str:
    """Return one remedy for several components."""
    remedies = dict.fromkeys(provider.remedy for provider in wrong)
    if len(remedies) == 1:
        return next(iter(remedies))
    if wrong[0].state == "missing-dependency":
        needs = [need for provider in wrong for need in missing_needs(provider.component.needs)]
        return pip_line(needs)
    return "; ".join(remedies)
