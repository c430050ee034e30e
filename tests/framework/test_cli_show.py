"""What is shown of one component."""

from __future__ import annotations

import json

import pytest

PLUGIN = """
from preimage.api import Component, hookimpl

def component(name):
    return Component(
        name=name,
        target="acme_config:Target",
        config="acme_config:Config",
        api="1.0",
        summary="Searches at random.",
        traits=("space:text", "requires:gradient"),
        needs=("json",),
        cite="arXiv:2307.15043",
    )

@hookimpl
def provide_optimizers():
    return (component("fast"), component("twin"))

@hookimpl
def provide_distances():
    return (component("twin"), Component("bare", "acme_config:Target", "no_such_module:Config", "1.0", "No options."))
"""

CONFIG = """
import attrs

@attrs.frozen(kw_only=True)
class Config:
    width: int = attrs.field(default=3, metadata={"help": "How wide."})
    words: tuple[str, ...] = attrs.field(default=("a", "b"), metadata={"help": "Which words."})
    path: str = attrs.field(metadata={"help": "Where."})
"""


@pytest.fixture
def acme(site):
    site.add("acme", PLUGIN, files={"acme_config.py": CONFIG})
    return site


def test_everything_that_is_known(acme):
    """Summary, origin, traits, citation and a line for every option."""
    done = acme.run("show", "fast")

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "fast"
    for line in (
        "  Searches at random.",
        "  kind      optimizer",
        "  from      acme 1.0",
        "  traits    space:text, requires:gradient",
        "  source    arXiv:2307.15043",
        "  width  int            = 3       How wide.",
        "  words  text, text, …  = a,b     Which words.",
        "  path   text           required  Where.",
    ):
        assert line in lines


def test_json(acme):
    """The same for machines."""
    record = json.loads(acme.run("show", "optimizer", "acme/fast", "--json").stdout)

    assert (record["kind"], record["distribution"], record["cite"]) == ("optimizer", "acme", "arXiv:2307.15043")
    assert [option["name"] for option in record["options"]] == ["width", "words", "path"]


def test_a_name_of_two_kinds(acme):
    """The kind decides."""
    done = acme.run("show", "twin")

    assert done.returncode == 2
    assert "write 'preimage show optimizer twin' or 'preimage show distance twin'" in done.stderr
    assert "kind      distance" in acme.run("show", "distance", "twin").stdout


def test_options_that_cannot_be_read(acme):
    """The rest is shown, with the reason."""
    done = acme.run("show", "bare")

    assert done.returncode == 3
    assert "No options." in done.stdout
    assert "The options cannot be read: The distance 'bare' of acme 1.0 cannot be used" in done.stdout
