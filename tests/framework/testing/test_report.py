"""Outcomes, expected failures and reports, whatever is checked."""

from __future__ import annotations

import json

import pytest

from preimage.errors import OptionError, PluginError
from preimage.testing import ConformanceError
from preimage.testing.check import CheckList, NotApplicable, Violation, report_on
from preimage.testing.process import untouched

CHECKS = CheckList("coin")


@CHECKS.required(remedy="Mint it.")
def _exists(coin):
    """There is a coin."""
    if coin is None:
        raise Violation("There is none.")


@CHECKS.optional(remedy="Polish it.")
def _shines(coin):
    """It shines."""
    if coin != "gold":
        raise Violation("It is dull.")


@CHECKS.required(remedy="Throw it.")
def _lands(coin):
    """It lands on one side."""
    if coin == "gold":
        raise NotApplicable("Nobody throws gold.")
    if coin == "edge":
        raise ZeroDivisionError("on its edge")


def statuses(coin, **expected):
    report = report_on("a coin", [(CHECKS, coin)], expected)
    return {outcome.check.id: outcome.status for outcome in report.outcomes}, report


def test_an_optional_failure_is_reported_and_forgiven():
    """A failed optional check leaves the report in order."""
    found, report = statuses("iron")
    assert found == {"exists": "passed", "shines": "failed", "lands": "passed"}
    assert report.ok
    assert report.require() is report


def test_an_exception_is_a_failure_that_says_where():
    """What a component raises is reported with its place."""
    _, report = statuses("edge")
    assert not report.ok
    assert "It raised ZeroDivisionError: on its edge in" in report.to_text()


def test_an_expected_failure_is_no_failure():
    """A failure with a reason lets the report pass, and shows the reason."""
    found, report = statuses("edge", lands="it is a thick coin")
    assert found["lands"] == "expected"
    assert report.ok
    assert "it is a thick coin (It raised" in report.to_text()


def test_an_expected_failure_that_passes_is_one():
    """Expectations that have become untrue are errors."""
    found, report = statuses("iron", lands="it is a thick coin")
    assert found["lands"] == "failed"
    assert not report.ok
    assert "remove it from the expected failures" in report.to_text()


def test_a_skipped_check_says_why():
    """Nothing is skipped in silence."""
    found, report = statuses("gold")
    assert found["lands"] == "skipped"
    assert report.ok
    assert "Nobody throws gold." in report.to_text()


def test_expectations_have_a_reason_and_a_check():
    """An expectation without reason, or of no check, is refused."""
    with pytest.raises(OptionError, match="no check 'land' .* Did you mean 'lands'"):
        statuses("gold", land="x")
    with pytest.raises(OptionError, match="'lands' has no reason"):
        statuses("gold", lands=" ")


def test_the_report_is_json_with_rule_and_remedy():
    """Everything that the table says is in the JSON."""
    _, report = statuses(None)
    record = json.loads(report.to_json())
    assert record["ok"] is False
    assert record["subject"] == "a coin"
    assert record["outcomes"][0] == {
        "kind": "coin",
        "id": "exists",
        "level": "required",
        "text": "There is a coin.",
        "status": "failed",
        "message": "There is none.",
        "remedy": "Mint it.",
    }


def test_the_error_is_a_plugin_error_with_the_report():
    """Callers can catch the error by either of its families."""
    _, report = statuses(None)
    with pytest.raises(ConformanceError, match="There is none") as caught:
        report.require()
    assert isinstance(caught.value, PluginError)
    assert isinstance(caught.value, AssertionError)
    assert caught.value.report is report


def test_what_was_changed_is_named_and_put_back(monkeypatch):
    """A block that changes the process is told what, and the change is undone."""
    import os
    import random

    monkeypatch.setenv("PREIMAGE_TEST", "before")
    state = random.getstate()

    def meddle():
        random.seed(0)
        os.environ["PREIMAGE_TEST"] = "after"

    changed = "^It changes the generator of random and the environment of the whole process"
    with pytest.raises(Violation, match=changed), untouched("It"):
        meddle()
    assert random.getstate() == state
    assert os.environ["PREIMAGE_TEST"] == "before"
    with pytest.raises(Violation, match="prints 'hello'"), untouched("It"):
        print("hello")
