"""Every distance between rows keeps the contract of distances, in each of its forms."""

from __future__ import annotations

from preimage.testing import DistanceSuite
from preimage_counterfactual.distances import (
    MADL1,
    Joint,
    JointConfig,
    JointLatent,
    JointLatentConfig,
    MADConfig,
    Mahalanobis,
    MahalanobisConfig,
)

QUICK = {"steps": 20, "layers": 2, "hidden": 8}


class TestL0(DistanceSuite):
    component = "l0"


class TestL1(DistanceSuite):
    component = "l1"


class TestL2(DistanceSuite):
    component = "l2"


class TestMADL1(DistanceSuite):
    component = "mad-l1"


class TestGower(DistanceSuite):
    component = "gower"


class TestMahalanobis(DistanceSuite):
    component = "mahalanobis"


class TestJointSearchCost(DistanceSuite):
    component = "joint"


class TestJointLatentFlow(DistanceSuite):
    component = "joint-latent"
    options = {**QUICK, "face": "metric"}  # noqa: RUF012


class TestWhitenedMADL1(DistanceSuite):
    factory = staticmethod(lambda: MADL1(MADConfig(whitened=True)))


class TestMahalanobisUnshrunk(DistanceSuite):
    factory = staticmethod(lambda: Mahalanobis(MahalanobisConfig(shrinkage=0.0)))


class TestJointCloseness(DistanceSuite):
    factory = staticmethod(lambda: Joint(JointConfig(face="closeness")))


class TestJointMetric(DistanceSuite):
    factory = staticmethod(lambda: Joint(JointConfig(face="metric", shrinkage=0.0)))


class TestJointRound(DistanceSuite):
    factory = staticmethod(lambda: Joint(JointConfig(kernel="euclidean", r=0.5)))


class TestJointCopula(DistanceSuite):
    factory = staticmethod(lambda: Joint(JointConfig(margins="copula", face="metric")))


class TestJointLatentDensity(DistanceSuite):
    factory = staticmethod(lambda: JointLatent(JointLatentConfig(density=True, **QUICK)))


class TestJointLatentVAE(DistanceSuite):
    factory = staticmethod(lambda: JointLatent(JointLatentConfig(steps=20, encoder="vae", codes=3)))
