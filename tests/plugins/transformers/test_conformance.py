"""The loader keeps the contract of models in every role, for every kind of model."""

from __future__ import annotations

from typing import Any, ClassVar

from preimage.testing import ModelSuite

from .conftest import made


class _Suite(ModelSuite):
    kind_of_model: ClassVar[str]

    @classmethod
    def world(cls) -> dict[str, Any]:
        return {"model": f"hf:{made(cls.kind_of_model)[0]}", "role": cls.role}


class TestClip(_Suite):
    component = "hf"
    kind_of_model = "clip"
    role = "image-text-encoder"


class TestSiglip(_Suite):
    component = "hf"
    kind_of_model = "siglip"
    role = "image-text-encoder"


class TestGpt2(_Suite):
    component = "hf"
    kind_of_model = "gpt2"
    role = "language-model"


class TestLlama(_Suite):
    component = "hf"
    kind_of_model = "llama"
    role = "language-model"


class TestBertClassifier(_Suite):
    component = "hf"
    kind_of_model = "bert-classifier"
    role = "classifier"


class TestRobertaClassifier(_Suite):
    component = "hf"
    kind_of_model = "roberta-classifier"
    role = "classifier"


class TestBlip(_Suite):
    component = "hf"
    kind_of_model = "blip"
    role = "captioner"


class TestBlip2(_Suite):
    component = "hf"
    kind_of_model = "blip2"
    role = "captioner"


class TestSentenceEncoder(_Suite):
    component = "hf"
    kind_of_model = "bert"
    role = "text-encoder"
