"""KID: the kernel distance of sets of pictures, unbiased, with its standard error.

For features ``x_1 … x_m`` and ``y_1 … y_n`` and the kernel ``k(a, b) = (a·b / D + 1)^3``::

    KID = mean of k(x_i, x_j) over i ≠ j  +  mean of k(y_i, y_j) over i ≠ j  -  2 · mean of k(x_i, y_j)

This is the unbiased estimate of the squared maximum mean discrepancy: right on average however few pictures there are,
and therefore below zero at times where the sets are alike. Bińkowski et al. (2018), "Demystifying MMD GANs", average
it over random subsets and report the spread of those; here every picture is used once, and the error is the
jackknife's, which needs no draws: leave one picture (or one group of pictures that belong together) out at a time.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import attrs
import torch
from torch.nn import functional

from preimage.errors import InputError
from preimage_distances.features import OfSets

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from preimage.api.model import ImageTextEncoder
    from preimage_distances.config import KernelDistanceConfig

__all__ = ["Estimate", "KernelDistance"]


@attrs.frozen
class Estimate:
    """A number and how far it may be off."""

    value: float
    standard_error: float


class KernelDistance(OfSets):
    """The squared maximum mean discrepancy between sets of pictures under a polynomial kernel, unbiased.

    Arguments:
        config: the kernel.
        model: the encoder whose vectors are compared.
    """

    unbiased = True

    def __init__(self, config: KernelDistanceConfig, *, model: ImageTextEncoder) -> None:
        super().__init__(model)
        self._config = config

    def estimate(
        self,
        left: Sequence[Image],
        right: Sequence[Image],
        groups: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    ) -> Estimate:
        """Return the distance of two sets and its standard error.

        Arguments:
            left: a set of pictures.
            right: the other set.
            groups: for each picture of either set what it belongs to. Pictures of one group, in whichever set, are
                left out together; without groups each picture stands for itself.

        Raises:
            InputError: a set has fewer than two pictures, or all its pictures belong to one group.
        """
        return self.estimate_of_features(self.features(left), self.features(right), groups)

    def estimate_of_features(
        self, left: Tensor, right: Tensor, groups: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None
    ) -> Estimate:
        """Return what `estimate` does, for features ``(m, D)`` and ``(n, D)``."""
        kernels = self._kernels(left, right)
        if groups is None:
            # Each side on its own: the two samples were drawn apart.
            m, n = len(left), len(right)
            members = torch.eye(m + n, dtype=torch.float64)
            values = _left_out(kernels, members[:m], members[m:])
            variance = _jackknife(values[:m]) + _jackknife(values[m:])
        else:
            numbers = {group: index for index, group in enumerate(dict.fromkeys([*groups[0], *groups[1]]))}
            sides = [torch.tensor([numbers[group] for group in side]) for side in groups]
            members, others = (functional.one_hot(side, len(numbers)).double() for side in sides)
            variance = _jackknife(_left_out(kernels, members, others))
        return Estimate(_value(kernels), variance**0.5)

    def _between(self, left: Tensor, right: Tensor) -> float:
        return _value(self._kernels(left, right))

    def _kernels(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the kernel within the left set and within the right one, both without diagonal, and between them."""
        config = self._config
        gamma = 1 / left.shape[1] if config.gamma is None else config.gamma

        def kernel(one: Tensor, other: Tensor) -> Tensor:
            return (gamma * one @ other.T + config.coefficient) ** config.degree

        within = [(values := kernel(side, side)) - values.diag().diag() for side in (left, right)]
        return within[0], within[1], kernel(left, right)


def _value(kernels: tuple[Tensor, Tensor, Tensor]) -> float:
    """Return the unbiased estimate from the kernels within and between the sets."""
    left, right, between = kernels
    return float(_discrepancy(left.sum(), right.sum(), between.sum(), *between.shape))


def _discrepancy(left: Tensor, right: Tensor, between: Tensor, m: Tensor | int, n: Tensor | int) -> Tensor:
    """Return the unbiased estimate from the sums of the kernels over `m` and `n` pictures."""
    return left / (m * (m - 1)) + right / (n * (n - 1)) - 2 * between / (m * n)


def _left_out(kernels: tuple[Tensor, Tensor, Tensor], members: Tensor, others: Tensor) -> Tensor:
    """Return the estimates, ``(G,)``, without one group each.

    Arguments:
        kernels: ``(m, m)``, ``(n, n)`` and ``(m, n)``.
        members: which picture of the left set belongs to which group, ``(m, G)`` of 0 and 1.
        others: the same for the right set, ``(n, G)``.

    Raises:
        InputError: without a group, fewer than two pictures are left.
    """
    left, right, between = kernels
    m, n = len(members) - members.sum(dim=0), len(others) - others.sum(dim=0)
    if min(m.min(), n.min()) < 2:
        message = (
            "Without one of the groups a set has fewer than two pictures, so that the error cannot be told: give more "
            "pictures, of more groups."
        )
        raise InputError(message)

    def without(kernel: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        # A group's rows and its columns go; where they cross has then gone twice.
        own_rows, own_columns = kernel.sum(dim=1) @ rows, kernel.sum(dim=0) @ columns
        return kernel.sum() - own_rows - own_columns + (rows * (kernel @ columns)).sum(dim=0)

    sums = (
        without(left, members, members),
        without(right, others, others),
        without(between, members, others),
    )
    return _discrepancy(*sums, m, n)


def _jackknife(values: Tensor) -> float:
    """Return the variance of an estimate from its values, ``(G,)``, with one group left out each."""
    count = len(values)
    return float((values - values.mean()).square().sum() * (count - 1) / count)
