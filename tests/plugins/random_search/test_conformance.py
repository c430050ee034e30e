"""Random search keeps the contract of optimizers, whichever ball it draws from."""

from __future__ import annotations

from preimage.testing import OptimizerSuite


class TestRandomSearch(OptimizerSuite):
    component = "random-search"


class TestRandomSearchNearby(OptimizerSuite):
    component = "random-search"
    options = {"ball": "embedding", "nearest_fraction": 0.5, "beam_width": 4}  # noqa: RUF012
