"""What the metadata of distributions says, however broken that of their neighbours is."""

from __future__ import annotations

import pytest

from preimage.discovery import discover, normalise


def names(discovery):
    return [(entry.distribution, entry.version, entry.name, entry.module) for entry in discovery.plugins]


@pytest.fixture
def found(site):
    return lambda: discover([str(site.folder)])


def test_reads_the_group_as_text_and_imports_nothing(site, found):
    """A plugin that cannot be imported is found all the same."""
    site.add("acme-metric", "raise SystemExit")

    assert names(found()) == [("acme-metric", "1.0", "main", "acme_metric")]


def test_order_is_that_of_distribution_and_name(site, found):
    """Directory order, which differs between machines, does not show."""
    for distribution in ("zebra", "Alpha", "middle"):
        site.add(distribution, entry_points="[preimage.plugins]\nb = x\na = y\n")

    assert [(entry.distribution, entry.name) for entry in found().plugins] == [
        ("alpha", "a"),
        ("alpha", "b"),
        ("middle", "a"),
        ("middle", "b"),
        ("zebra", "a"),
        ("zebra", "b"),
    ]


def test_two_spellings_of_one_distribution_are_one(site, found):
    """Names are compared as indexes compare them."""
    site.add("Plug.X", module="one", version="2.0")
    site.add("plug_x", module="two", version="1.0")

    discovery = found()

    assert names(discovery) == [("plug-x", "2.0", "main", "one")]
    assert [(hidden.distribution, hidden.version) for hidden in discovery.shadowed] == [("plug-x", "1.0")]


def test_first_folder_of_the_path_wins(site, tmp_path):
    """A distribution in two folders is the one that imports would find, and the other is reported."""
    first = type(site)(tmp_path / "first")
    first.add("acme", module="first", version="1.0")
    site.add("acme", module="second", version="2.0")

    discovery = discover([str(first.folder), str(site.folder), str(first.folder)])

    assert names(discovery) == [("acme", "1.0", "main", "first")]
    assert discovery.shadowed[0].path.startswith(str(site.folder))
    assert discovery.shadowed[0].by.startswith(str(first.folder))


def test_leftovers_of_an_interrupted_pip_are_dropped(site, found):
    """A folder whose name begins with a tilde is no distribution, but is reported."""
    site.add("acme")
    site.add("~cme")

    discovery = found()

    assert [entry.distribution for entry in discovery.plugins] == ["acme"]
    assert [leftover.endswith("~cme-1.0.dist-info") for leftover in discovery.leftovers] == [True]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"[console_scripts]\ncaf\xe9 = a:b\n", "not UTF-8"),
        (b"[console_scripts]\na = b:c\na = b:c\n", "repeats 'a' in [console_scripts]"),
        (b"a = b:c\n", "before any [group]"),
        (b"[console_scripts]\n[console_scripts]\n", "already exists"),
        (b"[console_scripts]\na\n", "parsing errors"),
    ],
)
def test_malformed_neighbour_is_reported_and_hides_nobody(site, found, content, cause):
    """A stranger's file that cannot be parsed is named with its path, and the plugins beside it are found."""
    site.add("acme")
    home = site.add("stranger", entry_points=content)

    discovery = found()

    assert names(discovery) == [("acme", "1.0", "main", "acme")]
    assert [file.path for file in discovery.malformed] == [str(home / "entry_points.txt")]
    assert cause.lower() in discovery.malformed[0].cause.lower()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("main = not a module!", "'main = not a module!' in [preimage.plugins] does not name a module"),
        ("main = %d", "'main = %d' in [preimage.plugins] does not name a module"),
        ("main = ", "does not name a module"),
        ("main = acme:plugin", "names the object 'acme:plugin', but a plugin is a module"),
        ("main = acme\nmain = acme.other", "'main' stands 2 times"),
        ("main", "does not name a module"),
    ],
)
def test_malformed_line_of_ours_is_a_problem_of_its_plugin(site, found, line, problem):
    """Other lines and other plugins stay as they are."""
    site.add("acme", entry_points=f"[preimage.plugins]\n{line}\ngood = acme.good\n")
    site.add("other")

    entries = {entry.id: entry for entry in found().plugins}

    assert problem in entries["acme:main"].problem
    assert entries["acme:main"].path.endswith("entry_points.txt")
    assert entries["acme:good"].problem == ""
    assert entries["other:main"].problem == ""


def test_a_file_in_which_only_the_group_can_be_recognised_is_not_lost(site, found):
    """A plugin whose file has lost its lines is shown as a plugin with a problem."""
    site.add("acme", entry_points="[preimage.plugins\nmain = acme\n")

    (entry,) = found().plugins

    assert (entry.distribution, bool(entry.problem)) == ("acme", True)


def test_version_of_egg_metadata(site, found):
    """The interpreter behind the version is not part of it; a folder without version says it inside."""
    site.add("egg", version="1.5-py3.11", suffix="egg-info")
    home = site.add("develop", version="", suffix="egg-info")
    (home / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: develop\nVersion: 0.3\n")

    assert [entry.version for entry in found().plugins] == ["0.3", "1.5"]


def test_commands_are_read_beside_plugins(site, found):
    """A command is a function; a module alone is a problem."""
    site.add("acme", entry_points="[preimage.commands]\ngood = acme.cli:main\nbad = acme.cli\n")

    bad, good = found().commands

    assert (good.module, good.attribute, good.problem) == ("acme.cli", "main", "")
    assert "a command is a function" in bad.problem


def test_folders_that_do_not_exist_are_passed_over(tmp_path):
    """Import paths often name such folders."""
    assert discover([str(tmp_path / "none"), ""]).plugins == ()


def test_zip_files_on_the_path_are_read(site, tmp_path):
    """Wheels can be put on the import path as they are."""
    site.wheel("acme")
    (wheel,) = site.wheels.glob("*.whl")

    assert names(discover([str(wheel)])) == [("acme", "1.0", "main", "acme")]


@pytest.mark.parametrize("spelling", ["Preimage_GCG", "preimage.gcg", "preimage--gcg", "preimage-gcg"])
def test_normalise(spelling):
    """PEP 503."""
    assert normalise(spelling) == "preimage-gcg"
