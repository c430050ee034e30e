"""The suites give one test a check, and no check can be lost in them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from preimage.errors import OptionError
from preimage.testing import ModelSuite, ObjectiveSuite, OptimizerSuite, ToyObjective, optimizer
from preimage.testing.example import HillClimb
from preimage.testing.toy_models import ToyClassifier


class TestHillClimb(OptimizerSuite):
    factory = HillClimb


def near(model, targets):
    """Return the toy objective with the mean embeddings of texts for its hidden prompts."""
    objective = ToyObjective(model.space, n_targets=len(targets))
    objective.hidden = torch.stack([model.space.embedding[ids].mean(dim=0) for ids in model.space.encode(targets)])
    return objective


class TestToyObjective(ObjectiveSuite):
    factory = staticmethod(near)


class TestToyClassifier(ModelSuite):
    factory = ToyClassifier


class Sloppy(HillClimb):
    requires = frozenset({"telepathy"})


def test_there_is_one_test_a_check():
    """Each check is a test of its own name."""
    names = {name for name in dir(TestHillClimb) if name.startswith("test_")}
    assert names == {f"test_{check_id.replace('-', '_')}" for check_id in optimizer.CHECKS.ids()}


def test_a_broken_rule_fails_its_test():
    """The failure shows rule, finding and remedy."""

    class Suite(OptimizerSuite):
        factory = Sloppy

    with pytest.raises(pytest.fail.Exception, match="requires holds \\['telepathy'\\](?s:.*)To mend it"):
        Suite().test_follows_the_protocol()


@pytest.mark.parametrize("replacement", [lambda self: None, None])
def test_a_check_that_is_replaced_or_removed_fails(replacement):
    """Overriding a check is a failure, unless it is an expected one with a reason."""
    body = {"factory": HillClimb, "test_bans_are_respected": replacement}
    with pytest.raises(pytest.fail.Exception, match="replaces the check 'bans-are-respected'"):
        type("Suite", (OptimizerSuite,), body)().test_bans_are_respected()
    expecting = type("Suite", (OptimizerSuite,), {**body, "expected_failures": {"bans-are-respected": "it is a test"}})
    with pytest.raises(pytest.fail.Exception, match="remove it from the expected failures"):
        expecting().test_bans_are_respected()


def test_an_expected_failure_is_an_xfail():
    """A rule that is known to be broken shows as such."""

    class Suite(OptimizerSuite):
        factory = Sloppy
        expected_failures = {"follows-the-protocol": "it reads minds"}  # noqa: RUF012

    with pytest.raises(pytest.xfail.Exception, match="it reads minds"):
        Suite().test_follows_the_protocol()


def test_an_expectation_of_no_check_is_refused():
    """A misspelt expectation is found when the class is made."""
    with pytest.raises(OptionError, match="no such check. Did you mean 'bans-are-respected'"):
        type("Suite", (OptimizerSuite,), {"factory": HillClimb, "expected_failures": {"bans-are-respectd": "x"}})


def test_only_the_suites_import_pytest():
    """The other doors work where pytest is not installed."""
    source = (
        "import sys, preimage.testing as t\n"
        "t.check_optimizer, t.check_objective, t.check_model, t.check_distribution\n"
        "assert 'pytest' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", source], check=True)
