"""What every distribution with optimizers declares: that it exists, is explained, is light, and is written about."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
NAMES = ("autodan", "blip2", "counterfactual", "gcg", "interrogator", "pez", "random-search")
WRITTEN = {(): "none", ", ": "`, `"}
"""How a table writes defaults that Python shows otherwise."""


def package_of(name):
    return f"preimage_{name.replace('-', '_')}"


def components_of(name):
    return importlib.import_module(f"{package_of(name)}.plugin").provide_optimizers()


def loaded(reference):
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


COMPONENTS = [pytest.param(item, id=item.name) for name in NAMES for item in components_of(name)]


def test_every_plugin_with_optimizers_is_looked_at():
    """A new one joins the list."""
    providing = {
        path.parents[2].name
        for path in PLUGINS.glob("*/src/*/plugin.py")
        if "def provide_optimizers" in path.read_text(encoding="utf-8")
    }
    assert providing == set(NAMES)


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_record_names_what_exists(component):
    """Target and options can be imported, and the traits agree with the class."""
    target, config = loaded(component.target), loaded(component.config)
    assert component.trait("space") in {("text",), ("features",)}
    assert set(component.trait("requires")) == target.requires
    assert target(config()).config == config()


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_option_is_explained(component):
    """Each has a help text and a default."""
    for field in attrs.fields(loaded(component.config)):
        assert field.metadata["help"].endswith(".")
        assert field.default is not attrs.NOTHING


@pytest.mark.parametrize("name", NAMES)
def test_the_records_are_read_without_torch(name):
    """Neither torch nor numpy is imported to list the plugin or its options."""
    package = package_of(name)
    code = f"import sys, {package}.config, {package}.plugin; print(sorted({{'torch', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_the_package_offers_its_names_lazily(name):
    """What is listed can be had, and anything else is an attribute error."""
    package = importlib.import_module(package_of(name))
    assert all(hasattr(package, listed) for listed in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_lists_every_option_with_its_default(name):
    """The tables have one row for each, in the order of the classes."""
    readme = (PLUGINS / name / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", readme, flags=re.MULTILINE)
    defaults = [
        (field.name, WRITTEN.get(field.default, str(field.default).lower()))
        for component in components_of(name)
        for field in attrs.fields(loaded(component.config))
    ]
    assert [
        (option, default if "`, `" in default else default.strip("`").lower()) for option, default in rows
    ] == defaults
