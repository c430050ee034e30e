"""RealNVP: an invertible map from rows to codes that are standard normal, small enough to be fitted in seconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from preimage_counterfactual.distances.covariance import estimate
from preimage_counterfactual.distances.perceptron import Perceptron, train

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import JointLatentConfig

__all__ = ["Flow"]

_MOST_STRETCH = 1.5
"""No layer stretches or shrinks a code by more than e to this, so that no fit blows up."""

_JITTER = 0.05
"""Noise on whitened rows in training: columns with few values are no density without it."""


class Flow:
    """Whitening, then coupling layers that shift and stretch half of the codes by what the other half says.

    Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP" (arXiv:1605.08803), on top of whitened
    columns instead of raw ones, and without batch normalisation. It starts as the whitening alone, and training
    never leaves it worse than that on held-out rows; with no steps its joint law is the Gaussian one.
    """

    standard = True
    """Its codes have mean 0 and covariance 1 as they are."""

    def __init__(self, rows: Tensor, config: JointLatentConfig) -> None:
        generator = torch.Generator().manual_seed(config.seed)
        self.whitening = estimate(rows, "ledoit-wolf")
        size = len(self.whitening.variances)
        self.first = size // 2
        hidden = (config.hidden, config.hidden)
        layers = config.layers if size > 1 else 0
        self.layers = [Perceptron((self.first, *hidden, 2 * (size - self.first)), generator) for _ in range(layers)]
        self.orders = [torch.randperm(size, generator=generator) for _ in range(layers)]
        parameters = [parameter for layer in self.layers for parameter in layer.parameters]
        if parameters:
            whitened = self.whitening(rows)
            train(
                parameters,
                self._loss,
                whitened.cpu(),
                steps=config.steps,
                learning_rate=config.learning_rate,
                generator=generator,
            )

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the codes, ``(B, k)``, of rows, ``(B, D)``."""
        return self._codes(self.whitening(rows))[0]

    def log_volume(self, rows: Tensor) -> Tensor:
        """Return log |det dz/dx| at each row, ``(B,)``."""
        return self._codes(self.whitening(rows))[1] - self.whitening.log_volume

    def decode(self, codes: Tensor) -> Tensor:
        """Return the rows, ``(B, D)``, of codes, ``(B, k)``."""
        for layer, order in zip(reversed(self.layers), reversed(self.orders), strict=True):
            says, told = codes[:, : self.first], codes[:, self.first :]
            shift, stretch = self._said(layer, says)
            codes = torch.cat([says, (told - shift) * (-stretch).exp()], dim=1)[:, order.argsort()]
        return self.whitening.back(codes)

    def log_density(self, rows: Tensor) -> Tensor:
        """Return the log density of each row, ``(B,)``."""
        codes = self(rows)
        return -(codes.square().sum(dim=1) + codes.shape[1] * math.log(2 * math.pi)) / 2 + self.log_volume(rows)

    def _codes(self, whitened: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes and the logarithm of how much the layers stretch volume."""
        codes, volume = whitened, whitened.new_zeros(len(whitened))
        for layer, order in zip(self.layers, self.orders, strict=True):
            codes = codes[:, order]
            says, told = codes[:, : self.first], codes[:, self.first :]
            shift, stretch = self._said(layer, says)
            codes = torch.cat([says, told * stretch.exp() + shift], dim=1)
            volume = volume + stretch.sum(dim=1)
        return codes, volume

    def _said(self, layer: Perceptron, says: Tensor) -> tuple[Tensor, Tensor]:
        shift, stretch = layer(says).chunk(2, dim=1)
        return shift, _MOST_STRETCH * torch.tanh(stretch / _MOST_STRETCH)

    def _loss(self, whitened: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is not None:
            noise = torch.randn(whitened.shape, generator=generator, dtype=whitened.dtype)
            whitened = whitened + _JITTER * noise
        codes, volume = self._codes(whitened)
        return (codes.square().sum(dim=1) / 2 - volume).mean()
