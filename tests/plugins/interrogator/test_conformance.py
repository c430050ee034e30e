"""Both keep the contract of optimizers, with their defaults and with narrow steps and several lists."""

from __future__ import annotations

from preimage.testing import OptimizerSuite


class TestInterrogator(OptimizerSuite):
    component = "interrogator"


class TestInterrogatorInNarrowSteps(OptimizerSuite):
    component = "interrogator"
    options = {"search_width": 5, "intermediate_count": 20, "min_phrases": 0, "max_phrases": 6}  # noqa: RUF012


class TestPrune(OptimizerSuite):
    component = "prune"


class TestPruneWithTolerance(OptimizerSuite):
    component = "prune"
    options = {"tolerance": 0.5}  # noqa: RUF012
