"""The bundled models play their roles as the contract says."""

from __future__ import annotations

from typing import ClassVar

from preimage.testing import ModelSuite


class TestMiniworld(ModelSuite):
    component = "miniworld"


class TestMiniworldCaptioner(ModelSuite):
    component = "miniworld"
    reference = "miniworld:blip2"
    role = "captioner"


class TestMiniworldGenerator(ModelSuite):
    component = "miniworld"
    reference = "miniworld:sd"
    role = "image-generator"
    options: ClassVar = {"steps": 4}


class TestMiniworldDenoiser(ModelSuite):
    component = "miniworld"
    reference = "miniworld:sd"
    role = "denoiser"


class TestMiniworldTextEncoder(ModelSuite):
    component = "miniworld"
    reference = "miniworld:clip"
    role = "text-encoder"
