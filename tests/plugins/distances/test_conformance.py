"""Every distance keeps the contract and the axioms that it declares, with its defaults and with others."""

from __future__ import annotations

from preimage.testing import DistanceSuite


class TestTokenF1(DistanceSuite):
    component = "token-f1"


class TestTokenF1WithMarks(DistanceSuite):
    component = "token-f1"
    options = {"punctuation": True, "case_sensitive": True}  # noqa: RUF012


class TestExactMatch(DistanceSuite):
    component = "exact-match"


class TestEditDistance(DistanceSuite):
    component = "edit-distance"


class TestEditDistanceAsAMetric(DistanceSuite):
    component = "edit-distance"
    options = {"unit": "characters", "case_sensitive": True, "normalised": False}  # noqa: RUF012


class TestTextSimilarity(DistanceSuite):
    component = "text-similarity"


class TestStructuralSimilarity(DistanceSuite):
    component = "ssim"


class TestStructuralSimilarityScaled(DistanceSuite):
    component = "ssim"
    options = {"size": 32, "sigma": 1.0}  # noqa: RUF012


class TestMeanSquaredError(DistanceSuite):
    component = "mean-squared-error"


class TestImageSimilarity(DistanceSuite):
    component = "image-similarity"


class TestKernelDistance(DistanceSuite):
    component = "kid"


class TestFrechetDistance(DistanceSuite):
    component = "fid"


class TestPictureAttributes(DistanceSuite):
    component = "picture-attributes"


class TestSceneAttributes(DistanceSuite):
    component = "scene-attributes"
