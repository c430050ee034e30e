"""The objectives keep the contract, on small random models and on a trained one."""

from __future__ import annotations

from preimage.testing import ObjectiveSuite


class TestClipSimilarity(ObjectiveSuite):
    component = "clip-similarity"


class TestClipSimilarityOfTheMiniWorld(ObjectiveSuite):
    component = "clip-similarity"
    model = "miniworld:clip"


class TestTextSimilarity(ObjectiveSuite):
    component = "text-similarity"
