"""Everything that is installed, by name: what it is, whose it is, how it fares, and how to get hold of it."""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from preimage import api
from preimage._loading import attributed, import_target, missing_members, one_line
from preimage.admission import admit, judge, new_manager, require, validate
from preimage.api.component import KINDS, Component, Finding
from preimage.discovery import Discovery, discover, normalise
from preimage.errors import (
    AmbiguousNameError,
    AssemblyError,
    InputError,
    OptionError,
    PluginError,
    UnknownNameError,
    nearest,
)
from preimage.first_party import extra_for
from preimage.observers import Observers, Registration
from preimage.plugin import Plugin, Provider
from preimage.settings import Settings, read_settings

__all__ = ["Catalogue", "catalogue"]

_PROTOCOLS = {
    "optimizer": "Optimizer",
    "objective": "Objective",
    "adapter": "EmbeddingAdapter",
    "distance": "Distance",
    "executor": "Executor",
}


class Catalogue:
    """The installed plugins and their components.

    Names are bare (``gcg``) while one distribution provides them, and can always be qualified
    (``preimage-gcg/gcg``). Building a catalogue imports the light modules of the plugins and nothing else.

    >>> empty = Catalogue(Settings(), path=())
    >>> empty.names("optimizer")
    ()

    Arguments:
        settings: what is allowed, denied and preferred; read from file and environment unless given.
        path: the folders whose distributions count, `sys.path` unless given.

    Attributes:
        settings: the settings it was built with.
        discovery: what the metadata of the distributions said.
        plugins: a record for each plugin, whatever its state.
    """

    discovery: Discovery
    plugins: tuple[Plugin, ...]

    def __init__(self, settings: Settings | None = None, *, path: Sequence[str] | None = None) -> None:
        self.settings = read_settings() if settings is None else settings
        _check_preferences(self.settings)
        self._path = path
        self._local: list[Provider] = []
        self._loaded: dict[tuple[Provider, str], Any] = {}
        self._models: dict[tuple[Any, ...], Any] = {}
        self._observers: Observers | None = None
        self._lock = threading.RLock()
        self._discover()

    def _discover(self) -> None:
        self.discovery = discover(self._path)
        self._manager = new_manager()
        plugins = []
        for entry in self.discovery.plugins:
            excluded = self.settings.exclusion(entry.distribution, entry.name)
            if excluded:
                cause, remedy = excluded
                plugins.append(
                    Plugin(entry.distribution, entry.version, entry.name, entry.module, "disabled", cause, remedy)
                )
            else:
                plugins.append(_without_repeats(admit(self._manager, entry), plugins))
        self.plugins = tuple(plugins)
        versions = {plugin.id: plugin.version for plugin in plugins}
        if self._observers is None:
            self._observers = Observers(self._manager, versions)
        else:
            self._observers.renew(self._manager, versions)

    # What there is

    @property
    def observers(self) -> Observers:
        """Who is told about runs; objects can be added beside the plugins."""
        assert self._observers is not None
        return self._observers

    @property
    def providers(self) -> tuple[Provider, ...]:
        """All components, usable or not, by kind, name and distribution."""
        found = [provider for plugin in self.plugins for provider in plugin.providers]
        return tuple(
            sorted(
                [*found, *self._local],
                key=lambda p: (KINDS.index(p.kind), p.component.name, p.distribution),
            )
        )

    @property
    def problems(self) -> tuple[Plugin, ...]:
        """The plugins whose state is not ok."""
        return tuple(plugin for plugin in self.plugins if plugin.state != "ok")

    @property
    def conflicts(self) -> dict[str, tuple[str, ...]]:
        """``kind:name`` to the qualified names, wherever a bare name is ambiguous."""
        return {
            f"{kind}:{name}": tuple(provider.qualified for provider in rivals)
            for (kind, name), rivals in self._by_name().items()
            if len(rivals) > 1
        }

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names by which components of a kind can be asked for, qualified where they must be.

        Raises:
            UnknownNameError: there is no such kind.
        """
        _check_kind(kind)
        names: list[str] = []
        for (its_kind, name), rivals in self._by_name().items():
            if its_kind == kind:
                names.extend([name] if len(rivals) == 1 else [rival.qualified for rival in rivals])
        return tuple(names)

    def describe(self, kind: str, name: str) -> Provider:
        """Return the component that a bare or qualified name leads to, and where it comes from.

        Raises:
            AmbiguousNameError: two distributions provide the name and no setting decides.
            PluginError: its plugin is installed but cannot be used.
            UnknownNameError: nothing of the kind has that name.
        """
        _check_kind(kind)
        distribution, slash, bare = name.rpartition("/")
        if slash:
            rivals = [
                provider
                for provider in self.providers
                if provider.kind == kind
                and provider.component.name == bare
                and provider.distribution == normalise(distribution)
            ]
        else:
            rivals = self._by_name().get((kind, name), [])
        if len(rivals) > 1:
            raise AmbiguousNameError(self._ambiguity(kind, name, rivals))
        if not rivals:
            self._raise_if_unusable(kind, distribution, bare)
            raise UnknownNameError(self._unknown(kind, name))
        return rivals[0]

    def snapshot(self) -> dict[str, dict[str, str]]:
        """Return as plain data which distribution and version each name leads to; results carry it."""
        snapshot = {}
        for kind in KINDS:
            for name in self.names(kind):
                provider = self.describe(kind, name)
                snapshot[f"{kind}:{name}"] = {
                    "distribution": provider.distribution,
                    "version": provider.version,
                    "api": provider.component.api,
                    "target": provider.component.target,
                }
        return snapshot

    # Getting hold of it

    def load(self, kind: str, name: str) -> Any:
        """Import what a component's `target` names and return it.

        Raises:
            MissingDependencyError: a package that it needs is not installed.
            PluginError: it cannot be imported, or is written for another version of the contract.
        """
        provider = self.describe(kind, name)
        require(judge(provider))  # anew, because what it needs may have been installed since
        return self._import(provider, provider.component.target)

    def config(self, kind: str, name: str) -> type:
        """Import and return the attrs class that declares a component's options.

        Raises:
            PluginError: it cannot be imported, or is not an attrs class.
        """
        provider = self.describe(kind, name)
        config = self._import(provider, provider.component.config)
        if not (isinstance(config, type) and attrs.has(config)):
            message = f"The {provider} names {provider.component.config} as its options, which is not an attrs class."
            raise PluginError(message)
        return config

    def build(self, kind: str, name: str, parts: Mapping[str, Any] | None = None, /, **options: Any) -> Any:
        """Return ``target(config(**options), **parts)``.

        Options are checked before anything heavy is imported; texts are converted by the type of their field.

        Raises:
            OptionError: an option does not exist, or its value is refused.
            PluginError: what was built lacks something that its contract asks for.
        """
        from preimage.configuration import configure  # only those who build pay for it

        provider = self.describe(kind, name)
        config: Any = configure(self.config(kind, name), options, f"The {kind} {name!r}")
        target = self.load(kind, name)
        with attributed(provider, "building"):
            built = target(config, **(parts or {}))
        if kind in _PROTOCOLS:
            _check_contract(provider, built, getattr(api, _PROTOCOLS[kind]))
        return built

    def load_model(
        self, reference: str, role: str | None, device: Any = "cpu", dtype: Any = "float32", **options: Any
    ) -> Any:
        """Return the model that ``loader:name`` refers to; the same one at every call in this process.

        Arguments:
            reference: for example ``"open_clip:ViT-B-32/laion2b_s34b_b79k"`` or ``"hf:./folder"``.
            role: one of `preimage.api.ROLES`, or None for the one that the loader declares first.
            device: passed to the loader.
            dtype: passed to the loader.
            options: the loader's own.

        Raises:
            AssemblyError: the loader has no models of that role.
            InputError: the reference names no loader.
        """
        from preimage.configuration import configure  # only those who build pay for it

        loader, colon, name = reference.partition(":")
        if not colon or not loader or not name:
            message = (
                f"The model reference {reference!r} is not of the form loader:name. "
                f"The loaders are {', '.join(self.names('model')) or 'not installed'}: "
                "write, for example, 'open_clip:ViT-B-32/laion2b_s34b_b79k'."
            )
            raise InputError(message)
        provider = self.describe("model", loader)
        role = _role(provider, reference, role)
        config: Any = configure(self.config("model", loader), options, f"The model loader {loader!r}")
        key = (provider.qualified, repr(config), name, role, str(device), str(dtype))
        # Held while loading: two threads that want one model must not both read it from disk.
        with self._lock:
            if key not in self._models:
                target = self.load("model", loader)
                with attributed(provider, f"loading {reference} with"):
                    model = target(config, name=name, role=role, device=device, dtype=dtype)
                _check_contract(provider, model, api.ROLES[role])
                self._models[key] = model
            return self._models[key]

    def check_installation(self) -> Iterator[tuple[Plugin, Finding]]:
        """Yield what the plugins themselves have to say about their surroundings, failures of saying so included."""
        plugins = {plugin.id: plugin for plugin in self.plugins}
        implementations = self._manager.hook.check_installation.get_hookimpls()
        for found in sorted(implementations, key=lambda found: found.plugin_name):
            plugin = plugins.get(found.plugin_name)
            if plugin is None:
                continue
            try:
                findings = _findings(found.function())
            except (Exception, SystemExit) as error:
                detail = f"check_installation raised {one_line(error)}"
                findings = (Finding("check_installation", False, detail, f"upgrade {plugin.distribution}"),)
            for finding in findings:
                yield plugin, finding

    def observe(self, hook: str) -> Callable[[Any], None] | None:
        """Return a function that tells every observer of `hook`, or None if there is none."""
        return self.observers.observe(hook)

    # Changing it

    def register(self, kind: str, component: Component, *, origin: str = "notebook") -> Registration:
        """Add a component by hand, under the qualified name ``origin/name``.

        The same origin, kind and name again replaces it, so that a notebook's cell can be run twice. As a
        context manager the registration ends with the block. ``target="__main__:Coin"`` names what was just
        typed.

        Raises:
            PluginError: the component is not as it must be.
        """
        _check_kind(kind)
        fault = validate(component)
        if fault:
            message = f"The {kind} cannot be registered: it has {fault}."
            raise PluginError(message)
        provider = judge(Provider(kind, component, normalise(origin), "", component.target.partition(":")[0]))
        self.unregister(kind, component.name, origin=origin)
        self._local.append(provider)
        return Registration(lambda: self._forget(provider))

    def unregister(self, kind: str, name: str, *, origin: str = "notebook") -> None:
        """Remove a component that was added by hand; one that is not there is no error."""
        for provider in list(self._local):
            if (provider.kind, provider.component.name, provider.distribution) == (kind, name, normalise(origin)):
                self._forget(provider)

    def _forget(self, provider: Provider) -> None:
        # By identity: a registration that was replaced must not take its successor away.
        self._local = [known for known in self._local if known is not provider]
        for key in [key for key in self._loaded if key[0] == provider]:
            del self._loaded[key]

    def refresh(self) -> None:
        """Look again for installed plugins; what was registered by hand and loaded models stay."""
        importlib.invalidate_caches()
        self._loaded.clear()
        self._discover()

    # Names

    def _by_name(self) -> dict[tuple[str, str], list[Provider]]:
        """Return the usable providers of each (kind, name) after preferences; more than one is a conflict."""
        rivals: dict[tuple[str, str], list[Provider]] = {}
        for provider in self.providers:
            if provider.usable:
                same = rivals.setdefault((provider.kind, provider.component.name), [])
                # One target found through two distributions (an editable install beside a wheel) is one thing.
                if all(other.component.target != provider.component.target for other in same):
                    same.append(provider)
        for (kind, name), same in rivals.items():
            preferred = self.settings.prefer.get(f"{kind}:{name}")
            chosen = [provider for provider in same if provider.distribution == preferred]
            if chosen:
                rivals[kind, name] = chosen
        return rivals

    def _ambiguity(self, kind: str, name: str, rivals: list[Provider]) -> str:
        qualified = " and ".join(repr(rival.qualified) for rival in rivals)
        where = self.settings.source or "preimage.toml"
        return (
            f"The {kind} {name!r} is ambiguous: {qualified} are installed. Write one of these, or decide in "
            f'{where} with [prefer] "{kind}:{name}" = "{rivals[0].distribution}".'
        )

    def _raise_if_unusable(self, kind: str, distribution: str, name: str) -> None:
        """Raise with what is wrong, if an installed plugin would provide the name but cannot."""
        distribution = normalise(distribution)
        for provider in self.providers:
            if provider.kind == kind and provider.component.name == name and not provider.usable:
                require(provider)
        extra = extra_for(kind, name)
        for plugin in self.problems:
            if distribution and plugin.distribution != distribution:
                continue
            named = (plugin.name, plugin.distribution, plugin.distribution.removeprefix("preimage-"))
            # A plugin that failed before it said what it provides is known by its own names only.
            if name in named or (extra and extra in named):
                message = (
                    f"The {kind} {name!r} cannot be used, because the plugin {plugin.id} {plugin.version} is "
                    f"{plugin.state}: {plugin.cause}. To mend it: {plugin.remedy}."
                )
                raise PluginError(message)

    def _unknown(self, kind: str, name: str) -> str:
        known = self.names(kind)
        sentences = [f"There is no {kind} {name!r}.{nearest(name, known)}"]
        elsewhere = [p.kind for p in self.providers if p.component.name == name and p.kind != kind]
        if elsewhere:
            sentences.append(f"{name!r} is the name of a component of kind {' and '.join(elsewhere)}.")
        extra = extra_for(kind, name)
        if extra:
            sentences.append(f'It comes with: pip install "preimage[{extra}]"')
        if known:
            sentences.append(f"Installed: {', '.join(known)}.")
        else:
            sentences.append(f"No {kind} is installed.")
        if any(plugin.state != "disabled" for plugin in self.problems):
            sentences.append("Some plugins are in trouble: run 'preimage plugins'.")
        return " ".join(sentences)

    def _import(self, provider: Provider, reference: str) -> Any:
        key = (provider, reference)
        if key not in self._loaded:
            self._loaded[key] = import_target(provider, reference)
        return self._loaded[key]


_LOCK = threading.RLock()


def catalogue() -> Catalogue:
    """Return the process's catalogue, built at the first call."""
    with _LOCK:  # two catalogues would load every model twice
        return _of_process()


@functools.cache
def _of_process() -> Catalogue:
    return Catalogue()


def _without_repeats(plugin: Plugin, others: list[Plugin]) -> Plugin:
    """Return the plugin less what another entry point of its distribution provides under the same name."""
    taken = {
        (p.kind, p.component.name): p.component.target
        for other in others
        if other.distribution == plugin.distribution
        for p in other.providers
    }
    repeated = [p for p in plugin.providers if (p.kind, p.component.name) in taken]
    if not repeated:
        return plugin
    kept = tuple(p for p in plugin.providers if p not in repeated)
    if all(taken[p.kind, p.component.name] == p.component.target for p in repeated):
        return attrs.evolve(plugin, providers=kept)
    names = ", ".join(f"{p.kind} {p.component.name!r}" for p in repeated)
    cause = f"another entry point of {plugin.distribution} provides {names} already"
    remedy = f"upgrade {plugin.distribution}, or report it to its authors"
    return attrs.evolve(plugin, providers=kept, state="broken", cause=cause, remedy=remedy)


def _findings(answer: Any) -> tuple[Finding, ...]:
    findings: tuple[Any, ...] = tuple(answer)
    if not all(isinstance(finding, Finding) for finding in findings):
        message = f"it returned {findings!r}, which are not all Finding"
        raise TypeError(message)
    return findings


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        message = f"There is no kind of component {kind!r}.{nearest(kind, KINDS)} The kinds are {', '.join(KINDS)}."
        raise UnknownNameError(message)


def _check_preferences(settings: Settings) -> None:
    for key in settings.prefer:
        kind = key.partition(":")[0]
        if kind not in KINDS:
            message = (
                f"{settings.source or 'The settings'} prefer a distribution for {key!r}, but there is no kind of "
                f"component {kind!r}.{nearest(kind, KINDS)} The kinds are {', '.join(KINDS)}."
            )
            raise OptionError(message)


def _check_contract(provider: Provider, built: object, protocol: type) -> None:
    missing = missing_members(built, protocol)
    if missing:
        message = (
            f"The {provider} made {type(built).__name__}, which lacks {', '.join(missing)} of the contract "
            f"{protocol.__name__}: upgrade {provider.distribution}, or report this to its authors."
        )
        raise PluginError(message)


def _role(provider: Provider, reference: str, role: str | None) -> str:
    """Return the role that a model is wanted for.

    Raises:
        AssemblyError: its loader declares neither the role nor one that includes it, or none at all.
        UnknownNameError: there is no such role.
    """
    declared = provider.component.trait("role")
    if role is None:
        if declared:
            return declared[0]
        message = (
            f"The role of the model {reference!r} is open, because its loader {provider.component.name!r} declares "
            f"none: say which of {', '.join(api.ROLES)} it has to play."
        )
        raise AssemblyError(message)
    if role not in api.ROLES:
        message = f"There is no role {role!r}.{nearest(role, list(api.ROLES))} The roles are {', '.join(api.ROLES)}."
        raise UnknownNameError(message)
    wider = [api.ROLES[name].__mro__ for name in declared if name in api.ROLES]
    if declared and not any(api.ROLES[role] in protocols for protocols in wider):
        message = (
            f"The model {reference!r} cannot serve as {role}: its loader {provider.component.name!r} has "
            f"{', '.join(declared)}. Name a model of a loader that has the role."
        )
        raise AssemblyError(message)
    return role
