"""Broken distributions, installed by pip: each is shown with cause and remedy, and everything else works."""

from __future__ import annotations

import json

import pytest

HEAD = "from preimage.api import Component, hookimpl\n"
RECORD = "Component('{name}', '{module}:Target', '{module}:Config', '{api}', 'For tests.'{more})"
PROVIDER = HEAD + "@hookimpl\ndef provide_optimizers():\n    return ({record},)\n"


def provider(name: str, module: str, api: str = "1.0", more: str = "") -> str:
    return PROVIDER.format(record=RECORD.format(name=name, module=module, api=api, more=more))


def implementation(signature: str, body: str, decorator: str = "@hookimpl") -> str:
    return f"{HEAD}{decorator}\n{signature}:\n    {body}\n"


# Distribution -> (source of its plugin, state, part of the cause, part of the remedy).
BROKEN: dict[str, tuple[str, str, str, str]] = {
    "raises-at-import": (
        "raise ValueError('boom')",
        "broken",
        "importing raises_at_import raised ValueError: boom",
        "pip uninstall raises-at-import",
    ),
    "exits-at-import": ("raise SystemExit(4)", "broken", "raised SystemExit: 4", "pip uninstall exits-at-import"),
    "native-failure": (
        "raise OSError('libcudart.so.12: cannot open')",
        "broken",
        "raised OSError: libcudart.so.12",
        "upgrade native-failure",
    ),
    "syntax-error": ("def (:", "broken", "raised SyntaxError", "upgrade syntax-error"),
    "needs-a-package": (
        "import no_such_package",
        "missing-dependency",
        "needs no_such_package, which is not installed",
        "pip install no-such-package",
    ),
    "needs-for-target": (
        provider("needy", "needs_for_target", more=", needs=('no_such_package', 'open_clip_of_another_world')"),
        "missing-dependency",
        "'needy' needs no_such_package and open_clip_of_another_world, which are not installed",
        "pip install no-such-package open-clip-of-another-world",
    ),
    "unknown-hook": (
        implementation("def provide_optimisers()", "return ()"),
        "broken",
        "provide_optimisers, which is not a hook of this version. Did you mean 'provide_optimizers'?",
        "upgrade unknown-hook",
    ),
    "unknown-argument": (
        implementation("def step_finished(evnet)", "pass"),
        "broken",
        "step_finished asks for 'evnet', but the hook has only event",
        "upgrade unknown-argument",
    ),
    "newer-contract": (
        provider("future", "newer_contract", api="2.0"),
        "incompatible",
        "'future' is written for version 2.0 of the optimizer contract, this host has 1.",
        "pip install --upgrade preimage",
    ),
    "newer-minor": (
        provider("soon", "newer_minor", api="1.99"),
        "incompatible",
        "version 1.99 of the optimizer contract",
        "pip install --upgrade preimage",
    ),
    "older-contract": (
        provider("past", "older_contract", api="0.9"),
        "incompatible",
        "version 0.9 of the optimizer contract",
        "pip install --upgrade older-contract",
    ),
    "provider-raises": (
        implementation("def provide_optimizers()", "raise KeyError('x')"),
        "broken",
        "provide_optimizers raised KeyError: 'x'",
        "upgrade provider-raises",
    ),
    "returns-nothing": (
        implementation("def provide_optimizers()", "pass"),
        "broken",
        "returned NoneType instead of a tuple of Component",
        "upgrade returns-nothing",
    ),
    "returns-junk": (
        implementation("def provide_optimizers()", "return ({'name': 'junk'},)"),
        "broken",
        "returned a tuple with dict instead of Component",
        "upgrade returns-junk",
    ),
    "forgot-the-comma": (
        implementation(
            "def provide_optimizers()", f"return ({RECORD.format(name='x', module='m', api='1.0', more='')})"
        ),
        "broken",
        "returned a Component instead of a tuple of them: write a comma behind it",
        "upgrade forgot-the-comma",
    ),
    "bad-record": (
        provider("Bad Name", "bad_record"),
        "broken",
        "a component with name='Bad Name', which is not lower-case words",
        "upgrade bad-record",
    ),
    "bad-version": (provider("x", "bad_version", api="one"), "broken", "api='one'", "upgrade bad-version"),
    "generator-provider": (
        implementation("def provide_optimizers()", "yield 1"),
        "broken",
        "provide_optimizers is a generator; return a tuple",
        "upgrade generator-provider",
    ),
    "async-provider": (
        implementation("async def provide_optimizers()", "return ()"),
        "broken",
        "provide_optimizers is a coroutine",
        "upgrade async-provider",
    ),
    "wrapper-provider": (
        implementation("def provide_optimizers()", "return (yield)", "@hookimpl(wrapper=True)"),
        "broken",
        "provide_optimizers is a wrapper",
        "upgrade wrapper-provider",
    ),
    "old-wrapper": (
        implementation("def provide_optimizers()", "yield", "@hookimpl(hookwrapper=True)"),
        "broken",
        "provide_optimizers is a wrapper",
        "upgrade old-wrapper",
    ),
    "default-argument": (
        implementation("def step_finished(event=None)", "pass"),
        "broken",
        "step_finished gives 'event' a default",
        "upgrade default-argument",
    ),
    "keyword-only": (
        implementation("def step_finished(*, event)", "pass"),
        "broken",
        "step_finished has the keyword-only parameter 'event'",
        "upgrade keyword-only",
    ),
    "no-hooks": ("x = 1", "broken", "no function marked with @hookimpl", "upgrade no-hooks"),
    "two-of-a-name": (
        PROVIDER.format(
            record=RECORD.format(name="twin", module="a", api="1.0", more="")
            + ", "
            + RECORD.format(name="twin", module="b", api="1.0", more="")
        ),
        "broken",
        "provide_optimizers returned two components of the name 'twin'",
        "upgrade two-of-a-name",
    ),
}

# Distribution -> (entry_points.txt, part of the cause); the state is broken.
MALFORMED: dict[str, tuple[str, str]] = {
    "malformed-value": ("[preimage.plugins]\nmain = not a module!\n", "'main = not a module!' in [preimage.plugins]"),
    "names-an-object": ("[preimage.plugins]\nmain = a.b:c\n", "a plugin is a module"),
    "no-such-module": ("[preimage.plugins]\nmain = no_such_module.plugin\n", "no module no_such_module"),
}


@pytest.fixture(scope="module")
def installed(make_site, tmp_path_factory):
    """A folder into which pip has installed all of them, two that claim one name, and a good one."""
    site = make_site(tmp_path_factory.mktemp("broken"))
    for distribution, (source, *_) in BROKEN.items():
        site.wheel(distribution, source)
    for distribution, (entry_points, _) in MALFORMED.items():
        site.wheel(distribution, entry_points=entry_points)
    site.wheel("rival-one", provider("popular", "rival_one"))
    site.wheel("rival-two", provider("popular", "rival_two"))
    site.wheel("good-one", provider("works", "good_one"), files={"good_one_config.py": ""})
    site.install()
    # No installer makes these; they are what is left when one was killed, or a disk was full.
    site.add("not-utf8", entry_points="[console_scripts]\ncaf\u00e9 = a:b\n".encode("latin-1"))
    site.add("duplicate-keys", entry_points="[console_scripts]\na = b:c\na = b:c\n")
    site.add("~ood", provider("ghost", "_ood"), module="_ood")
    return site


@pytest.fixture(scope="module")
def listing(installed):
    """What ``preimage plugins`` prints."""
    done = installed.run("plugins")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def records(installed):
    """What ``preimage plugins --json`` prints."""
    done = installed.run("plugins", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def row(listing: list[str], distribution: str) -> tuple[list[str], str, str]:
    (index,) = [i for i, line in enumerate(listing) if line.split("  ")[0].partition(":")[0] == distribution]
    return listing[index].split(), listing[index + 1], listing[index + 2]


@pytest.mark.parametrize("distribution", BROKEN)
def test_broken_plugins_are_shown(listing, distribution):
    """State, cause and remedy, one line each."""
    _, state, cause, remedy = BROKEN[distribution]

    cells, shown_cause, shown_remedy = row(listing, distribution)

    assert cells[1:3] == ["1.0", state]
    assert shown_cause.startswith("    cause   ")
    assert cause in shown_cause
    assert shown_remedy.startswith("    remedy  ")
    assert remedy in shown_remedy


@pytest.mark.parametrize("distribution", MALFORMED)
def test_malformed_entry_points_are_shown(listing, distribution):
    """A line of our group that cannot be used is a broken plugin, with the file to repair."""
    cells, cause, remedy = row(listing, distribution)

    assert cells[1:3] == ["1.0", "broken"]
    assert MALFORMED[distribution][1] in cause
    assert distribution in remedy


def test_everything_else_still_works(installed, listing):
    """The good plugin beside them is listed and can be shown."""
    (line,) = [line for line in listing if line.startswith("good-one")]

    assert line.split() == ["good-one:main", "1.0", "ok", "optimizer", "works"]
    assert "from      good-one 1.0" in installed.run("show", "works").stdout


def test_rivals_are_ok_and_their_name_is_ambiguous(installed, listing):
    """Both work by their qualified names; the bare name gives both and the setting."""
    assert "ambiguous: optimizer 'popular' is rival-one/popular or rival-two/popular" in listing
    assert any('[prefer] "optimizer:popular" = "rival-one"' in line for line in listing)

    done = installed.run("show", "popular")

    assert done.returncode == 2
    assert "'rival-one/popular' and 'rival-two/popular'" in done.stderr
    assert "from      rival-two 1.0" in installed.run("show", "rival-two/popular").stdout


def test_malformed_neighbours_are_shown_with_their_path(installed, listing):
    """They may hide a plugin, so they are not passed over in silence."""
    for home, cause in (("not_utf8-1.0", "not UTF-8"), ("duplicate_keys-1.0", "repeats 'a'")):
        file = installed.folder / f"{home}.dist-info" / "entry_points.txt"
        index = listing.index(f"malformed: {file}")
        assert cause in listing[index + 1]
        assert "reinstall" in listing[index + 2]


def test_leftovers_provide_nothing(records):
    """They are found, named and not imported."""
    names = [component["name"] for plugin in records["plugins"] for component in plugin["components"]]

    assert "ghost" not in names
    assert [leftover.endswith("~ood-1.0.dist-info") for leftover in records["leftovers"]] == [True]


def test_json_holds_the_same(records):
    """Machines read what people do."""
    by_name = {plugin["distribution"]: plugin for plugin in records["plugins"]}

    assert {by_name[name]["state"] for name in MALFORMED} == {"broken"}
    assert {name: by_name[name]["state"] for name in BROKEN} == {name: state for name, (_, state, *_) in BROKEN.items()}
    assert by_name["good-one"]["components"][0]["name"] == "works"
    assert records["conflicts"]["optimizer:popular"] == ["rival-one/popular", "rival-two/popular"]


def test_timing(installed):
    """A column with the milliseconds of each import."""
    lines = installed.run("plugins", "--timing").stdout.splitlines()

    assert "import ms" in lines[0]
    cells, *_ = row(lines, "good-one")
    assert float(cells[3]) >= 0


def test_denied_plugins_are_listed_and_not_imported(installed):
    """The settings keep what is broken from being imported at all."""
    listing = installed.run("plugins", PREIMAGE_DENY="raises-at-import,exits-at-import").stdout.splitlines()

    cells, cause, remedy = row(listing, "raises-at-import")

    assert cells[2] == "disabled"
    assert "denied by the settings" in cause
    assert "remove 'raises-at-import' from deny" in remedy


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", "needy"), 3, None),
        (("show", "future"), 3, None),
        (("show", "optimizer", "wroks"), 2, "Did you mean 'works'"),
        (("show", "wroks"), 2, "There is no component 'wroks'. Did you mean 'works'"),
        (("show", "raises-at-import"), 3, "raises-at-import:main 1.0 is broken"),
        (("show", "clip-interrogator"), 2, 'pip install "preimage[interrogator]"'),
    ],
)
def test_asking_for_what_cannot_be_used(installed, arguments, code, message):
    """One sentence and an exit code that says whose fault it is; records that exist are shown all the same."""
    done = installed.run(*arguments)

    assert done.returncode == code
    assert "Traceback" not in done.stderr + done.stdout
    if message is None:
        assert "remedy" in done.stdout
    else:
        assert message in done.stderr
        assert done.stderr.startswith("preimage: ")
        assert len(done.stderr.splitlines()) == 1


def test_strict_mode_shows_authors_the_traceback(installed):
    """The first broken plugin ends the command, with the note that says whose it is."""
    done = installed.run("plugins", PREIMAGE_STRICT="1", PREIMAGE_DEBUG="1", PREIMAGE_ALLOW="raises-at-import")

    assert done.returncode == 70
    assert "ValueError: boom" in done.stderr
    assert "raised while importing plugin raises-at-import:main 1.0" in done.stderr


def test_doctor_finds_all_of_it(installed):
    """Every plugin in trouble, every file, every ambiguous name; the exit code says that something is wrong."""
    done = installed.run("doctor", "--json")
    bad = [finding for finding in json.loads(done.stdout) if not finding["ok"]]
    checks = {finding["check"] for finding in bad}

    assert done.returncode == 1
    assert {f"plugin {name}:main 1.0" for name in (*BROKEN, *MALFORMED)} <= checks
    assert {"entry points", "left-over", "names"} <= checks
    assert all(finding["remedy"] for finding in bad)
