"""What a joint law knows of the data: rows as whitened coordinates around the mean of their class and categories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage.errors import InputError
from preimage_counterfactual.distances.categories import level_means
from preimage_counterfactual.distances.copula import Margins, correlation
from preimage_counterfactual.distances.covariance import Whitening, estimate
from preimage_counterfactual.distances.layout import Layout, as_labels
from preimage_counterfactual.distances.transport import alignment

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_counterfactual.distances.config import JointConfig

__all__ = ["Population"]

_ROUNDING = 1e-8

_PURPOSE = "A class-conditional distance"


@attrs.frozen(eq=False)
class Population:
    """Numbers as u = (score(x) - mean of class and categories) whitened, categories as one-hot blocks."""

    width: int
    """D, the floats of a row."""
    numeric: Tensor
    """The positions of the numbers, ``(K,)``."""
    blocks: tuple[tuple[int, ...], ...]
    """The positions of each nominal column's levels."""
    margins: Margins | None
    """The curves to normal scores; None where columns are taken as they are."""
    classes: Tensor
    """The labels that the data have, ascending, ``(C,)``; one zero where classes make no difference."""
    conditional: bool
    """Whether classes make a difference."""
    means: Tensor
    """The mean score of each class, ``(C, K)``."""
    effects: Tensor
    """What each level of all blocks adds to the mean, ``(L, K)``."""
    whitenings: tuple[Whitening, ...]
    """One for all classes, or one for each; their means are zero."""
    alignments: Tensor | None
    """The rotation from each class's coordinates, second axis, into another's, first axis: ``(C, C, k, k)``."""

    @classmethod
    def of(cls, rows: Tensor, labels: Any, layout: Layout, config: JointConfig) -> Population:
        """Return what a table, ``(N, D)``, shows.

        Raises:
            InputError: labels are needed and not given, a class has a single row, or nothing varies.
        """
        conditional = config.classes != "pooled"
        given = as_labels(labels, len(rows), _PURPOSE) if conditional else torch.zeros(len(rows), dtype=torch.int64)
        classes, index = given.unique(return_inverse=True)
        kernel = config.categories == "kernel"
        positions = layout.numeric if kernel else tuple(range(layout.width))
        numeric = torch.tensor(positions, dtype=torch.int64, device=rows.device)
        blocks = layout.blocks if kernel else ()
        numbers = rows[:, numeric]
        margins = Margins.of(numbers) if config.margins == "copula" else None
        scores = numbers if margins is None else margins(numbers)
        levels = _levels(rows, blocks)
        means, effects = level_means(scores, levels, index, len(classes))
        index = index.to(rows.device)
        apart = _cleared(scores - means[index] - levels @ effects, scores)
        zero = torch.zeros_like(means[0])
        if config.classes == "transport":
            _check_counts(index, classes)
            whitenings = tuple(estimate(apart[index == c], config.shrinkage, zero) for c in range(len(classes)))
        elif margins is not None and not conditional and not blocks and len(positions):
            # The scores' mean is zero but for ties, and their correlation follows from that of ranks.
            means = torch.zeros_like(means)
            whitenings = (correlation(numbers, config.shrinkage),)
        else:
            whitenings = (estimate(apart, config.shrinkage, zero),)
        alignments = _alignments(whitenings, classes) if len(whitenings) > 1 else None
        return cls(layout.width, numeric, blocks, margins, classes, conditional, means, effects, whitenings, alignments)

    def class_of(self, labels: Any, count: int) -> Tensor:
        """Return the position in `classes` of each label, ``(count,)``.

        Raises:
            InputError: they are needed and not given, or are none that the data have.
        """
        if not self.conditional:
            return torch.zeros(count, dtype=torch.int64, device=self.means.device)
        given = as_labels(labels, count, _PURPOSE)
        index = torch.searchsorted(self.classes, given.contiguous()).clamp_max(len(self.classes) - 1)
        unknown = self.classes[index] != given
        if unknown.any():
            message = (
                f"The label {int(given[unknown][0])} is none of the classes that the distance was fitted to: "
                f"{', '.join(str(int(label)) for label in self.classes)}."
            )
            raise InputError(message)
        return index.to(self.means.device)

    def levels(self, rows: Tensor) -> Tensor:
        """Return the one-hot floats of all nominal columns, ``(B, L)``."""
        return _levels(rows, self.blocks)

    def whitening(self, index: int) -> Whitening:
        """Return the whitening of a class."""
        return self.whitenings[index if len(self.whitenings) > 1 else 0]

    def coordinates(self, rows: Tensor, index: Tensor) -> Tensor:
        """Return whitened coordinates, ``(B, k)``, of rows, ``(B, D)``, of these classes."""
        # Picking rows and columns costs as much as the product below; where there is nothing to pick, nothing is.
        numbers = rows if len(self.numeric) == rows.shape[1] else rows[:, self.numeric]
        scores = numbers if self.margins is None else self.margins(numbers)
        apart = scores - (self.means if len(self.means) == 1 else self.means[index])
        if self.blocks:
            apart = apart - self.levels(rows) @ self.effects
        if len(self.whitenings) == 1:
            return apart @ self.whitenings[0].factor
        factors = torch.stack([whitening.factor for whitening in self.whitenings])
        return (apart.unsqueeze(1) @ factors[index]).squeeze(1)

    def numbers(self, coordinates: Tensor, levels: Tensor, index: Tensor) -> Tensor:
        """Return the scores, ``(B, K)``, of coordinates, ``(B, k)``, with these levels, ``(B, L)``, and classes."""
        middle = self.means[index] + levels @ self.effects
        if len(self.whitenings) == 1:
            return middle + coordinates @ self.whitenings[0].inverse
        inverses = torch.stack([whitening.inverse for whitening in self.whitenings])
        return middle + (coordinates.unsqueeze(1) @ inverses[index]).squeeze(1)

    def aligned(self, coordinates: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Return what rows with these coordinates, ``(B, k)``, of one class correspond to in another, ``(B, k)``."""
        if self.alignments is None:
            return coordinates
        return (coordinates.unsqueeze(1) @ self.alignments[target, source]).squeeze(1)


def _levels(rows: Tensor, blocks: tuple[tuple[int, ...], ...]) -> Tensor:
    return rows[:, [position for block in blocks for position in block]]


def _cleared(apart: Tensor, scores: Tensor) -> Tensor:
    """Return what means leave, without the rounding that they leave where they explain a column fully."""
    left, whole = (rows.square().mean(dim=0).sqrt() for rows in (apart, scores - scores.mean(dim=0)))
    constant = (scores == scores[:1]).all(dim=0)
    return torch.where(constant | (left <= _ROUNDING * whole), torch.zeros_like(apart), apart)


def _check_counts(index: Tensor, classes: Tensor) -> None:
    counts = index.bincount(minlength=len(classes))
    if int(counts.min()) < 2:
        few = int(counts.argmin())
        message = (
            f"Class {int(classes[few])} has {int(counts[few])} row, which shows no covariance: give more rows of it, "
            "or share one covariance with classes='shared'."
        )
        raise InputError(message)


def _alignments(whitenings: tuple[Whitening, ...], classes: Tensor) -> Tensor:
    sizes = [len(whitening.variances) for whitening in whitenings]
    if len(set(sizes)) > 1:
        message = (
            f"The classes {', '.join(str(int(label)) for label in classes)} vary in {', '.join(map(str, sizes))} "
            "directions, and transport needs as many in each: raise the shrinkage, or take classes='shared'."
        )
        raise InputError(message)
    return torch.stack([torch.stack([alignment(source, target) for source in whitenings]) for target in whitenings])
