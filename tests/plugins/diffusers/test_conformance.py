"""The loader keeps the contract of models in both roles, for every kind of prediction."""

from __future__ import annotations

from typing import Any, ClassVar

from preimage.testing import ModelSuite

from .conftest import folder


class _Suite(ModelSuite):
    kind_of_model: ClassVar[str]

    @classmethod
    def world(cls) -> dict[str, Any]:
        return {"model": f"sd:{folder(cls.kind_of_model)}", "role": cls.role}


class TestGenerator(_Suite):
    component = "sd"
    kind_of_model = "epsilon"
    role = "image-generator"
    options: ClassVar = {"steps": 4, "batch_size": 2}


class TestGeneratorWithNoiseAtEveryStep(_Suite):
    component = "sd"
    kind_of_model = "v"
    role = "image-generator"
    options: ClassVar = {"steps": 4, "scheduler": "euler-ancestral"}


class TestDenoiser(_Suite):
    component = "sd"
    kind_of_model = "epsilon"
    role = "denoiser"


class TestDenoiserOfVelocities(_Suite):
    component = "sd"
    kind_of_model = "v"
    role = "denoiser"


class TestDenoiserOfFlows(_Suite):
    component = "sd"
    kind_of_model = "flow"
    role = "denoiser"
