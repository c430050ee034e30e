"""What observers are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["RunEvent", "Spent", "StepEvent"]


@attrs.frozen
class Spent:
    """What a run has cost, counted by the host.

    >>> Spent(candidates=3, forward=4) + Spent(forward=1, backward=1)
    Spent(candidates=3, forward=5, backward=1, seconds=0.0)
    """

    candidates: int = 0
    """Candidates whose loss the optimizer asked for, those answered from memory included."""
    forward: int = 0
    """Rows that went forward through a model, summed over the terms."""
    backward: int = 0
    """Rows that went backward through a model, summed over the terms."""
    seconds: float = 0.0
    """Wall-clock time; runs in lockstep share it."""

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.candidates + other.candidates,
            self.forward + other.forward,
            self.backward + other.backward,
            self.seconds + other.seconds,
        )


@attrs.frozen
class RunEvent:
    """A set of runs begins: how many, with which optimizer, within which budget."""

    optimizer: str
    """Of the last stage."""
    n_runs: int
    seed: int
    budget: Mapping[str, Any]
    """Of the last stage."""
    stages: tuple[str, ...] = ()
    """The optimizers of all stages."""
    targets: tuple[str, ...] = ()
    """The names of the targets, a picture's being its path; run ``i`` has the target ``i``."""


@attrs.frozen
class StepEvent:
    """One step of all runs has ended; entry ``i`` of each tuple belongs to run ``i``."""

    step: int
    loss: tuple[float, ...]
    best_loss: tuple[float, ...]
    best_text: tuple[str, ...]
    spent: tuple[Spent, ...]
    running: int
    stage: int = 0
    """The place of the current stage in its pipeline; steps count from its beginning."""
    coverage: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict)
    """For each term with an adapter that counts them, how the words of all gradients were served, in all runs."""
