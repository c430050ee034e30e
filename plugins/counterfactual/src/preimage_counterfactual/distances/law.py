"""The joint law of a row and its counterfactual where both are Gaussian, in coordinates that are whitened.

With a = the row's and b = the counterfactual's whitened coordinates, along each direction i:

=============  =========================  ==========================================================
kernel         counterfactual given row   the pair
=============  =========================  ==========================================================
``sigma``      b ~ N(r a, 1 - r²)         correlation r; both margins are the data's own law
``euclidean``  b ~ N(r_i a, 1 - r_i)      two independent draws from the data's law, then closeness
                                          within noise of variance t² was observed
=============  =========================  ==========================================================

with r_i = s_i / (s_i + t²) for the variance s_i along the direction and t² = (1 - r)/r times the mean variance, so
that r means the same in both: where all variances are equal, r_i = r, and the costs differ by a factor only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FaceForm", "PairLaw"]


@attrs.frozen(eq=False)
class FaceForm:
    """One face of the law, as |left · b - right · a|² - own · (a² + b²) + constant, summed over directions."""

    left: Tensor
    """What the counterfactual's coordinates are multiplied by, ``(k,)``."""
    right: Tensor
    """What the row's coordinates are multiplied by, ``(k,)``."""
    own: Tensor
    """What lying far out takes off on either side, ``(k,)``."""
    constant: Tensor
    """A number for all pairs, ``()``."""

    @property
    def weight(self) -> Tensor:
        """How steeply the face rises with the counterfactual's coordinates, ``(k,)``."""
        return self.left.square() - self.own

    def paired(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the face of each pair, ``(B,)``, for coordinates ``(B, k)``."""
        apart = (left * self.left - right * self.right).square().sum(dim=1)
        return apart - self._alone(left) - self._alone(right) + self.constant

    def crossed(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the face of every left with every right, ``(M, N)``, by one product of matrices."""
        one, other = left * self.left, right * self.right
        squares = one.square().sum(dim=1).unsqueeze(1) + other.square().sum(dim=1)
        apart = torch.addmm(squares, one, other.T, alpha=-2).clamp_min(0)
        return apart - self._alone(left).unsqueeze(1) - self._alone(right) + self.constant

    def _alone(self, coordinates: Tensor) -> Tensor:
        return coordinates.square() @ self.own


@attrs.frozen(eq=False)
class PairLaw:
    """Correlated standard normal vectors, or the round variant; tensors are ``(k,)``, one number a direction."""

    pull: Tensor
    """How much of the row is left in the mean of its counterfactual: r, or r_i."""
    variance: Tensor
    """The variance of the counterfactual around that mean: 1 - r², or 1 - r_i."""
    keeps_margins: bool
    """Whether a counterfactual drawn for a row of the data is distributed as the data are."""

    @classmethod
    def of(cls, r: float, variances: Tensor, kernel: str = "sigma") -> PairLaw:
        """Return the law of correlation `r` over directions of these `variances`, ``(k,)``."""
        if kernel == "sigma":
            pull = torch.full_like(variances, r)
            return cls(pull, 1 - pull.square(), keeps_margins=True)
        # s / (s + t²), multiplied by r on both sides, which may be 0.
        pull = r * variances / (r * variances + (1 - r) * variances.mean())
        return cls(pull, 1 - pull, keeps_margins=False)

    @property
    def search_cost(self) -> FaceForm:
        """-2 log of the counterfactual's law given the row, less its constant: |b - r a|² / (1 - r²)."""
        weight = self.variance.rsqrt()
        return FaceForm(weight, self.pull * weight, torch.zeros_like(weight), weight.new_zeros(()))

    @property
    def closeness(self) -> FaceForm:
        """-2 log of what the pair has beyond chance: π(a, b) / (p(a) p(b)), or the observation of closeness."""
        weight = (self.pull / self.variance).sqrt()
        if self.keeps_margins:
            return FaceForm(weight, weight, self.pull / (1 + self.pull), self.variance.log().sum())
        return FaceForm(weight, weight, torch.zeros_like(weight), weight.new_zeros(()))

    @property
    def squared_metric(self) -> FaceForm:
        """-2 log of π(a, b) / √(π(a, a) π(b, b)), which is Mahalanobis' (or, round, Euclid's) square to scale."""
        weight = (self.pull / self.variance).sqrt()
        return FaceForm(weight, weight, torch.zeros_like(weight), weight.new_zeros(()))
