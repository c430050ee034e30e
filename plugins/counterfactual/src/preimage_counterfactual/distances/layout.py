"""How the columns of a table lie in its encoded rows: numbers one float each, nominal columns in one-hot blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Layout", "as_labels", "as_rows"]


@attrs.frozen
class Layout:
    """Which of the D floats of a row belong together; plain arrays have no blocks.

    >>> Layout.of(3, None)
    Layout(width=3, blocks=(), frozen=())
    """

    width: int
    """The number of floats of a row."""
    blocks: tuple[tuple[int, ...], ...] = ()
    """The positions of each nominal column's levels."""
    frozen: tuple[int, ...] = ()
    """Positions that may not change."""

    @classmethod
    def of(cls, width: int, space: Any) -> Layout:
        """Return the layout that `space` declares by its ``groups`` and ``frozen``; None has neither.

        Raises:
            InputError: the space encodes rows of another width.
        """
        if space is None:
            return cls(width)
        if space.width != width:
            message = (
                f"The data are {width} floats wide and the space encodes rows in {space.width}: fit the distance on "
                "rows that this space has encoded."
            )
            raise InputError(message)
        blocks = tuple(tuple(range(*block.indices(width))) for block in getattr(space, "groups", ()))
        frozen = getattr(space, "frozen", None)
        still = () if frozen is None else tuple(torch.as_tensor(frozen).nonzero().flatten().tolist())
        return cls(width, tuple(block for block in blocks if len(block) > 1), still)

    @property
    def numeric(self) -> tuple[int, ...]:
        """The positions that belong to no block."""
        nominal = {position for block in self.blocks for position in block}
        return tuple(position for position in range(self.width) if position not in nominal)

    def weights(self, in_block: float) -> Tensor:
        """Return 1 for each number and `in_block` for each level, ``(D,)``.

        A change of level moves two floats by 1 each, so that 1/2 makes it count 1 in a sum of absolute
        differences and the root of 1/2 in a Euclidean distance: one-hot and label coding give the same number.
        """
        weights = torch.ones(self.width, dtype=torch.float64)
        for block in self.blocks:
            weights[list(block)] = in_block
        return weights


def as_rows(data: Any, *, least: int = 2) -> Tensor:
    """Return a table as float64, ``(N, D)``, on the device that it is on.

    Raises:
        InputError: it is no table of numbers, has too few rows, or holds NaN or infinity.
    """
    try:
        rows = torch.as_tensor(data).detach().to(torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        message = (
            f"The data are {type(data).__name__}, not a table of numbers: give an array or tensor (rows, columns), or "
            "encode the table with a feature space first."
        )
        raise InputError(message) from error
    if rows.ndim != 2 or rows.shape[1] == 0:
        message = f"The data have the shape {tuple(rows.shape)}: a distance is fitted to a table (rows, columns)."
        raise InputError(message)
    if len(rows) < least:
        message = (
            f"The data have {len(rows)} row{'s' * (len(rows) != 1)}, which show no spread to measure by: give at "
            f"least {least}."
        )
        raise InputError(message)
    if not rows.isfinite().all():
        bad = (~rows.isfinite()).nonzero()[0].tolist()
        message = (
            f"Row {bad[0]} holds {rows[bad[0], bad[1]].item()} in column {bad[1]}: fill missing values or drop such "
            "rows before fitting."
        )
        raise InputError(message)
    return rows


def as_labels(labels: Any, count: int, purpose: str) -> Tensor:
    """Return one whole number a row, ``(count,)``.

    Arguments:
        labels: numbers, one a row; None if none were given.
        count: the number of rows.
        purpose: what needs them, as the beginning of a sentence.

    Raises:
        InputError: there are none, or not one for each row.
    """
    if labels is None:
        message = f"{purpose} asks which class each row belongs to, and no labels were given: give one for each row."
        raise InputError(message)
    numbers = torch.as_tensor(labels).detach().cpu().to(torch.int64).reshape(-1)
    if len(numbers) == 1 and count != 1:
        numbers = numbers.expand(count)
    if len(numbers) != count:
        message = f"{purpose} was given {len(numbers)} labels for {count} rows: give one for each row."
        raise InputError(message)
    return numbers
