"""The conformance kit: one set of checks for every kind of component, behind three doors.

In Python::

    from preimage.testing import check_optimizer

    check_optimizer("my-optimizer")              # by name, or a function that returns a new one

In a test file, one pytest test a check::

    from preimage.testing import OptimizerSuite

    class TestMyOptimizer(OptimizerSuite):
        component = "my-optimizer"

On the command line::

    preimage check my-distribution

A check that cannot hold for a component is named in `expected_failures` with the reason; one that passes all
the same is reported. Broken rules come with what was seen and what to do. `preimage.testing.toy` is the world
in which optimizers and objectives are tried, and may be used in tests of your own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preimage.testing.adapter import check_adapter
    from preimage.testing.check import Check, ConformanceError, Outcome, Report
    from preimage.testing.component import check_component
    from preimage.testing.distance import check_distance
    from preimage.testing.distribution import check_distribution
    from preimage.testing.executor import check_executor
    from preimage.testing.feature_search import check_feature_search
    from preimage.testing.model import check_model
    from preimage.testing.objective import check_objective
    from preimage.testing.optimizer import check_optimizer
    from preimage.testing.suite import (
        AdapterSuite,
        DistanceSuite,
        ExecutorSuite,
        FeatureSearchSuite,
        ModelSuite,
        ObjectiveSuite,
        OptimizerSuite,
    )
    from preimage.testing.toy import ToyObjective, brute_force, toy_problem, toy_tokens

_HOMES = {
    "AdapterSuite": "suite",
    "DistanceSuite": "suite",
    "ExecutorSuite": "suite",
    "FeatureSearchSuite": "suite",
    "Check": "check",
    "ConformanceError": "check",
    "ModelSuite": "suite",
    "ObjectiveSuite": "suite",
    "OptimizerSuite": "suite",
    "Outcome": "check",
    "Report": "check",
    "ToyObjective": "toy",
    "brute_force": "toy",
    "check_adapter": "adapter",
    "check_component": "component",
    "check_distance": "distance",
    "check_distribution": "distribution",
    "check_executor": "executor",
    "check_feature_search": "feature_search",
    "check_model": "model",
    "check_objective": "objective",
    "check_optimizer": "optimizer",
    "toy_problem": "toy",
    "toy_tokens": "toy",
}

__all__ = [
    "AdapterSuite",
    "Check",
    "ConformanceError",
    "DistanceSuite",
    "ExecutorSuite",
    "FeatureSearchSuite",
    "ModelSuite",
    "ObjectiveSuite",
    "OptimizerSuite",
    "Outcome",
    "Report",
    "ToyObjective",
    "brute_force",
    "check_adapter",
    "check_component",
    "check_distance",
    "check_distribution",
    "check_executor",
    "check_feature_search",
    "check_model",
    "check_objective",
    "check_optimizer",
    "toy_problem",
    "toy_tokens",
]


def __getattr__(name: str) -> Any:
    # Lazily: the suites need pytest, most checks need torch, and neither is needed to list the rules of a module.
    if name not in _HOMES:
        message = f"module 'preimage.testing' has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    value = getattr(import_module(f"preimage.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
