"""Everything that is installed, by name."""

from __future__ import annotations

import importlib
import sys
import threading

import attrs
import pytest

import preimage
from preimage import Catalogue
from preimage.api import Component, Finding, StepEvent, hookimpl
from preimage.errors import (
    AmbiguousNameError,
    AssemblyError,
    InputError,
    MissingDependencyError,
    OptionError,
    PluginError,
    UnknownNameError,
)
from preimage.settings import Settings

TARGETS = """
import attrs

@attrs.frozen(kw_only=True)
class Config:
    width: int = attrs.field(default=3, validator=attrs.validators.ge(1), metadata={"help": "How wide."})

class Target:
    requires = frozenset()
    rowwise = False
    State = Config
    def __init__(self, config, part=None):
        if part == "bad":
            raise RuntimeError("the part is bad")
        self.config, self.part = config, part
    def start(self, space, rng, initial=None): ...
    def step(self, space, state, rng): ...

class Unfinished:
    def __init__(self, config): ...
    def start(self): ...

calls = []

class Loaded:
    fingerprint = "0"
    def __init__(self, reference):
        self.reference = reference
    space = encode_tokens = encode_embeddings = encode_images = None

def load(config, name, role, device, dtype):
    calls.append((name, role, device, dtype))
    return Loaded(name)
"""


def source(*components: str, kind: str = "optimizers") -> str:
    return (
        "from preimage.api import Component, Finding, hookimpl\n"
        "@hookimpl\n"
        f"def provide_{kind}():\n"
        f"    return ({''.join(component + ', ' for component in components)})\n"
    )


def component(name: str, module: str = "targets", target: str = "Target", **options: object) -> str:
    options = {"api": "1.0", "summary": "For tests.", **options}
    extra = "".join(f", {key}={value!r}" for key, value in options.items())
    return f"Component(name={name!r}, target='{module}:{target}', config='{module}:Config'{extra})"


@pytest.fixture
def build(site):
    """Build a catalogue of the folder alone."""
    (site.folder / "targets.py").write_text(TARGETS)

    def build(**settings):
        return Catalogue(Settings(**settings), path=[str(site.folder)])

    return build


def test_describe_load_and_build(site, build):
    """From a name to the object, through the record."""
    site.add("acme", source(component("fast", traits=("space:text",), cite="arXiv:1")))

    catalogue = build()
    described = catalogue.describe("optimizer", "fast")
    built = catalogue.build("optimizer", "fast", {"part": "good"}, width="7")

    assert catalogue.names("optimizer") == ("fast",)
    assert catalogue.names("objective") == ()
    assert (described.distribution, described.version, described.module, described.state) == (
        "acme",
        "1.0",
        "acme",
        "ok",
    )
    assert described.component.trait("space") == ("text",)
    assert catalogue.load("optimizer", "fast") is sys.modules["targets"].Target
    assert (built.config.width, built.part) == (7, "good")


def test_building_a_catalogue_imports_no_target(site, build):
    """Only the light modules are imported."""
    site.add("acme", source(component("fast")))

    build().describe("optimizer", "fast")

    assert "acme" in sys.modules
    assert "targets" not in sys.modules


def test_unknown_option_is_found_before_the_target_is_imported(site, build):
    """A typing error costs no import of anything heavy."""
    (site.folder / "heavy.py").write_text("raise RuntimeError('imported')")
    record = "Component(name='fast', target='heavy:Target', config='targets:Config', api='1.0', summary='For tests.')"
    site.add("acme", source(record))

    with pytest.raises(OptionError, match="The optimizer 'fast' has no option 'widht'. Did you mean 'width'?"):
        build().build("optimizer", "fast", widht=3)


def test_qualified_names_always_work(site, build):
    """``distribution/name`` leads to the component, however the distribution is spelled."""
    site.add("acme-tools", source(component("fast")))

    assert build().describe("optimizer", "Acme_Tools/fast").qualified == "acme-tools/fast"


def test_two_distributions_with_one_name(site, build):
    """The bare name is ambiguous, and the message holds both names and the setting that decides."""
    site.add("acme", source(component("fast")))
    site.add("zeta", source(component("fast", target="Unfinished"), component("slow")))

    catalogue = build()

    assert catalogue.names("optimizer") == ("acme/fast", "zeta/fast", "slow")
    assert catalogue.conflicts == {"optimizer:fast": ("acme/fast", "zeta/fast")}
    with pytest.raises(AmbiguousNameError) as caught:
        catalogue.load("optimizer", "fast")
    assert "'acme/fast' and 'zeta/fast'" in str(caught.value)
    assert '[prefer] "optimizer:fast" = "acme"' in str(caught.value)
    assert catalogue.describe("optimizer", "zeta/fast").distribution == "zeta"


def test_a_preference_decides(site, build):
    """The other one stays reachable by its qualified name."""
    site.add("acme", source(component("fast")))
    site.add("zeta", source(component("fast", target="Unfinished")))

    catalogue = build(prefer={"optimizer:fast": "zeta"})

    assert catalogue.describe("optimizer", "fast").distribution == "zeta"
    assert catalogue.describe("optimizer", "acme/fast").distribution == "acme"
    assert catalogue.conflicts == {}


def test_one_target_found_twice_is_one_provider(site, build):
    """An editable install beside a wheel of another name is no conflict."""
    site.add("acme", source(component("fast")))
    site.add("zeta", source(component("fast")))

    catalogue = build()

    assert catalogue.names("optimizer") == ("fast",)
    assert catalogue.describe("optimizer", "zeta/fast").distribution == "zeta"


def test_preference_for_a_kind_that_does_not_exist(build):
    """Settings with typing errors are errors."""
    with pytest.raises(OptionError, match="no kind of component 'optimiser'. Did you mean 'optimizer'"):
        build(prefer={"optimiser:gcg": "acme"})


def test_unknown_names(site, build):
    """The nearest names, what is installed, and the pip line of what is ours."""
    site.add("acme", source(component("fast"), component("slow")))
    catalogue = build()

    with pytest.raises(
        UnknownNameError, match=r"There is no optimizer 'fsat'. Did you mean 'fast'\? Installed: fast, sl"
    ):
        catalogue.load("optimizer", "fsat")
    with pytest.raises(UnknownNameError, match=r'It comes with: pip install "preimage\[gcg\]"'):
        catalogue.load("optimizer", "gcg")
    with pytest.raises(UnknownNameError, match="'fast' is the name of a component of kind optimizer"):
        catalogue.load("objective", "fast")
    with pytest.raises(UnknownNameError, match="no kind of component 'optimiser'. Did you mean 'optimizer'"):
        catalogue.load("optimiser", "fast")


def test_a_name_whose_plugin_is_broken_shows_the_break(site, build):
    """Whoever asks for it by name is told what is wrong with it instead of that it does not exist."""
    site.add("preimage-gcg", "raise ValueError('boom')")
    site.add("acme", source(component("new", api="2.0")))
    site.add("mine", "1 / 0", entry_points="[preimage.plugins]\nlucky = mine\n")
    catalogue = build()

    with pytest.raises(
        PluginError, match="preimage-gcg:main 1.0 is broken: importing preimage_gcg raised ValueError: boom"
    ):
        catalogue.load("optimizer", "gcg")
    with pytest.raises(
        PluginError, match="'new' is written for version 2.0 of the optimizer contract, this host has 1"
    ):
        catalogue.load("optimizer", "new")
    with pytest.raises(PluginError, match="mine:lucky"):
        catalogue.describe("optimizer", "lucky")
    with pytest.raises(UnknownNameError, match="Some plugins are in trouble: run 'preimage plugins'"):
        catalogue.describe("optimizer", "unrelated")


def test_denied_plugins_are_not_imported(site, build):
    """They are listed as disabled, with the setting."""
    site.add("acme", "raise SystemExit")

    (plugin,) = build(deny=("acme",)).plugins

    assert (plugin.state, plugin.cause, plugin.remedy) == (
        "disabled",
        "denied by the settings",
        "remove 'acme' from deny",
    )
    assert "acme" not in sys.modules


def test_missing_needs(site, build):
    """A component whose packages are missing is described, and loading it names the pip line."""
    site.add("acme", source(component("fast", needs=("no_such_package.sub", "sys"))))
    catalogue = build()

    assert catalogue.describe("optimizer", "fast").state == "missing-dependency"
    assert catalogue.plugins[0].remedy == "pip install no-such-package"
    with pytest.raises(
        MissingDependencyError, match="needs no_such_package.sub, which is not installed. Pip install no-s"
    ):
        catalogue.load("optimizer", "fast")


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        ("import no_such_thing", MissingDependencyError, "needs no_such_thing, which is not installed"),
        ("raise OSError('libcuda')", PluginError, "importing heavy raised OSError: libcuda"),
        ("raise SystemExit(3)", PluginError, "importing heavy raised SystemExit: 3"),
        ("", PluginError, "names heavy:Target, but heavy has no 'Target'"),
    ],
)
def test_targets_that_cannot_be_imported(site, build, module, error, message):
    """The message names component, distribution and version."""
    (site.folder / "heavy.py").write_text(module)
    site.add("acme", source(component("fast", module="heavy")))

    with pytest.raises(error, match=message) as caught:
        build().load("optimizer", "fast")
    assert "optimizer 'fast' of acme 1.0" in str(caught.value)


def test_exceptions_of_plugin_code_are_attributed(site, build):
    """Type and traceback stay; a note names plugin, version and component."""
    site.add("acme", source(component("fast")))

    with pytest.raises(RuntimeError, match="the part is bad") as caught:
        build().build("optimizer", "fast", {"part": "bad"})
    assert caught.value.__notes__ == ["raised while building optimizer 'fast' of acme 1.0"]


def test_contracts_are_checked_when_building(site, build):
    """What is missing is named, and no property is evaluated for that."""
    site.add("acme", source(component("unfinished", target="Unfinished")))

    with pytest.raises(PluginError, match=r"made Unfinished, which lacks .*step.* of the contract Optimizer"):
        build().build("optimizer", "unfinished")


def test_models_are_loaded_once(site, build):
    """The same reference, role, device and dtype give the same object, also to threads that ask at once."""
    site.add("acme", source(component("toy", target="load", traits=("role:image-text-encoder",)), kind="models"))
    catalogue = build()
    found = []

    threads = [
        threading.Thread(target=lambda: found.append(catalogue.load_model("toy:a/b:c", "image-text-encoder", "cpu")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len({id(model) for model in found}) == 1
    assert sys.modules["targets"].calls == [("a/b:c", "image-text-encoder", "cpu", "float32")]
    assert catalogue.load_model("toy:a/b:c", "image-text-encoder", dtype="float64") is not found[0]


def test_roles_of_models(site, build):
    """A wider role includes the narrower; no role means the first; others are refused before loading."""
    site.add("acme", source(component("toy", target="load", traits=("role:image-text-encoder",)), kind="models"))
    catalogue = build()

    catalogue.load_model("toy:a", "text-encoder")
    catalogue.load_model("toy:a", None)

    assert [call[1] for call in sys.modules["targets"].calls] == ["text-encoder", "image-text-encoder"]
    with pytest.raises(
        AssemblyError, match="'toy:a' cannot serve as captioner: its loader 'toy' has image-text-encoder"
    ):
        catalogue.load_model("toy:a", "captioner")
    with pytest.raises(UnknownNameError, match="no role 'captoner'. Did you mean 'captioner'"):
        catalogue.load_model("toy:a", "captoner")


@pytest.mark.parametrize("reference", ["ViT-B-32", "toy:", ":x", ""])
def test_references_without_loader(build, reference):
    """The form is shown."""
    with pytest.raises(InputError, match="not of the form loader:name"):
        build().load_model(reference, "text-encoder")


def test_unknown_loader_of_ours(build):
    """The pip line of the loader is in the message."""
    with pytest.raises(UnknownNameError, match=r'pip install "preimage\[transformers\]"'):
        build().load_model("hf:gpt2", "language-model")


@attrs.frozen(kw_only=True)
class CoinConfig:
    sides: int = 2


class Coin:
    requires: frozenset[str] = frozenset()
    rowwise = False
    State = CoinConfig

    def __init__(self, config):
        self.config = config

    def start(self, space, rng, initial=None): ...

    def step(self, space, state, rng): ...


@pytest.fixture
def coin(monkeypatch):
    monkeypatch.setitem(sys.modules, "coin_module", sys.modules[__name__])
    return Component("coin", "coin_module:Coin", "coin_module:CoinConfig", "1.0", "Flips a coin.")


def test_components_registered_by_hand(coin, build):
    """They take the same path as packages, and leave with their block."""
    catalogue = build()

    with catalogue.register("optimizer", coin):
        assert catalogue.build("optimizer", "coin", sides="6").config.sides == 6
        assert catalogue.describe("optimizer", "notebook/coin").distribution == "notebook"
    with pytest.raises(UnknownNameError):
        catalogue.describe("optimizer", "coin")


def test_registering_again_replaces(coin, build):
    """A notebook's cell can be run twice; the first registration no longer takes the second away."""
    catalogue = build()
    first = catalogue.register("optimizer", coin)
    catalogue.register("optimizer", attrs.evolve(coin, summary="Better."))

    first.unregister()

    assert catalogue.describe("optimizer", "coin").component.summary == "Better."
    catalogue.unregister("optimizer", "coin")
    assert catalogue.names("optimizer") == ()


def test_components_by_hand_have_no_privilege(site, coin, build):
    """One of the name of an installed one makes it ambiguous."""
    site.add("acme", source(component("coin")))
    catalogue = build()
    catalogue.register("optimizer", coin)

    with pytest.raises(AmbiguousNameError, match="'acme/coin' and 'notebook/coin'"):
        catalogue.load("optimizer", "coin")


def test_components_by_hand_are_validated(build):
    """The same rules as for plugins."""
    with pytest.raises(PluginError, match="name='Coin Flip', which is not lower-case"):
        build().register("optimizer", Component("Coin Flip", "a:b", "a:c", "1.0", "x"))


def test_refresh_finds_what_was_installed_meanwhile(site, coin, build):
    """A live notebook sees a new plugin; what was registered by hand stays."""
    catalogue = build()
    catalogue.register("optimizer", coin)
    registration = catalogue.observers.register(Recorder())
    site.add("late", source(component("fast")))

    catalogue.refresh()

    assert catalogue.names("optimizer") == ("coin", "fast")
    assert catalogue.observe("step_finished") is not None
    registration.unregister()
    assert catalogue.observe("step_finished") is None


def test_what_was_missing_may_have_been_installed_since(site, build):
    """No refresh is needed for a package that a component waits for."""
    site.add("acme", source(component("fast", needs=("late_package",))))
    catalogue = build()
    with pytest.raises(MissingDependencyError):
        catalogue.load("optimizer", "fast")

    (site.folder / "late_package.py").touch()
    importlib.invalidate_caches()

    assert catalogue.load("optimizer", "fast").__name__ == "Target"


def test_snapshot_is_plain_data(site, build):
    """Results carry it."""
    site.add("acme", source(component("fast")))
    site.add("zeta", source(component("fast", target="Unfinished")))

    assert build().snapshot()["optimizer:zeta/fast"] == {
        "distribution": "zeta",
        "version": "1.0",
        "api": "1.0",
        "target": "targets:Unfinished",
    }


class Recorder:
    def __init__(self):
        self.events = []

    @hookimpl
    def step_finished(self, event):
        self.events.append(event)


EVENT = StepEvent(1, (0.5,), (0.5,), ("a",), (), 1)


def test_nobody_listens(build):
    """The loop binds None and calls nothing."""
    assert build().observe("step_finished") is None


def test_observers_hear_of_events(site, build):
    """Plugins first, then objects; an implementation may leave the event out."""
    site.add(
        "acme",
        "from preimage.api import hookimpl\nheard = []\n"
        "@hookimpl\ndef step_finished(): heard.append('step')\n"
        "@hookimpl\ndef run_finished(results): heard.append(results)\n",
    )
    catalogue = build()
    recorder = Recorder()

    with catalogue.observers.register(recorder):
        catalogue.observe("step_finished")(EVENT)
    catalogue.observe("run_finished")([])

    assert recorder.events == [EVENT]
    assert sys.modules["acme"].heard == ["step", []]


def test_an_observer_that_raises_is_named(site, build):
    """The exception passes through with a note."""
    site.add("acme", "from preimage.api import hookimpl\n@hookimpl\ndef step_finished(event): raise KeyError('x')\n")

    with pytest.raises(KeyError) as caught:
        build().observe("step_finished")(EVENT)
    assert caught.value.__notes__ == ["raised by step_finished of plugin acme:main 1.0"]


def test_observers_are_inspected(build):
    """An object without hooks, or the same one twice, is a mistake that is said."""
    observers = build().observers
    recorder = Recorder()
    observers.register(recorder)

    with pytest.raises(PluginError, match="no function marked with @hookimpl"):
        observers.register(object(), "mine")
    with pytest.raises(PluginError, match="registered already"):
        observers.register(recorder)
    with pytest.raises(UnknownNameError, match="no observer hook 'step_ended'. Did you mean 'step_finished'"):
        observers.observe("step_ended")


def test_check_installation(site, build):
    """Findings come with their plugin, and a check that fails is a finding."""
    head = "from preimage.api import Finding, hookimpl\n@hookimpl\ndef check_installation(): "
    site.add("acme", head + "return (Finding('weights', True, '10 MB'),)\n")
    site.add("zeta", head + "1 / 0\n")

    found = [(plugin.distribution, finding) for plugin, finding in build().check_installation()]

    assert found[0] == ("acme", Finding("weights", True, "10 MB"))
    assert (found[1][0], found[1][1].ok) == ("zeta", False)
    assert "ZeroDivisionError" in found[1][1].detail


def test_strict_mode_raises(site, build, monkeypatch):
    """Authors of plugins want the traceback."""
    monkeypatch.setenv("PREIMAGE_STRICT", "1")
    site.add("acme", "1 / 0")

    with pytest.raises(ZeroDivisionError) as caught:
        build()
    assert caught.value.__notes__ == ["raised while importing plugin acme:main 1.0"]


def test_interrupts_are_the_users(site, build):
    """Ctrl-C while a plugin is imported ends the program, not the plugin."""
    site.add("acme", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        build()


def test_two_entry_points_of_one_distribution(site, build):
    """Both count; the same name for two things does not."""
    lines = "[preimage.plugins]\na = first\nb = second\n"
    files = {"first.py": source(component("fast")), "second.py": source(component("fast", target="Unfinished"))}
    site.add("acme", entry_points=lines, files=files)

    first, second = build().plugins

    assert (first.state, second.state) == ("ok", "broken")
    assert "another entry point of acme provides optimizer 'fast' already" in second.cause


def test_the_catalogue_of_the_process_is_built_once():
    """Two of them would load every model twice."""
    assert preimage.catalogue() is preimage.catalogue()
