"""FID: the Fréchet distance of sets of pictures, as if their features were normally distributed.

For the means ``m, n`` and covariances ``S, T`` of the features of two sets::

    FID = |m - n|^2 + tr S + tr T - 2 tr (S T)^(1/2)

With few pictures it comes out too large, the more so the more features there are: compare only figures from equally
many pictures, and prefer `KernelDistance` below about 2048 of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from preimage_distances.features import OfSets

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.model import ImageTextEncoder
    from preimage_distances.config import FrechetDistanceConfig

__all__ = ["FrechetDistance"]


class FrechetDistance(OfSets):
    """The Fréchet distance between sets of pictures (Heusel et al., 2017, arXiv:1706.08500).

    Arguments:
        config: has no options.
        model: the encoder whose vectors are compared.
    """

    def __init__(self, config: FrechetDistanceConfig, *, model: ImageTextEncoder) -> None:
        super().__init__(model)

    def _between(self, left: Tensor, right: Tensor) -> float:
        means = left.mean(dim=0), right.mean(dim=0)
        # X'X is the covariance. The trace of (X'X Y'Y)^(1/2) is the sum of the singular values of XY', so that
        # no root of a matrix is taken, which for fewer pictures than features is singular; and a triangular factor
        # in the place of X leaves them as they are.
        roots = [
            torch.linalg.qr((side - mean) / (len(side) - 1) ** 0.5, mode="r").R
            for side, mean in zip((left, right), means, strict=True)
        ]
        spread = sum(root.square().sum() for root in roots)
        overlap = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
        distance = (means[0] - means[1]).square().sum() + spread - 2 * overlap
        return float(distance.clamp_min(0))
