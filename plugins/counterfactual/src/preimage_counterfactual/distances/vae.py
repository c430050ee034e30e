"""A variational autoencoder: fewer codes than columns, for tables whose columns say much the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from preimage_counterfactual.distances.covariance import estimate
from preimage_counterfactual.distances.perceptron import Perceptron, train

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import JointLatentConfig

__all__ = ["VAE"]

_LEAST_NOISE = 0.01
"""Of a column's variance: where the codes tell all, the noise must start somewhere."""


class VAE:
    """Rows are encoded by the mean of their posterior; what decoding adds is noise of one learned size.

    Kingma and Welling, "Auto-encoding variational Bayes" (arXiv:1312.6114). Both networks correct a linear map, the
    leading principal directions of the table: it starts as probabilistic principal components. The codes of all
    rows together are only nearly standard normal, so that their law is taken from them.
    """

    standard = False
    """Its codes have a mean and covariance of their own."""

    def __init__(self, rows: Tensor, config: JointLatentConfig) -> None:
        generator = torch.Generator().manual_seed(config.seed)
        self.whitening = estimate(rows, "ledoit-wolf")
        columns = len(self.whitening.variances)
        self.codes = min(config.codes, columns)
        self.encoder = Perceptron((columns, config.hidden, 2 * self.codes), generator)
        self.decoder = Perceptron((self.codes, config.hidden, columns), generator)
        variances = self.whitening.variances.cpu()
        left_out = variances[self.codes :].mean() if self.codes < columns else variances.new_zeros(())
        self.log_noise = left_out.clamp_min(_LEAST_NOISE).log().reshape(1)
        self.start = (self.log_noise - variances[: self.codes].log()).clamp_max(0)
        train(
            [*self.encoder.parameters, *self.decoder.parameters, self.log_noise],
            self._loss,
            self._components(rows).cpu(),
            steps=config.steps,
            learning_rate=config.learning_rate,
            generator=generator,
        )

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the posterior means, ``(B, k)``, of rows, ``(B, D)``."""
        return self._posterior(self._components(rows))[0]

    def decode(self, codes: Tensor) -> Tensor:
        """Return the mean row, ``(B, D)``, of codes, ``(B, k)``."""
        components = self._decoded(codes)
        return self.whitening.back(components / self.whitening.variances.sqrt())

    def _components(self, rows: Tensor) -> Tensor:
        """Return principal components, ``(B, K)``, in units of the columns' spread."""
        return self.whitening(rows) * self.whitening.variances.sqrt()

    def _posterior(self, components: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_variance = self.encoder(components).chunk(2, dim=1)
        leading = components[:, : self.codes] / self.whitening.variances[: self.codes].sqrt()
        return leading + shift, log_variance + self.start.to(log_variance)

    def _decoded(self, codes: Tensor) -> Tensor:
        linear = torch.zeros(len(codes), len(self.whitening.variances), dtype=codes.dtype, device=codes.device)
        linear[:, : self.codes] = codes * self.whitening.variances[: self.codes].sqrt()
        return linear + self.decoder(codes)

    def _loss(self, components: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the mean negative evidence bound; held-out rows are asked without noise."""
        mean, log_variance = self._posterior(components)
        codes = mean
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
            codes = mean + (log_variance / 2).exp() * noise
        error = (components - self._decoded(codes)).square().sum(dim=1) * (-self.log_noise).exp()
        away = (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1)
        return (error + components.shape[1] * self.log_noise + away).mean() / 2
