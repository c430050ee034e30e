"""Wheels hold what they should, and the host with one plugin works without the rest of the repository."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

SHOW = """
import json, sys
from preimage.cli import main
sys.exit(any([main(["show", *each]) for each in json.loads(sys.argv[1])]))
"""


def pip(*arguments, python=sys.executable):
    subprocess.run(
        [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)],
        check=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def wheels(tmp_path_factory, every_distribution):
    """Every distribution's wheel, by its name."""
    folder = tmp_path_factory.mktemp("dist")
    folders = [distribution.folder for distribution in every_distribution]
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, *folders)
    return {path.name.partition("-")[0].replace("_", "-"): path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def dependencies():
    """The entries of this environment's site-packages without anything of ours."""
    ours = ("preimage", "_preimage", "__editable__", "__pycache__")
    return [
        path
        for path in Path(sysconfig.get_path("purelib")).iterdir()
        if not path.name.startswith(ours) and path.suffix != ".pth"
    ]


@pytest.fixture
def alone(tmp_path, wheels, dependencies):
    """A function that installs wheels into an environment without any of ours and returns its folder of commands."""

    def install(*names):
        environment = tmp_path / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        (packages,) = environment.glob("lib/python*/site-packages")
        # Links to what is installed here stand for the downloads of a real installation.
        for path in dependencies:
            (packages / path.name).symlink_to(path)
        commands = environment / "bin"
        # pip is among the links; what is run only once need not be compiled beforehand.
        options = ("--no-index", "--no-deps", "--no-compile")
        pip("install", *options, *(wheels[name] for name in names), python=commands / "python")
        return commands

    return install


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_hosts_wheel_holds_the_host_alone(wheels):
    """Its package, typed, with the licence and what new plugins are made from; no tests, plugins or examples."""
    names = contents(wheels["preimage"])
    assert {name.partition("/")[0] for name in names} == {"preimage", "preimage-0.1.0.dist-info"}
    assert "preimage/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "preimage/scaffold/templates/common/src/plugin.py.in" in names
    assert not [name for name in names if ("test_" in name and name.endswith(".py")) or name.endswith(".pyc")]


def test_a_plugins_wheel_holds_the_plugin_alone(plugin, wheels):
    """Its package, typed, with its entry point; no tests."""
    names = contents(wheels[plugin.name])
    metadata = f"{plugin.package}-{plugin.project['version']}.dist-info"
    assert {name.partition("/")[0] for name in names} == {plugin.package, metadata}
    assert {f"{plugin.package}/py.typed", f"{metadata}/entry_points.txt"} <= set(names)
    assert not [name for name in names if "test_" in name or name.endswith(".pyc")]


def test_the_mini_worlds_wheel_carries_its_models(wheels):
    """Nobody has to download a model to see Preimage work."""
    names = contents(wheels["preimage-miniworld"])
    models = "preimage_miniworld/models/clip/"
    assert {models + "open_clip_config.json", models + "open_clip_model.safetensors"} <= set(names)


@pytest.mark.skipif(sys.platform == "win32", reason="the environment is made of symbolic links")
def test_a_plugin_works_alone(plugin, alone, every_distribution):
    """With the host and what it declares alone, it is ok, and all but an observer provides what can be described."""
    ours = {distribution.name for distribution in every_distribution}
    commands = alone("preimage", plugin.name, *sorted(plugin.requires & ours - {"preimage"}))
    ran = subprocess.run(
        [commands / "preimage", "plugins", "--json"], capture_output=True, text=True, check=True, cwd=commands
    )
    listed = {item["distribution"]: item for item in json.loads(ran.stdout)["plugins"]}

    assert set(listed) == {plugin.name} | (plugin.requires & ours - {"preimage"})
    assert {item["state"] for item in listed.values()} == {"ok"}
    observes = plugin.name == "preimage-tensorboard"
    assert bool(listed[plugin.name]["components"]) != observes
    components = [(component["kind"], component["name"]) for component in listed[plugin.name]["components"]]
    subprocess.run([commands / "python", "-c", SHOW, json.dumps(components)], check=True, capture_output=True)


@pytest.mark.skipif(sys.platform == "win32", reason="the environment is made of symbolic links")
def test_the_host_works_alone(alone):
    """Without a plugin it lists none, says how to get some, and has no need of torch."""
    commands = alone("preimage")
    ran = subprocess.run([commands / "preimage", "plugins"], capture_output=True, text=True, check=True, cwd=commands)

    assert 'pip install "preimage[all]"' in ran.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the environment is made of symbolic links")
def test_the_outsiders_plugin_passes_its_own_tests(alone, tmp_path, every_distribution):
    """What the documentation holds up as an example is tested as its author would, from its wheel."""
    example = every_distribution[-1]
    commands = alone("preimage", example.name)
    tests = shutil.copytree(example.folder / "tests", tmp_path / "tests")
    subprocess.run(
        [commands / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", tests], check=True, cwd=tmp_path
    )
