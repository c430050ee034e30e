"""Distances that are quadratic forms around a centre: what closed forms and fast gradients are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Quadratic"]


@attrs.frozen(eq=False)
class Quadratic:
    """The form (x' - c)ᵀ P (x' - c) for each row of a batch; a distance that has it rises with it."""

    centre: Tensor
    """Where each row's form is least, ``(B, D)``."""
    precision: Tensor
    """P, ``(D, D)`` for all rows or ``(B, D, D)``."""
    covariance: Tensor
    """The pseudo-inverse of P, of the same shape."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the form of each row, ``(B,)``, for rows ``(B, D)``."""
        apart = rows - self.centre
        return ((apart.unsqueeze(1) @ self.precision).squeeze(1) * apart).sum(dim=1)

    def given(self, frozen: Tensor, values: Tensor) -> Quadratic:
        """Return the form with some columns held, over all columns: the centre moves along, frozen steps cost nothing.

        Nothing is dropped: the rest regresses on the held columns by the off-diagonal of the precision, and its
        covariance is the Schur complement.

        Arguments:
            frozen: which columns are held, bool ``(D,)``.
            values: rows whose held columns are taken, ``(B, D)``.
        """
        free = ~frozen
        inner, held = self.precision[..., free, :][..., free], self.precision[..., free, :][..., frozen]
        covariance = torch.linalg.pinv(inner, hermitian=True)
        push = (held @ (values - self.centre)[:, frozen].unsqueeze(2)).squeeze(2)
        centre = values.clone()
        centre[:, free] = self.centre[:, free] - (covariance @ push.unsqueeze(2)).squeeze(2)
        whole = [torch.zeros_like(self.precision) for _ in range(2)]
        grid = free.unsqueeze(1) & free.unsqueeze(0)
        for target, block in zip(whole, (inner, covariance), strict=True):
            target[..., grid] = block.flatten(start_dim=-2)
        return Quadratic(centre, *whole)

    def nearest(self, normal: Tensor, offset: Tensor) -> Tensor:
        """Return the row of least cost on the plane ``normal · x' = offset``, ``(B, D)``.

        The step from the centre is along C w, not along w: columns that hang together move together. With the
        joint distance this is equation (7) of the derivation: m + C w (t - wᵀm) / (wᵀ C w).

        Arguments:
            normal: w, ``(D,)`` or ``(B, D)``.
            offset: t, ``(B,)``.
        """
        normal = normal.to(self.centre).expand_as(self.centre)
        along = (self.covariance @ normal.unsqueeze(2)).squeeze(2)
        gap = offset - (normal * self.centre).sum(dim=1)
        return self.centre + along * (gap / (normal * along).sum(dim=1)).unsqueeze(1)
