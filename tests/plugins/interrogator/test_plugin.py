"""What the distribution declares, and that declaring it costs nothing."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import preimage_interrogator
from preimage_interrogator.plugin import provide_optimizers

COMPONENTS = provide_optimizers()


def loaded(name):
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_the_records_name_what_exists(component):
    """Target and options can be imported, and the traits agree with the class."""
    target, config = loaded(component.target), loaded(component.config)

    assert component.trait("space") == ("text",)
    assert set(component.trait("requires")) == target.requires == set()
    assert target(config()).config == config()


def test_there_are_two_of_them():
    """One looks for phrases, and one shortens what is given to it."""
    assert {component.name: component.trait("start") for component in COMPONENTS} == {
        "interrogator": (),
        "prune": ("required",),
    }


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_every_option_is_explained(component):
    """Each has a help text and a default."""
    for field in attrs.fields(loaded(component.config)):
        assert field.metadata["help"].endswith(".")
        assert field.default is not attrs.NOTHING


def test_the_records_are_read_without_torch():
    """Neither torch nor numpy is imported to list the plugin or its options."""
    code = (
        "import sys, preimage_interrogator.config, preimage_interrogator.plugin; "
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_package_offers_its_names_lazily():
    """What is listed can be had, and anything else is an attribute error."""
    assert all(hasattr(preimage_interrogator, name) for name in preimage_interrogator.__all__)
    with pytest.raises(AttributeError, match="no attribute 'flavours'"):
        _ = preimage_interrogator.flavours


def test_the_readme_lists_every_option_with_its_default():
    """The tables have one row for each, in the order of the classes."""
    readme = (Path(__file__).parents[3] / "plugins" / "interrogator" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", readme, flags=re.MULTILINE)
    written = {(): "none", ", ": "`, `"}
    defaults = [
        (field.name, written.get(field.default, str(field.default).lower()))
        for config in (preimage_interrogator.InterrogatorConfig, preimage_interrogator.PruneConfig)
        for field in attrs.fields(config)
    ]

    assert rows == defaults
