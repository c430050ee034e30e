"""The objectives keep the contract, on small random models and on a trained one."""

from __future__ import annotations

from typing import ClassVar

from preimage.testing import ObjectiveSuite


class TestClipSimilarity(ObjectiveSuite):
    component = "clip-similarity"


class TestClipSimilarityOfTheMiniWorld(ObjectiveSuite):
    component = "clip-similarity"
    model = "miniworld:clip"


class TestTextSimilarity(ObjectiveSuite):
    component = "text-similarity"


class TestFluency(ObjectiveSuite):
    component = "fluency"


class TestTargetLikelihood(ObjectiveSuite):
    component = "target-likelihood"


class TestTargetLikelihoodByMellowmax(ObjectiveSuite):
    component = "target-likelihood"
    options: ClassVar = {"use_mellowmax": True, "mellowmax_alpha": 2.0}


class TestClassLikelihood(ObjectiveSuite):
    component = "class-likelihood"


class TestClassLikelihoodThatIsContent(ObjectiveSuite):
    component = "class-likelihood"
    options: ClassVar = {"margin": 0.5}


class TestTextDistance(ObjectiveSuite):
    component = "text-distance"


class TestDenoising(ObjectiveSuite):
    component = "denoising"
    options: ClassVar = {"n_timesteps": 3, "batch_size": 4}


class TestDenoisingAtDrawnTimestepsAgainstNothing(ObjectiveSuite):
    component = "denoising"
    options: ClassVar = {"spacing": "random", "relative": True, "lowest": 0.5, "highest": 0.9, "seed": 3}


class TestRegeneration(ObjectiveSuite):
    component = "regeneration"
    options: ClassVar = {"generator": "miniworld:sd", "generator_options": {"steps": 1}, "n_pictures": 1}
