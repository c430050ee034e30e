"""Distances between rows of features, one family a module.

Each is a component of the catalogue, built by name, and a class that can be used alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from preimage._lazy import lazy

if TYPE_CHECKING:
    from preimage_counterfactual.distances.base import FeatureDistance
    from preimage_counterfactual.distances.config import (
        GowerConfig,
        JointConfig,
        JointLatentConfig,
        L0Config,
        L1Config,
        L2Config,
        MADConfig,
        MahalanobisConfig,
    )
    from preimage_counterfactual.distances.gower import Gower
    from preimage_counterfactual.distances.joint import Joint
    from preimage_counterfactual.distances.joint_latent import JointLatent
    from preimage_counterfactual.distances.l0 import L0
    from preimage_counterfactual.distances.l1 import L1
    from preimage_counterfactual.distances.l2 import L2
    from preimage_counterfactual.distances.mad import MADL1
    from preimage_counterfactual.distances.mahalanobis import Mahalanobis
    from preimage_counterfactual.distances.quadratic import Quadratic

__all__ = [
    "L0",
    "L1",
    "L2",
    "MADL1",
    "FeatureDistance",
    "Gower",
    "GowerConfig",
    "Joint",
    "JointConfig",
    "JointLatent",
    "JointLatentConfig",
    "L0Config",
    "L1Config",
    "L2Config",
    "MADConfig",
    "Mahalanobis",
    "MahalanobisConfig",
    "Quadratic",
]

_MODULES = {
    "base": ("FeatureDistance",),
    "config": (
        "GowerConfig",
        "JointConfig",
        "JointLatentConfig",
        "L0Config",
        "L1Config",
        "L2Config",
        "MADConfig",
        "MahalanobisConfig",
    ),
    "gower": ("Gower",),
    "joint": ("Joint",),
    "joint_latent": ("JointLatent",),
    "l0": ("L0",),
    "l1": ("L1",),
    "l2": ("L2",),
    "mad": ("MADL1",),
    "mahalanobis": ("Mahalanobis",),
    "quadratic": ("Quadratic",),
}

# Lazily, because reading the options of a distance must not import torch.
__getattr__ = lazy(
    __name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}, globals()
)
