"""The checks that every component has to pass, whatever its kind: honest about itself, and harmless."""

from __future__ import annotations

import importlib
import json
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from preimage._loading import import_target, one_line
from preimage.api import ROLES
from preimage.api.component import API, Component
from preimage.configuration import configure, options_of
from preimage.errors import AssemblyError, PluginError, PreimageError, nearest
from preimage.preset import presets_of
from preimage.testing import plugin as plugins
from preimage.testing.check import Check, CheckList, NotApplicable, Report, Violation, report_on

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue
    from preimage.plugin import Provider

__all__ = ["CHECKS", "ComponentSubject", "check_component", "plan_for", "plan_of"]

CHECKS = CheckList("component")


@attrs.frozen(eq=False)
class ComponentSubject:
    """What the checks look at.

    Attributes:
        provider: the component and where it comes from.
        options: what its config needs besides its defaults.
    """

    provider: Provider
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def component(self) -> Component:
        """What its plugin declares."""
        return self.provider.component

    @property
    def target(self) -> Any:
        """The imported target."""
        return import_target(self.provider, self.component.target)

    @property
    def config(self) -> Any:
        """The imported config class."""
        config = import_target(self.provider, self.component.config)
        if not (isinstance(config, type) and attrs.has(config)):
            message = f"{self.component.config} is no attrs class."
            raise PluginError(message)
        return config

    def loadable_config(self) -> Any:
        """Return the config class.

        Raises:
            NotApplicable: it cannot be imported, which another check reports.
        """
        try:
            return self.config
        except PreimageError as error:
            raise NotApplicable("The config cannot be imported; see config-can-be-imported.") from error


def check_component(
    kind: str,
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    strict: bool = True,
    catalogue: Catalogue | None = None,
    **world: Any,
) -> Report:
    """Check a component of any kind: what holds for all kinds, then what holds for its own.

    Arguments:
        kind: ``"optimizer"``, ``"objective"``, ``"model"``, …
        name: in the catalogue.
        options: its options, where the defaults will not do.
        expected_failures: check id to the reason why it may fail.
        strict: raise where a required check fails, instead of only reporting it.
        catalogue: where the name is looked up; the installed plugins without it.
        world: what the checks of the kind take besides: `model` and `targets` for an objective, `model` (a
            reference) and `role` for a loader.

    Raises:
        ConformanceError: a required check failed.
        UnknownNameError: the catalogue has no such component.
    """
    title, plan = plan_for(kind, name, options, catalogue, **world)
    report = report_on(title, plan, expected_failures)
    return report.require() if strict else report


def plan_for(
    kind: str, name: str, options: Mapping[str, Any] | None, catalogue: Catalogue | None, **world: Any
) -> tuple[str, list[tuple[Sequence[Check], Any]]]:
    """Return the component's name for people, and all checks with what each of them looks at.

    Raises:
        UnknownNameError: the catalogue has no such component.
    """
    if catalogue is None:
        from preimage._catalogue import catalogue as installed

        catalogue = installed()
    provider = catalogue.describe(kind, name)
    plan: list[tuple[Sequence[Check], Any]] = [
        (tuple(plugins.CHECKS), plugin)
        for plugin in catalogue.plugins
        if (plugin.distribution, plugin.module) == (provider.distribution, provider.module)
    ]
    return str(provider), [*plan, *plan_of(provider, options or {}, catalogue, world)]


def plan_of(
    provider: Provider, options: Mapping[str, Any], catalogue: Catalogue, world: Mapping[str, Any]
) -> list[tuple[Sequence[Check], Any]]:
    """Return the checks of a component, those of its kind included, with what each of them looks at."""
    subject = ComponentSubject(provider, options)
    return [(tuple(CHECKS), subject), *_plan_of_kind(provider, options, catalogue, world)]


def _plan_of_kind(
    provider: Provider, options: Mapping[str, Any], catalogue: Catalogue, world: Mapping[str, Any]
) -> list[tuple[Sequence[Check], Any]]:
    """Return the checks of the component's own kind, each skipped with the reason if there is nothing to try it on."""
    if provider.kind != "optimizer":
        return _plan_of(provider, provider.kind, options, catalogue, world)
    spaces = provider.component.trait("space")
    # One that names no space that there is has to pass for a search of texts, instead of being checked for nothing.
    homes = [home for space, home in _OPTIMIZERS.items() if space in spaces] or [_OPTIMIZERS["text"]]
    return [entry for home in homes for entry in _plan_of(provider, home, options, catalogue, world)]


_OPTIMIZERS = {"text": "optimizer", "features": "feature_search"}
"""In which module the checks are of optimizers that search a space."""


def _plan_of(
    provider: Provider, home: str, options: Mapping[str, Any], catalogue: Catalogue, world: Mapping[str, Any]
) -> list[tuple[Sequence[Check], Any]]:
    kind, name = provider.kind, provider.qualified
    module = importlib.import_module(f"preimage.testing.{home}")
    checks: CheckList = module.CHECKS
    if provider.state != "ok":
        return [(_skipped(checks, f"It cannot be used here: {provider.cause}."), None)]
    try:
        if kind not in ("objective", "model"):
            subject = module.subject_of(name, options, catalogue)
        elif kind == "objective":
            subject = module.subject_of(name, options, catalogue, world.get("model"), world.get("targets"))
        else:
            references = _references(provider, world)
            return [
                (
                    tuple(checks) if len(references) == 1 else _named(checks, reference),
                    module.subject_of(reference, options, catalogue, world.get("role")),
                )
                for reference in references
            ]
    except NotApplicable as reason:
        return [(_skipped(checks, str(reason)), None)]
    except Exception as error:
        if isinstance(error, AssemblyError) and kind != "model":
            # There is no toy of the role to try it with; a loader is tried with what it loads itself.
            return [(_skipped(checks, str(error)), None)]
        # The checks of components may say more about it; here it only must not look as if all were well.
        found = str(error) if isinstance(error, PreimageError) else f"It raised {one_line(error)}"
        return [(_failing(checks, found), None)]
    return [(tuple(checks), subject)]


def _references(provider: Provider, world: Mapping[str, Any]) -> tuple[str, ...]:
    given = world.get("model")
    if given is not None:
        return (str(given),)
    declared = provider.component.trait("example")
    if not declared:
        message = (
            f"No model to try it with: name one ({provider.component.name}:NAME), or let the component declare one by "
            "the trait example:REFERENCE."
        )
        raise NotApplicable(message)
    return declared


def _named(checks: Iterable[Check], reference: str) -> tuple[Check, ...]:
    """Return the checks with messages that say which of several models they speak of."""

    def named(run: Callable[[Any], None]) -> Callable[[Any], None]:
        def run_named(subject: Any) -> None:
            try:
                run(subject)
            except (Violation, NotApplicable) as found:
                raise type(found)(f"{reference}: {found}") from found

        return run_named

    return tuple(attrs.evolve(check, run=named(check.run)) for check in checks)


def _skipped(checks: Iterable[Check], reason: str) -> tuple[Check, ...]:
    def skip(_subject: object) -> None:
        raise NotApplicable(reason)

    return tuple(attrs.evolve(check, run=skip) for check in checks)


def _failing(checks: Iterable[Check], reason: str) -> tuple[Check, ...]:
    def fail(_subject: object) -> None:
        raise Violation(reason)

    first, *others = checks
    return (attrs.evolve(first, run=fail), *_skipped(others, f"See {first.id}."))


@CHECKS.required(remedy="Declare the version of the contract that the component was written for, such as api='1.0'.")
def _api_is_supported(subject: ComponentSubject) -> None:
    """It is written for a version of the contract that this host keeps."""
    here = API[subject.provider.kind]
    major, _, minor = subject.component.api.partition(".")
    if int(major) != here[0] or int(minor) > here[1]:
        raise Violation(f"It is written for {subject.component.api}, and this host has {here[0]}.{here[1]}.")


@CHECKS.required(remedy="Say in one sentence what it does.")
def _summary_is_one_sentence(subject: ComponentSubject) -> None:
    """The summary is one line that tells something apart, and ends as a sentence does."""
    summary = subject.component.summary
    if len(summary.split()) < 2 or "\n" in summary or not summary.rstrip().endswith("."):
        raise Violation(f"The summary is {summary!r}.")


@CHECKS.optional(remedy="Name the paper in `cite`, such as 'arXiv:2307.15043'.")
def _method_is_cited(subject: ComponentSubject) -> None:
    """A method says where it comes from."""
    if subject.provider.kind not in ("optimizer", "adapter"):
        raise NotApplicable(f"A component of the kind {subject.provider.kind} may be a method of nobody in particular.")
    if not subject.component.cite.strip():
        raise Violation("It names no source.")


_TRAITS = {
    "space": ("text", "features"),
    "domain": ("text", "image", "image-set", "features"),
    "requires": ("gradient", "next-token", "captions"),
    "start": ("required",),
    "offers": ("gradient", "next-token"),
    "role": tuple(ROLES),
    "target": ("image", "text", "label"),
}
"""The values of those traits that assembly, measuring and these checks compare; see `Component.traits`."""


@CHECKS.required(remedy="Correct the trait; the values that there are stand in the docstring of `Component.traits`.")
def _traits_hold_known_values(subject: ComponentSubject) -> None:
    """What it says of its space, domain, role, target, and of what it requires, offers and starts from is known."""
    for key, known in _TRAITS.items():
        for value in subject.component.trait(key):
            if value not in known:
                raise Violation(
                    f"The trait '{key}:{value}' fits nothing.{nearest(value, known)} The values are {', '.join(known)}."
                )


@CHECKS.required(remedy="Correct `target`, and name what it imports in `needs`.")
def _target_can_be_imported(subject: ComponentSubject) -> None:
    """What `target` names can be imported and called."""
    try:
        target = subject.target
    except PreimageError as error:
        raise Violation(str(error)) from error
    if not callable(target):
        raise Violation(f"{subject.component.target} is a {type(target).__name__}, which cannot be called.")


@CHECKS.required(remedy="Define it at the top of its module, under the name that `target` says.")
def _target_is_found_by_its_name(subject: ComponentSubject) -> None:
    """The target can be sent to another process by name."""
    try:
        target = subject.target
    except PreimageError as error:
        raise NotApplicable("The target cannot be imported; see target-can-be-imported.") from error
    try:
        again = pickle.loads(pickle.dumps(target))
    except Exception as error:
        raise Violation(f"{subject.component.target} cannot be pickled: {error}") from error
    if again is not target:
        raise Violation(f"{subject.component.target} is pickled by value, not by name.")


@CHECKS.required(remedy="Decorate the class that `config` names with attrs.frozen(kw_only=True).")
def _config_can_be_imported(subject: ComponentSubject) -> None:
    """What `config` names is a frozen attrs class that can be imported."""
    try:
        config = subject.config
    except PreimageError as error:
        raise Violation(str(error)) from error
    if not _is_frozen(config):
        raise Violation(f"{subject.component.config} is not frozen, so that one run could change another's options.")


def _is_frozen(config: type) -> bool:
    # attrs says it outright only since 25.4; before that the method that refuses gives it away.
    properties = getattr(config, "__attrs_props__", None)
    if properties is not None:
        return bool(properties.is_frozen)
    return "frozen" in getattr(config.__setattr__, "__name__", "")


@CHECKS.required(remedy="Use types that JSON has, or converters that take what JSON gives back.")
def _config_survives_json(subject: ComponentSubject) -> None:
    """Options written to a recipe and read again make the same config."""
    config = subject.loadable_config()
    owner = f"The {subject.provider.kind} {subject.component.name!r}"
    try:
        original = configure(config, dict(subject.options), owner)
    except PreimageError as error:
        raise NotApplicable(f"There is no config without options: {error}") from error
    values = {
        field.alias: value
        for field in attrs.fields(config)
        if field.init
        for value in [attrs.asdict(original)[field.name]]
    }
    try:
        again = configure(config, json.loads(json.dumps(values)), owner)
    except (PreimageError, TypeError, ValueError) as error:
        raise Violation(f"{original!r} cannot be written as JSON and read again: {error}") from error
    if again != original:
        raise Violation(f"{original!r} comes back from JSON as {again!r}.")


@CHECKS.required(remedy="Add metadata={'help': '…'} to each field: it is what `preimage show` and the docs say.")
def _every_option_has_help(subject: ComponentSubject) -> None:
    """Each option of the config says what it is for."""
    silent = [option.name for option in options_of(subject.loadable_config()) if not option.help.strip()]
    if silent:
        raise Violation(f"No help is given for {', '.join(silent)}.")


_IMPORT = """
import importlib, json, sys
needs, groups = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for name in needs:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
from preimage.testing.check import Violation
from preimage.testing.process import untouched
found = []
for modules in groups:
    try:
        with untouched("Importing " + " and ".join(modules)):
            for name in modules:
                importlib.import_module(name)
        found.append("")
    except Violation as violation:
        found.append(str(violation))
print()
print(json.dumps(found))
"""


_found: dict[tuple[str, ...], str] = {}
"""What importing modules was found to do; components of one module are looked at once."""


def _modules(component: Component) -> tuple[str, ...]:
    return tuple(sorted({component.target.partition(":")[0], component.config.partition(":")[0]}))


def import_together(components: Iterable[Component]) -> None:
    """Import what many components name in one fresh interpreter for all that need the same packages.

    Starting one and importing what is needed takes seconds, and components come by the dozen. What is harmless when
    it is imported after others is harmless by itself, and is not looked at again; where anything is found, each
    component is looked at alone, by its check, so that it is told whose it is.
    """
    groups: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for component in components:
        if "__main__" not in _modules(component):
            groups.setdefault(component.needs, set()).add(_modules(component))
    for needs, modules in groups.items():
        together = sorted(modules - _found.keys())
        if len(together) < 2:
            continue
        try:
            found = plugins.probe(_IMPORT, json.dumps(needs), json.dumps(together))
        except Violation:
            continue  # the checks of whichever cannot be imported say so
        if not any(found):
            _found.update(dict.fromkeys(together, ""))


@CHECKS.required(remedy="Correct the preset: it may only hold options that the config takes.")
def _presets_are_options(subject: ComponentSubject) -> None:
    """The options of each preset are options of the config, and values that it takes."""
    presets = presets_of(subject.config)
    if not presets:
        raise NotApplicable("It has no presets.")
    # Of the options under test only those that nobody can leave out: the others may be at odds with the preset.
    needed = {field.name for field in attrs.fields(subject.config) if field.init and field.default is attrs.NOTHING}
    options = {name: value for name, value in subject.options.items() if name in needed}
    for name, preset in presets.items():
        owner = f"The preset {name!r}"
        try:
            configure(subject.config, {**options, **preset.options}, owner)
        except PreimageError as error:
            raise Violation(str(error)) from error


@CHECKS.required(remedy="Do no work at import: no handlers, seeds, settings or prints.")
def _importing_leaves_the_process_alone(subject: ComponentSubject) -> None:
    """Importing target and config prints nothing and changes no global generator, setting or directory."""
    component = subject.component
    modules = _modules(component)
    if "__main__" in modules:
        raise NotApplicable("It was defined by hand and is in no module.")
    for reference in ("target", "config"):
        try:
            getattr(subject, reference)
        except PreimageError as error:
            raise NotApplicable(f"The {reference} cannot be imported; see {reference}-can-be-imported.") from error
    if modules not in _found:
        (_found[modules],) = plugins.probe(_IMPORT, json.dumps(component.needs), json.dumps([modules]))
    if _found[modules]:
        raise Violation(_found[modules])
