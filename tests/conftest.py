"""What holds for every test."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Run on one thread: more of them only wait for each other on models of this size."""
    torch.set_num_threads(1)
