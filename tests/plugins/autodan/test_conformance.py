"""AutoDAN keeps the contract of optimizers, with its defaults and with beams and a narrow search."""

from __future__ import annotations

from preimage.testing import OptimizerSuite


class TestAutoDAN(OptimizerSuite):
    component = "autodan"


class TestAutoDANWithBeams(OptimizerSuite):
    component = "autodan"
    options = {"beam_width": 3, "search_width": 12, "temperature": 2.0, "max_inner_rounds": 3}  # noqa: RUF012
