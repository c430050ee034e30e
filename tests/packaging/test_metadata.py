"""What each distribution declares is what its code needs, and they agree with each other."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import subprocess
import sys
import tomllib

import pytest

import preimage

# The host's numerical modules run on what the plugins that use them bring; it must install without any of it.
BROUGHT_BY_PLUGINS = {"numpy", "pandas", "pillow", "pytest", "safetensors", "tokenizers", "torch"}


class Imports(ast.NodeVisitor):
    """Collects the top-level names that a module imports when it runs, not only when its types are checked."""

    def __init__(self):
        self.names = set()

    def visit_If(self, node):
        if ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def visit_Import(self, node):
        self.names |= {alias.name.partition(".")[0] for alias in node.names}

    def visit_ImportFrom(self, node):
        if node.level == 0:
            self.names.add(node.module.partition(".")[0])


@functools.cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def owners():
    """Return the installed distributions by the packages that they bring: all of them are read for it."""
    return importlib.metadata.packages_distributions()


def imported(folder, skip=()):
    """Return the distributions whose packages the modules under `folder` import."""
    visitor = Imports()
    for path in folder.rglob("*.py"):
        if not any(part in path.parts for part in skip):
            visitor.visit(parsed(path))
    found = set()
    for name in visitor.names - set(sys.stdlib_module_names) - {folder.name}:
        if name.startswith("preimage"):
            found.add(name.replace("_", "-"))
        else:
            found |= {owner.replace("_", "-").replace(".", "-").lower() for owner in owners().get(name, [f"?{name}"])}
    return found


def test_everything_that_is_imported_is_declared(distribution):
    """No distribution runs on what another happens to bring, and no plugin on another plugin in secret."""
    declared = distribution.requires | distribution.optional
    if distribution.name == "preimage":
        declared |= BROUGHT_BY_PLUGINS
    assert imported(distribution.source) <= declared


def test_what_extras_bring_is_imported_by_nothing_else(first_party):
    """Code that works without the extras imports nothing of them: what is asked for by name, such as a plot, may."""
    asked_for = {"training", "plots.py", "saved_models.py"}
    assert imported(first_party.source, skip=asked_for) <= first_party.requires | {"torch", "numpy"}


def test_everything_that_is_declared_is_used(plugin):
    """A requirement that no module imports, or names where the catalogue looks it up, is left over."""
    modules = [parsed(path) for path in plugin.source.rglob("*.py")]
    texts = {node.value for module in modules for node in ast.walk(module) if isinstance(node, ast.Constant)}
    named = {text.replace("_", "-") for text in texts if isinstance(text, str)}
    left_over = plugin.requires - imported(plugin.source) - {"preimage"} - BROUGHT_BY_PLUGINS
    assert {name.removeprefix("preimage-") for name in left_over} <= named


def test_versions_agree(distribution):
    """The version in pyproject.toml is the one that the package tells, wherever it tells one."""
    tree = ast.parse((distribution.source / "__init__.py").read_text())
    told = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"
    ]
    assert set(told) <= {distribution.project["version"]}


def test_metadata_agree(plugin, host):
    """Every plugin has the host's licence, Python and build backend, a summary, a README and one entry point."""
    project = plugin.project
    assert project["license"] == host.project["license"] == "Apache-2.0"
    assert project["requires-python"] == host.project["requires-python"]
    assert project["description"]
    assert (plugin.folder / project["readme"]).stat().st_size
    assert (plugin.source / "py.typed").exists()
    assert list(project["entry-points"]["preimage.plugins"].values()) == [f"{plugin.package}.plugin"]
    backend = tomllib.loads((plugin.folder / "pyproject.toml").read_text())["build-system"]
    assert backend == {"requires": ["hatchling>=1.27"], "build-backend": "hatchling.build"}


def test_every_plugin_is_an_extra_of_the_host(first_party, host):
    """``pip install "preimage[gcg]"`` and ``"preimage[all]"`` bring it."""
    extras = host.project["optional-dependencies"]
    name = first_party.name.removeprefix("preimage-")
    assert [requirement.partition(">=")[0] for requirement in extras[name]] == [first_party.name]
    (everything,) = extras["all"]
    assert name in everything.partition("[")[2].rstrip("]").split(",")


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_every_plugin_is_written_about(first_party, host, page):
    """Who reads what there is, or what has changed, learns of it."""
    assert f"`{first_party.name}`" in (host.folder / page).read_text(encoding="utf-8")


def test_the_host_needs_no_plugin(host):
    """The host installs alone, without torch."""
    assert not any(name.startswith("preimage") for name in host.requires)
    assert not host.requires & BROUGHT_BY_PLUGINS


def test_everything_public_is_there():
    """Each name of ``preimage.__all__`` leads somewhere, in alphabetical order."""
    for name in preimage.__all__:
        assert getattr(preimage, name) is not None
    assert set(preimage.__all__) == set(preimage._HOMES)


def test_importing_the_host_imports_nothing_heavy():
    """Neither torch nor numpy, nor anything of the standard library that costs start-up."""
    heavy = {"torch", "numpy", "pandas", "PIL", "transformers", "open_clip", "importlib.metadata", "attrs", "pluggy"}
    code = f"import sys, preimage; print(*({heavy!r} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
