"""What all distances between rows of features share: fitting, widths and types, and norms of coordinates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from preimage.errors import InputError
from preimage_counterfactual.distances.layout import Layout, as_rows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FeatureDistance", "Norm", "root"]


class FeatureDistance(ABC):
    """A distance between encoded rows, ``(B, D)``.

    The left side is the counterfactual, the right side the row that it explains. Everything is computed in float64
    where the fitted data were, and answered in the type and on the device that came in.

    Those that rise with a quadratic form of the left side have a method ``quadratic``, see `Quadratic`: it is what
    closed forms are made of. Where options decide whether it is one, `is_quadratic` says so before anything is fitted.

    Attributes:
        domain: always ``"features"``.
        differentiable: gradients reach both sides.
        symmetric: either side first gives the same number.
        metric: symmetric, zero only between equals, and no way round is shorter.
        grounded: zero between equals and never below. A cost that also asks how plausible the left side is, is not.
        conditional: the classes of both sides make a difference.
        invariance: under which re-coding of the columns, in the fitted data and the rows alike, answers stay:
            ``"none"``, ``"scale"`` (each column by a factor of its own), ``"affine"`` or ``"monotone"``.
    """

    domain: ClassVar[str] = "features"
    least_rows: ClassVar[int] = 1

    differentiable: bool = True
    symmetric: bool = True
    metric: bool = True
    grounded: bool = True
    conditional: bool = False
    invariance: str = "none"

    _layout: Layout | None = None
    _device: torch.device | None = None

    @property
    def is_quadratic(self) -> bool:
        """Whether it rises with a quadratic form of the left side."""
        return hasattr(self, "quadratic")

    def fit(self, data: Any, labels: Any = None, space: Any = None) -> None:
        """Learn from a table what the distance measures by.

        Arguments:
            data: encoded rows, ``(N, D)``.
            labels: the class of each row, ``(N,)`` whole numbers; only some distances look at them.
            space: a feature space whose ``groups`` and ``frozen`` say how the columns lie; None for plain numbers.

        Raises:
            InputError: the table cannot be used; the message says why.
        """
        rows = as_rows(data, least=self.least_rows)
        self._layout = Layout.of(rows.shape[1], space)
        self._device = rows.device
        self._learn(rows, labels)

    def __call__(self, left: Tensor, right: Tensor, left_label: Any = None, right_label: Any = None) -> Tensor:
        """Return the distance of each pair, ``(B,)``.

        Arguments:
            left: counterfactuals, ``(B, D)``.
            right: the rows that they explain, ``(B, D)``.
            left_label: the class of each row of `left`; only class-conditional distances look at it.
            right_label: the same of `right`.

        Raises:
            InputError: the sides do not fit together or to the data that the distance was fitted to.
        """
        if left.shape[:1] != right.shape[:1]:
            message = (
                f"There are {len(left)} rows on the left and {len(right)} on the right: pairs need as many on each "
                "side; `pairwise` compares every row with every row."
            )
            raise InputError(message)
        one, other, answer = self._ready(left, right)
        return self._paired(one, other, left_label, right_label).to(answer)

    def pairwise(self, left: Tensor, right: Tensor, left_label: Any = None, right_label: Any = None) -> Tensor:
        """Return the distance of every row of `left`, ``(M, D)``, from every row of `right`, ``(N, D)``: ``(M, N)``.

        Raises:
            InputError: the rows do not fit to the data that the distance was fitted to.
        """
        one, other, answer = self._ready(left, right)
        return self._crossed(one, other, left_label, right_label).to(answer)

    def _ready(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return both sides as they are computed with, and a tensor of the type and device of the answer."""
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
            message = (
                f"The left side has the shape {tuple(left.shape)} and the right side {tuple(right.shape)}: both must "
                "be rows (rows, columns), encoded alike."
            )
            raise InputError(message)
        answer = torch.empty(0, dtype=torch.promote_types(left.dtype, right.dtype), device=left.device)
        return self._inside(left), self._inside(right), answer if answer.is_floating_point() else answer.double()

    def _inside(self, rows: Tensor) -> Tensor:
        """Return rows in the type and on the device that they are computed with."""
        self._check_width(rows)
        return rows.to(dtype=torch.float64, device=self._device or rows.device)

    def _check_width(self, rows: Tensor) -> None:
        if self._layout is not None and rows.shape[1] != self._layout.width:
            message = (
                f"The rows are {rows.shape[1]} floats wide and the distance was fitted to {self._layout.width}: encode "
                "them as the fitted data were."
            )
            raise InputError(message)

    def _unfitted(self) -> InputError:
        message = f"{type(self).__name__} measures by what it learns from data and has seen none: call `fit` first."
        return InputError(message)

    @abstractmethod
    def _learn(self, rows: Tensor, labels: Any) -> None:
        """Learn from rows that have been checked, ``(N, D)`` in float64."""

    @abstractmethod
    def _paired(self, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        """Return ``(B,)`` for pairs in float64."""

    @abstractmethod
    def _crossed(self, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        """Return ``(M, N)`` in float64."""


class Norm(FeatureDistance):
    """A distance that is a norm of the difference of linear coordinates.

    Attributes:
        power: 1 for the sum of absolute differences, 2 for the Euclidean length.
    """

    power: ClassVar[int]

    @abstractmethod
    def _coordinates(self, rows: Tensor) -> Tensor:
        """Return linear coordinates, ``(B, k)``, of rows in float64."""

    def _paired(self, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        apart = self._coordinates(left - right)
        return apart.abs().sum(dim=1) if self.power == 1 else root(apart.square().sum(dim=1))

    def _crossed(self, left: Tensor, right: Tensor, left_label: Any, right_label: Any) -> Tensor:
        return torch.cdist(self._coordinates(left), self._coordinates(right), p=float(self.power))


def root(squares: Tensor) -> Tensor:
    """Return the square root whose gradient at zero is zero, where the true one is infinite.

    >>> root(torch.tensor([4.0, 0.0]))
    tensor([2., 0.])
    """
    zero = squares <= 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squares).sqrt())
