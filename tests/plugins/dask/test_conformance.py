"""The Dask executor keeps the contract of executors."""

from __future__ import annotations

from preimage.testing import ExecutorSuite


class TestDask(ExecutorSuite):
    component = "dask"
    options = {"workers": 2, "attempts": 2}  # noqa: RUF012
