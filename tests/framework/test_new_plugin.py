"""``preimage new-plugin``: what it writes is whole, and its tests pass."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from preimage.api.component import KINDS
from preimage.cli import main
from preimage.scaffold import plan_for, write

EVERY = [(kind, "text") for kind in KINDS] + [("optimizer", "features")]


def test_every_kind_of_component_can_be_begun():
    """Each with an entry point, options, the kit's rules and a test of its own."""
    for kind, space in EVERY:
        plan = plan_for("tabu-search", kind, space=space)

        project = tomllib.loads(plan.files["pyproject.toml"])["project"]
        assert project["name"] == plan.distribution == "preimage-tabu-search"
        assert project["entry-points"]["preimage.plugins"] == {"tabu-search": "preimage_tabu_search.plugin"}
        assert {f"src/preimage_tabu_search/{name}.py" for name in ("__init__", "plugin", "config", kind)} <= set(
            plan.files
        )
        assert {"tests/test_conformance.py", f"tests/test_{kind}.py", "README.md", ".gitignore"} <= set(plan.files)
        assert not [name for name, text in plan.files.items() if "${" in text]


def test_the_tests_of_new_plugins_pass(site, capsys):
    """The kit's and their own, of all kinds installed side by side; and `preimage check` agrees."""
    for kind, space in EVERY:
        name = f"new-{kind}-{space}"
        assert main(["new-plugin", name, "--kind", kind, "--space", space, "--into", str(site.cwd)]) == 0
        home = site.cwd / f"preimage-{name}"
        assert f"cd {home}" in capsys.readouterr().out
        source = {str(path.relative_to(home / "src")): path.read_text() for path in (home / "src").glob("*/*")}
        entry = f"[preimage.plugins]\n{name} = preimage_{name.replace('-', '_')}.plugin\n"
        site.add(f"preimage-{name}", version="0.1.0", entry_points=entry, files=source)

    # Modules of one name in several folders; the documentation's examples are run, too.
    options = ("-q", "-p", "no:cacheprovider", "-W", "error", "--import-mode=importlib", "--doctest-modules")
    tested = site.python("-m", "pytest", *options, ".", str(site.folder), seconds=300)
    checked = site.run("check", "preimage-new-distance-text")

    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "failed" not in tested.stdout
    assert int(re.search(r"(\d+) passed", tested.stdout)[1]) >= 10 * len(EVERY)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "preimage-new-distance-text: conforms" in checked.stdout


def test_what_is_written_is_formatted_and_clean(tmp_path):
    """Whatever the name's length."""
    for name in ("x", "coordinate-sweep", "a-rather-long-name-of-five"):
        for kind, space in EVERY:
            write(plan_for(name, kind, space=space), tmp_path / name / f"{kind}-{space}")

    for command in (("check", "--select", "B,D1,E,F,I,N,RUF,UP", "--ignore", "D105,D107"), ("format", "--check")):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        found = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr


def test_nothing_is_overwritten(tmp_path, capsys):
    """A folder that is there already is left as it is."""
    (tmp_path / "preimage-mine").mkdir()
    kept = tmp_path / "preimage-mine" / "kept.txt"
    kept.write_text("mine")

    assert main(["new-plugin", "mine", "--kind", "distance", "--into", str(tmp_path)]) == 2
    assert "There is already" in capsys.readouterr().err
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My Search", "write lower-case words joined by hyphens. For example: my-search."),
        ("TabuSearch", "For example: tabu-search."),
        ("tabu_search", "For example: tabu-search."),
        ("9lives", "write lower-case words joined by hyphens."),
        ("../escape", "For example: escape."),
        ("true", "The class would be called True, which means something else"),
        ("tensor", "The class would be called Tensor, which means something else"),
        ("gcg", "'gcg' is a name of ours, and two components of one name could only be told apart"),
        ("preimage-fuse", "'fuse' is a name of ours"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(tmp_path, capsys, name, words):
    """With one that could."""
    assert main(["new-plugin", name, "--kind", "optimizer", "--into", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_only_optimizers_search_rows(tmp_path, capsys):
    """All other kinds are written for texts."""
    command = ["new-plugin", "mine", "--kind", "objective", "--space", "features", "--into", str(tmp_path)]
    assert main(command) == 2
    assert "optimizers search text or features" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """And not a line of a traceback is shown."""
    file = tmp_path / "file"
    file.write_text("")
    found = subprocess.run(
        [sys.executable, "-m", "preimage.cli", "new-plugin", "mine", "--kind", "model", "--into", str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path.cwd(),
    )
    assert found.returncode == 2
    assert "cannot be written (Not a directory): choose another folder." in found.stderr
