"""``preimage check`` prints a table or JSON and says by its exit code whether all is well."""

from __future__ import annotations

import json

import pytest

import preimage._catalogue
from preimage import Catalogue
from preimage.cli import main
from preimage.settings import Settings

PLUGIN = """
from preimage.api import Component, hookimpl

@hookimpl
def provide_executors():
    return (Component("here", "acme_target:{target}", "acme_target:Config", "1.0", "Runs it here."),)
"""
TARGET = """
import attrs

@attrs.frozen(kw_only=True)
class Config:
    pass

from concurrent.futures import ThreadPoolExecutor

class Here(ThreadPoolExecutor):
    def __init__(self, config):
        super().__init__(4)
"""


@pytest.fixture
def install(site, monkeypatch):
    """Return a function that installs a distribution whose executor has a target of the given name."""

    def installed(target):
        site.add("acme-here", PLUGIN.format(target=target), files={"acme_target.py": TARGET})
        found = Catalogue(Settings(), path=[str(site.folder)])
        monkeypatch.setattr(preimage._catalogue, "catalogue", lambda: found)

    return installed


def test_a_sound_distribution_conforms(install, capsys):
    """All checks are listed, and the exit code is 0."""
    install("Here")
    assert main(["check", "acme-here"]) == 0
    printed = capsys.readouterr().out
    assert "passed" in printed
    assert printed.endswith("acme-here: conforms\n")


def test_a_broken_distribution_fails_with_rule_and_remedy(install, capsys):
    """The failure is shown with what to do, and the exit code is 1."""
    install("There")
    assert main(["check", "acme-here"]) == 1
    printed = capsys.readouterr().out
    assert "failed    target-can-be-imported" in printed
    assert "To mend it: Correct `target`" in printed


def test_json_says_the_same(install, capsys):
    """The outcome of every check is machine-readable."""
    install("There")
    assert main(["check", "acme-here", "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["ok"] is False
    failed = [o["id"] for report in record["reports"] for o in report["outcomes"] if o["status"] == "failed"]
    assert "target-can-be-imported" in failed


def test_an_unknown_distribution_is_one_sentence(install, capsys):
    """The nearest name is shown, and the exit code is that of a wrong command."""
    install("Here")
    assert main(["check", "acme-hear"]) == 2
    assert "No plugin of a distribution 'acme-hear' is installed. Did you mean 'acme-here'?" in capsys.readouterr().err
