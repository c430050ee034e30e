"""The map that carries one class's Gaussian law to another's and moves rows least."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.covariance import Whitening

__all__ = ["alignment", "transport_map"]

_NEGLIGIBLE = 1e-12


def transport_map(source: Whitening, target: Whitening) -> Tensor:
    """Return the symmetric T, ``(D, D)``, with T S T = S' for the two covariances.

    T = S^(-1/2) (S^(1/2) S' S^(1/2))^(1/2) S^(-1/2): of all linear maps that carry N(0, S) to N(0, S') the one that
    moves points least.
    """
    values, directions = torch.linalg.eigh(source.covariance)
    varies = values > _NEGLIGIBLE * values[-1]
    half = (directions * values.clamp_min(0).sqrt()) @ directions.T
    inverse_half = (directions * torch.where(varies, values, torch.inf).rsqrt()) @ directions.T
    values, vectors = torch.linalg.eigh(half @ target.covariance @ half)
    middle: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    result: Tensor = inverse_half @ middle @ inverse_half
    return result


def alignment(source: Whitening, target: Whitening) -> Tensor:
    """Return what turns whitened coordinates of one class into those of the row's counterpart in another, ``(k, k')``.

    It is a rotation. A joint law of two Gaussians is unique only up to such a rotation; the transport map chooses it.
    """
    return source.inverse @ transport_map(source, target) @ target.factor
