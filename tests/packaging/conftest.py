"""The distributions of this repository, as their pyproject.toml describe them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]


@attrs.frozen
class Distribution:
    """One folder with a pyproject.toml."""

    folder: Path
    project: dict

    @property
    def name(self):
        return self.project["name"]

    @property
    def package(self):
        return self.name.replace("-", "_")

    @property
    def source(self):
        """The folder of the import package."""
        return self.folder / ("framework" if self.name == "preimage" else "src") / self.package

    @property
    def requires(self):
        """Names of the distributions that it always needs."""
        return {name_of(requirement) for requirement in self.project["dependencies"]}

    @property
    def optional(self):
        """Names of the distributions that its extras need."""
        extras = self.project.get("optional-dependencies", {}).values()
        return {name_of(requirement) for requirements in extras for requirement in requirements}


def name_of(requirement):
    """Return the normalised name that a requirement begins with."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def read(folder):
    return Distribution(folder, tomllib.loads((folder / "pyproject.toml").read_text())["project"])


HOST = read(ROOT)
PLUGINS = [read(path.parent) for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))]
EXAMPLE = read(ROOT / "examples/third_party_plugin")


def pytest_generate_tests(metafunc):
    for argument, distributions in {
        "plugin": [*PLUGINS, EXAMPLE],
        "first_party": PLUGINS,
        "distribution": [HOST, *PLUGINS, EXAMPLE],
    }.items():
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, distributions, ids=lambda item: item.name)


@pytest.fixture(scope="session")
def host():
    return HOST


@pytest.fixture(scope="session")
def every_distribution():
    return [HOST, *PLUGINS, EXAMPLE]
