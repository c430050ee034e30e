"""Captions keep the contract of optimizers, with the defaults, and short, sampled and many."""

from __future__ import annotations

from preimage.testing import OptimizerSuite


class TestBlip2(OptimizerSuite):
    component = "blip2"


class TestBlip2Sampling(OptimizerSuite):
    component = "blip2"
    options = {"count": 9, "beams": 2, "temperature": 2.0, "prompt_length": 2}  # noqa: RUF012
