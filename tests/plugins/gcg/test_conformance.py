"""GCG keeps the contract of optimizers, with its defaults and with everything switched on."""

from __future__ import annotations

from preimage.testing import OptimizerSuite


class TestGCG(OptimizerSuite):
    component = "gcg"


class TestGCGWithBuffer(OptimizerSuite):
    component = "gcg"
    options = {"search_width": 64, "beam_width": 3, "buffer_size": 5, "momentum": 0.5, "n_replace": 2}  # noqa: RUF012
