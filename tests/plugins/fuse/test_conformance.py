"""FUSE and its baselines keep the contract of adapters."""

from __future__ import annotations

import pytest

from preimage.testing import AdapterSuite


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep what is fitted out of the user's cache."""
    monkeypatch.setenv("PREIMAGE_CACHE", str(tmp_path))


class TestFuse(AdapterSuite):
    component = "fuse"


class TestLinear(AdapterSuite):
    component = "linear"


class TestSharedToken(AdapterSuite):
    component = "shared-token"
