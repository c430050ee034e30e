"""PEZ keeps the contract of optimizers, with its defaults and with restarts and a falling learning rate."""

from __future__ import annotations

from preimage.testing import OptimizerSuite


class TestPEZ(OptimizerSuite):
    component = "pez"


class TestPEZWithRestarts(OptimizerSuite):
    component = "pez"
    options = {"restarts": 8, "lr_schedule": "cosine", "decay_steps": 100}  # noqa: RUF012
