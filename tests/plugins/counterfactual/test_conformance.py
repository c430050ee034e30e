"""The searches keep the contract of components, and the rules of all searches over rows."""

from __future__ import annotations

from preimage.testing import FeatureSearchSuite


class TestGradient(FeatureSearchSuite):
    component = "counterfactual-gradient"


class TestLinear(FeatureSearchSuite):
    component = "counterfactual-linear"


class TestBlackBox(FeatureSearchSuite):
    component = "counterfactual-blackbox"


class TestEvolution(FeatureSearchSuite):
    component = "counterfactual-evolution"


class TestDraw(FeatureSearchSuite):
    component = "counterfactual-draw"
