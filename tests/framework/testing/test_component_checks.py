"""The checks that hold for all kinds, and those of whole plugins, catch what breaks their rules."""

from __future__ import annotations

import pytest

from preimage import Catalogue
from preimage.api import Component
from preimage.errors import UnknownNameError
from preimage.plugin import Provider
from preimage.settings import Settings
from preimage.testing import check_component, check_distribution
from preimage.testing import plugin as plugins
from preimage.testing.check import report_on
from preimage.testing.component import CHECKS, ComponentSubject, import_together

SOUND = """
import attrs
from typing import ClassVar

from preimage.preset import Preset

@attrs.frozen(kw_only=True)
class Config:
    width: int = attrs.field(default=3, metadata={"help": "How wide."})
    words: tuple[str, ...] = attrs.field(default=("a", "b"), converter=tuple, metadata={"help": "Which."})
    presets: ClassVar = {"paper": Preset(options={"width": 5})}

class Target:
    def __init__(self, config):
        self.config = config
"""

# Check -> (what the module says instead, what the record says instead).
BROKEN: dict[str, tuple[dict[str, str], dict[str, object]]] = {
    "api-is-supported": ({}, {"api": "2.0"}),
    "summary-is-one-sentence": ({}, {"summary": "Search"}),
    "method-is-cited": ({}, {"cite": ""}),
    "traits-hold-known-values": ({}, {"traits": ("space:texts",)}),
    "target-can-be-imported": ({}, {"target": "acme_sound:Nothing"}),
    "target-is-found-by-its-name": (
        {
            "class Target:": "class _Target:",
            "self.config = config": "self.config = config\n\nTarget = lambda c: _Target(c)",
        },
        {},
    ),
    "config-can-be-imported": ({"@attrs.frozen(kw_only=True)": "@attrs.define(kw_only=True)"}, {}),
    "config-survives-json": ({"default=3, metadata": "default=3, converter=lambda n: n + 1, metadata"}, {}),
    "every-option-has-help": ({'metadata={"help": "How wide."}': "metadata={}"}, {}),
    "presets-are-options": ({'options={"width": 5}': 'options={"depth": 5}'}, {}),
    "importing-leaves-the-process-alone": (
        {"import attrs": "import attrs, logging\nlogging.getLogger().addHandler(logging.NullHandler())"},
        {},
    ),
}


def subject(site, name, changes, record):
    source = SOUND
    for old, new in changes.items():
        assert old in source
        source = source.replace(old, new)
    (site.folder / f"{name}.py").write_text(source)
    fields = {
        "name": "acme",
        "target": f"{name}:Target",
        "config": f"{name}:Config",
        "api": "1.0",
        "summary": "Searches far and wide.",
        "cite": "arXiv:2307.15043",
        **{
            key: value if isinstance(value, tuple) else str(value).replace("acme_sound", name)
            for key, value in record.items()
        },
    }
    return ComponentSubject(Provider("optimizer", Component(**fields), "acme", "1.0", name))


def test_a_sound_component_passes(site):
    """Nothing is found wrong with an honest record."""
    report = report_on("it", [(CHECKS, subject(site, "acme_fine", {}, {}))])
    assert {outcome.status for outcome in report.outcomes} == {"passed"}, report.to_text()


def test_every_check_has_a_broken_component():
    """No check is registered without a component that it catches."""
    assert set(BROKEN) == set(CHECKS.ids())


@pytest.mark.parametrize("check_id", CHECKS.ids())
def test_catches(site, check_id):
    """A broken component fails the check of the rule that it breaks, and no other."""
    name = "acme_" + check_id.replace("-", "_")
    report = report_on("it", [(CHECKS, subject(site, name, *BROKEN[check_id]))])
    assert [outcome.check.id for outcome in report.failures] == [check_id], report.to_text(only_failures=True)


def test_many_components_are_imported_in_one_interpreter(site, monkeypatch):
    """Those that are harmless together are not looked at again; where one is not, each is told what it does itself."""
    probed = []

    def probe(*arguments, original=plugins.probe):
        probed.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(plugins, "probe", probe)
    harmful = "importing-leaves-the-process-alone"
    quiet = [subject(site, f"acme_quiet_{place}", {}, {}) for place in range(2)]
    import_together(one.component for one in quiet)
    for one in quiet:
        assert report_on("it", [(CHECKS, one)]).ok
    assert len(probed) == 1

    mixed = [subject(site, "acme_still", {}, {}), subject(site, "acme_loud", *BROKEN[harmful])]
    import_together(one.component for one in mixed)
    still, loud = (report_on("it", [(CHECKS, one)]) for one in mixed)
    assert still.ok
    (failure,) = loud.failures
    assert failure.check.id == harmful
    assert "acme_loud" in failure.message
    assert "acme_still" not in failure.message


HEAD = "from preimage.api import Component, hookimpl\n"
PLUGIN = (
    HEAD + "@hookimpl\ndef provide_optimizers():\n"
    "    return (Component('hill', 'acme_options:Target', 'acme_options:Config', '1.0', 'Climbs a hill.'),)\n"
)

# Check -> sources of plugins that it catches.
BROKEN_PLUGINS = {
    "host-admits-it": [
        "raise ValueError('boom')",
        HEAD + "@hookimpl\ndef provide_optimizers(depth=3):\n    return ()\n",
        HEAD + "@hookimpl\ndef step_finished(*, event):\n    pass\n",
        HEAD + "@hookimpl\ndef provide_optimizers():\n    yield ()\n",
        HEAD + "@hookimpl(wrapper=True)\ndef provide_optimizers():\n    return (yield)\n",
    ],
    "module-is-light": [
        "import numpy\n" + PLUGIN,
        "import time\nend = time.process_time() + 0.05\nwhile time.process_time() < end: pass\n" + PLUGIN,
    ],
    "licence-is-declared": [PLUGIN],
}


def check_plugin(site, name, source, *, licence):
    home = site.add(name, source)
    if licence:
        with (home / "METADATA").open("a") as file:
            file.write("License-Expression: MIT\n")
    (plugin,) = Catalogue(Settings(), path=[str(site.folder)]).plugins
    return report_on("it", [(plugins.CHECKS, plugin)])


def test_a_sound_plugin_passes(site):
    """Nothing is found wrong with a light module of plain hooks."""
    assert {outcome.status for outcome in check_plugin(site, "acme-0", PLUGIN, licence=True).outcomes} == {"passed"}


def test_every_check_has_a_broken_plugin():
    """No check is registered without a plugin that it catches."""
    assert set(BROKEN_PLUGINS) == set(plugins.CHECKS.ids())


@pytest.mark.parametrize(
    ("number", "check_id", "source"),
    [
        (number, check_id, source)
        for number, (check_id, source) in enumerate(
            (check_id, source) for check_id, sources in BROKEN_PLUGINS.items() for source in sources
        )
    ],
)
def test_catches_plugin(site, number, check_id, source):
    """A broken plugin fails the check of the rule that it breaks, and no other."""
    report = check_plugin(site, f"acme-broken-{number}", source, licence=check_id != "licence-is-declared")
    assert [outcome.check.id for outcome in report.failures] == [check_id], report.to_text(only_failures=True)


@pytest.fixture
def acme(site):
    """A catalogue with one sound distribution."""
    options = "import attrs\n\n@attrs.frozen(kw_only=True)\nclass Config:\n    pass\n"
    target = (
        "from preimage.testing.example import HillClimb\n\n"
        "class Target(HillClimb):\n    def __init__(self, config):\n        self.config = config\n"
    )
    site.add("acme-hill", PLUGIN, files={"acme_options.py": options + target})
    return Catalogue(Settings(), path=[str(site.folder)])


def test_everything_of_a_distribution_is_checked(acme):
    """A distribution's report covers its plugin, its component, and the component's kind."""
    plugin, component = check_distribution("Acme_Hill", catalogue=acme)
    assert plugin.ok, plugin.to_text(only_failures=True)
    assert component.ok, component.to_text(only_failures=True)
    kinds = {outcome.check.kind for outcome in (*plugin.outcomes, *component.outcomes)}
    assert kinds == {"plugin", "component", "optimizer"}


def test_an_unknown_distribution_is_answered_with_the_nearest(acme):
    """The error names what was probably meant."""
    with pytest.raises(UnknownNameError, match="No plugin of a distribution 'acme-hil' .* mean 'acme-hill'"):
        check_distribution("acme-hil", catalogue=acme)


def test_a_loader_without_an_example_is_skipped_visibly(acme):
    """No check of a kind is left out in silence."""
    loader = Component("acme", "acme_options:Target", "acme_options:Config", "1.0", "Loads nothing at all.")
    with acme.register("model", loader):
        report = check_component("model", "acme", catalogue=acme)
    skipped = {outcome.message for outcome in report.outcomes if outcome.check.kind == "model"}
    assert skipped == {
        "No model to try it with: name one (acme:NAME), or let the component declare one by the trait "
        "example:REFERENCE."
    }


def failures_of(catalogue, kind, **record):
    """Return the ids of the checks that a component of the module `acme_options` fails."""
    fields = {"target": "acme_options:Target", "summary": "Does nothing at all.", **record}
    component = Component(name="acme", config="acme_options:Config", api="1.0", **fields)
    with catalogue.register(kind, component):
        report = check_component(kind, "acme", catalogue=catalogue, strict=False)
    return [outcome.check.id for outcome in report.failures if outcome.check.level == "required"]


@pytest.mark.parametrize("error", ["AssemblyError('not this role')", "OSError('no such file')"])
def test_a_loader_that_grants_no_role_does_not_conform(site, acme, error):
    """Whatever it raises for the model that it declares itself: there is something to try, and it fails."""
    source = f"from preimage.errors import AssemblyError\n\ndef load(config, **asked):\n    raise {error}\n"
    (site.folder / "acme_loader.py").write_text(source)
    traits = ("role:text-encoder", "example:acme:small")
    assert failures_of(acme, "model", target="acme_loader:load", traits=traits) == ["plays-its-role"]


def test_an_optimizer_of_no_space_that_there_is_is_checked_all_the_same(site, acme):
    """A slip in its trait does not spare it the checks of its kind."""
    (site.folder / "acme_idle.py").write_text("class Idle:\n    def __init__(self, config):\n        pass\n")
    failed = failures_of(acme, "optimizer", target="acme_idle:Idle", traits=("space:texts",))
    assert {"traits-hold-known-values", "follows-the-protocol"} <= set(failed)


def test_a_distance_of_a_role_that_there_is_not_does_not_conform(acme):
    """There is no toy of it, and it says itself that it needs one."""
    assert "traits-hold-known-values" in failures_of(acme, "distance", traits=("domain:text", "role:text-encodr"))
