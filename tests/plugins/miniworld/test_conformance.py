"""The bundled models play their roles as the contract says."""

from __future__ import annotations

from preimage.testing import ModelSuite


class TestMiniworld(ModelSuite):
    component = "miniworld"


class TestMiniworldCaptioner(ModelSuite):
    component = "miniworld"
    reference = "miniworld:blip2"
    role = "captioner"


class TestMiniworldTextEncoder(ModelSuite):
    component = "miniworld"
    reference = "miniworld:clip"
    role = "text-encoder"
