"""What the commands import before they do anything; `benchmarks/startup.py` measures what it costs."""

from __future__ import annotations

import json

import pytest

HEAVY = ("torch", "numpy", "transformers", "diffusers", "open_clip", "pandas", "PIL", "rich", "yaml", "cattrs")
PROBE = """
import json, runpy, sys
sys.argv = ["preimage", *sys.argv[1:]]
try:
    runpy.run_module("preimage.cli", run_name="__main__")
except SystemExit as leaving:
    print(json.dumps([leaving.code, sorted(sys.modules)]), file=sys.stderr)
"""
PLUGIN = (
    "from preimage.api import Component, hookimpl\n"
    "@hookimpl\n"
    "def provide_optimizers():\n"
    "    return (Component('fast', 'torch:Tensor', 'acme:Config', '1.0', 'x', needs=('torch', 'numpy.linalg')),)\n"
)


@pytest.fixture
def imported(site):
    """Run a command and return the modules it has imported."""
    site.add("acme", PLUGIN, entry_points="[preimage.plugins]\nmain = acme\n[preimage.commands]\ngo = acme:go\n")

    def imported(*arguments):
        done = site.python("-c", PROBE, *arguments)
        code, modules = json.loads(done.stderr.splitlines()[-1])
        assert code == 0
        return modules

    return imported


def test_help_imports_neither_plugins_nor_contracts(imported):
    """The list of commands is read as text."""
    modules = imported("--help")

    assert not {*HEAVY, "acme", "attrs", "pluggy", "importlib.metadata", "preimage.api"} & set(modules)


@pytest.mark.parametrize("arguments", [("plugins",), ("plugins", "--json")])
def test_plugins_imports_light_modules_only(imported, arguments):
    """Tier one of every plugin, and nothing that computes."""
    modules = imported(*arguments)

    assert "acme" in modules
    assert not {*HEAVY, "importlib.metadata"} & set(modules)


@pytest.mark.parametrize("module", ["preimage", "preimage.api", "preimage._catalogue", "preimage.cli"])
def test_importing_the_host_is_light(site, module):
    """No module of the host's front imports what computes."""
    done = site.python("-c", f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))")

    assert not set(HEAVY) & set(json.loads(done.stdout))
