"""The covariance of a table, shrunk, and the coordinates in which it is the identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

from preimage.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Whitening", "estimate", "ledoit_wolf_share", "whiten"]

_NEGLIGIBLE = 1e-10
"""Directions with less than this share of the largest variance have none: the pseudo-inverse leaves them out."""


@attrs.frozen(eq=False)
class Whitening:
    """The map between rows and coordinates u with mean 0 and covariance 1.

    They run along the principal directions of the columns in units of their spread. Where the covariance is
    singular there are fewer coordinates than columns, k < D: this is its pseudo-inverse in those units.
    """

    mean: Tensor
    """The mean row, ``(D,)``."""
    factor: Tensor
    """``(D, k)``: u = (x - mean) @ factor."""
    inverse: Tensor
    """``(k, D)``: x = mean + u @ inverse."""
    variances: Tensor
    """The variance along each principal direction, in those units, ``(k,)``, largest first."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the coordinates, ``(B, k)``, of rows, ``(B, D)``."""
        return (rows - self.mean) @ self.factor

    def back(self, coordinates: Tensor) -> Tensor:
        """Return the rows, ``(B, D)``, of coordinates, ``(B, k)``."""
        return self.mean + coordinates @ self.inverse

    @property
    def covariance(self) -> Tensor:
        """``(D, D)``."""
        return self.inverse.T @ self.inverse

    @property
    def precision(self) -> Tensor:
        """The inverse of the covariance where it has one, ``(D, D)``."""
        return self.factor @ self.factor.T

    @property
    def log_volume(self) -> Tensor:
        """Half the logarithm of the covariance's determinant over the directions that vary, ``()``."""
        return torch.logdet(self.inverse @ self.inverse.T) / 2


def whiten(mean: Tensor, covariance: Tensor, scale: Tensor | None = None) -> Whitening:
    """Return the whitening of a law with this mean, ``(D,)``, and covariance, ``(D, D)``.

    Arguments:
        mean: the mean row.
        covariance: in units of `scale`.
        scale: the unit of each column, ``(D,)``, so that what counts as no variance does not depend on anybody's
            units; 1 without.

    Raises:
        InputError: nothing varies.

    >>> whiten(torch.zeros(2), torch.diag(torch.tensor([4.0, 0.25])))(torch.tensor([[2.0, 0.0]])).abs()
    tensor([[1., 0.]])
    """
    scale = torch.ones_like(mean) if scale is None else scale
    values, directions = torch.linalg.eigh((covariance + covariance.T) / 2)
    values, directions = values.flip(0), directions.flip(1)
    kept = values > _NEGLIGIBLE * values[:1].clamp_min(0)
    if len(values) and not kept.any():
        raise _no_spread()
    variances, directions = values[kept], directions[:, kept]
    deviations = variances.sqrt()
    return Whitening(
        mean=mean,
        factor=directions / deviations / scale.unsqueeze(1),
        inverse=deviations.unsqueeze(1) * directions.T * scale,
        variances=variances,
    )


def _no_spread() -> InputError:
    message = "All rows of the data are alike, so that there is no spread to measure by: give rows that differ."
    return InputError(message)


def estimate(rows: Tensor, shrinkage: str | float, centre: Tensor | None = None) -> Whitening:
    """Return the whitening of a table, ``(N, D)``.

    Columns are brought to unit spread first, so that shrinking does not depend on anybody's units; the shrunk
    covariance is S·(1 - share) + share·1 in those units, and comes back in the table's own.

    Arguments:
        rows: float64.
        shrinkage: ``"ledoit-wolf"`` for the share that loses least, or the share itself, from 0 to 1.
        centre: the mean to subtract, ``(D,)``, where it is known; the mean of the rows without.

    Raises:
        InputError: all rows are alike.
    """
    if rows.shape[1] == 0:
        return whiten(rows.new_zeros(0), rows.new_zeros(0, 0))
    mean = rows.mean(dim=0) if centre is None else centre
    apart = rows - mean
    spread = apart.square().mean(dim=0).sqrt()
    # What a mean of equal numbers leaves of them is rounding, no spread.
    still = spread <= 1e-12 * rows.abs().amax(dim=0)
    if still.all():
        raise _no_spread()
    # A constant column is measured in its own units; its variance is what shrinking gives it.
    scale = torch.where(still, torch.ones_like(spread), spread)
    scaled = torch.where(still, torch.zeros_like(apart), apart) / scale
    covariance = scaled.T @ scaled / len(rows)
    share = ledoit_wolf_share(scaled) if shrinkage == "ledoit-wolf" else float(shrinkage)
    target = covariance.diagonal().mean() * torch.eye(len(covariance), dtype=rows.dtype, device=rows.device)
    return whiten(mean, (1 - share) * covariance + share * target, scale)


def ledoit_wolf_share(scaled: Tensor) -> float:
    """Return the share of shrinkage that loses least in expectation, for centred rows, ``(N, D)``.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    return float(ledoit_wolf_shrinkage(scaled.cpu().numpy(), assume_centered=True))
