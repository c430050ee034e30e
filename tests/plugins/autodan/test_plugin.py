"""What the distribution declares, and that declaring it costs nothing."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import preimage_autodan
from preimage.start import TextStart
from preimage_autodan.plugin import provide_optimizers


def test_the_record_names_what_exists():
    """Target and options can be imported, and the traits agree with the class."""
    (component,) = provide_optimizers()
    module, _, attribute = component.target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    module, _, attribute = component.config.partition(":")
    config = getattr(importlib.import_module(module), attribute)

    assert component.name == "autodan"
    assert component.trait("space") == ("text",)
    assert set(component.trait("requires")) == target.requires
    assert issubclass(config, TextStart)
    assert target(config()).config == config()


def test_every_option_is_explained():
    """Each has a help text and a default."""
    for field in attrs.fields(preimage_autodan.AutoDANConfig):
        assert field.metadata["help"].endswith(".")
        assert field.default is not attrs.NOTHING


def test_the_record_is_read_without_torch():
    """Neither torch nor numpy is imported to list the plugin or its options."""
    modules = "import sys, preimage_autodan.config, preimage_autodan.plugin"
    code = f"{modules}; print(sorted({{'torch', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_package_offers_its_names_lazily():
    """What is listed can be had, and anything else is an attribute error."""
    assert all(hasattr(preimage_autodan, name) for name in preimage_autodan.__all__)
    with pytest.raises(AttributeError, match="no attribute 'autodan2'"):
        _ = preimage_autodan.autodan2


def test_the_readme_lists_every_option_with_its_default():
    """The table has one row for each, in the order of the class."""
    readme = (Path(__file__).parents[3] / "plugins" / "autodan" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", readme, flags=re.MULTILINE)
    defaults = [(field.name, str(field.default).lower()) for field in attrs.fields(preimage_autodan.AutoDANConfig)]

    assert [(name, default.strip("`")) for name, default in rows] == defaults
