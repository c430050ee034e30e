"""Small networks as plain tensors, drawn from a generator of their own, and how they are trained."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Perceptron", "train"]

_ROWS_A_STEP = 512
_LOOK_EVERY = 10
_HELD_OUT = 5
"""Every fifth row is kept aside to choose the step to stop at."""


class Perceptron:
    """Linear maps with tanh between them; the last one starts at zero, so that the network starts by saying nothing."""

    def __init__(self, sizes: Sequence[int], generator: torch.Generator) -> None:
        self.weights = [
            torch.randn(given, made, generator=generator, dtype=torch.float64) / max(given, 1) ** 0.5
            for given, made in itertools.pairwise(sizes)
        ]
        self.weights[-1].zero_()
        self.biases = [torch.zeros(made, dtype=torch.float64) for made in sizes[1:]]

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the last layer, ``(B, sizes[-1])``, for rows, ``(B, sizes[0])``."""
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            rows = torch.tanh(torch.addmm(bias, rows, weight))
        return torch.addmm(self.biases[-1], rows, self.weights[-1])

    @property
    def parameters(self) -> list[Tensor]:
        """All weights and biases."""
        return [*self.weights, *self.biases]


def train(
    parameters: Sequence[Tensor],
    loss: Callable[[Tensor, torch.Generator | None], Tensor],
    rows: Tensor,
    *,
    steps: int,
    learning_rate: float,
    generator: torch.Generator,
) -> None:
    """Minimise the mean loss of rows by Adam and keep the weights that held-out rows liked best.

    The start is a candidate, too, so that training never makes held-out rows less likely. Of fewer than 20 rows
    none are held out.

    Arguments:
        parameters: changed in place; they ask for no gradient afterwards.
        loss: of rows, ``(B, D)``, with a generator for its noise in training and None when held-out rows are asked.
        rows: the table, ``(N, D)``; its order does not matter.
        steps: how many.
        learning_rate: Adam's at the start; falls to zero along a cosine.
        generator: on the CPU.
    """
    # In an order of their own, so that the result does not depend on how the table was sorted.
    order = sorted(range(len(rows)), key=rows.tolist().__getitem__)
    rows = rows[order]
    place = torch.arange(len(rows)) % _HELD_OUT == _HELD_OUT - 1
    seen, unseen = (rows[~place], rows[place]) if len(rows) >= 20 else (rows, rows)
    if steps == 0:
        return
    for parameter in parameters:
        parameter.requires_grad_()
    adam = torch.optim.Adam(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    best, kept = torch.inf, [parameter.detach().clone() for parameter in parameters]
    for step in range(steps + 1):
        if step % _LOOK_EVERY == 0 or step == steps:
            with torch.no_grad():
                value = float(loss(unseen, None))
            if value < best:
                best, kept = value, [parameter.detach().clone() for parameter in parameters]
        if step == steps:
            break
        chosen = seen
        if len(seen) > _ROWS_A_STEP:
            chosen = seen[torch.randint(len(seen), (_ROWS_A_STEP,), generator=generator)]
        adam.zero_grad()
        with torch.enable_grad():
            loss(chosen, generator).backward()
        adam.step()
        schedule.step()
    for parameter, value_kept in zip(parameters, kept, strict=True):
        parameter.requires_grad_(False).copy_(value_kept)
