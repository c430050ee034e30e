"""What the host knows of one run: its best prompt, its cost and its history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from preimage.api.events import Spent

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Best", "Point", "Track"]


@attrs.frozen
class Best:
    """The best prompt so far: its text, the ids that the text is read as, and their loss."""

    text: str
    ids: tuple[int, ...]
    loss: float
    terms: tuple[float, ...]
    step: int
    """Of its stage, counted from 1; 0 for what the search started from."""


@attrs.frozen
class Point:
    """One step in the history of a run; `spent` counts from the run's beginning."""

    stage: int
    step: int
    loss: float
    """The lowest loss among the step's candidates."""
    best_loss: float
    best_text: str
    spent: Spent


@attrs.define(eq=False)
class Track:
    """One target's progress through all stages; the host alone writes it."""

    target: int
    best: Best | None = None
    spent: Spent = attrs.field(factory=Spent)
    before_stage: Spent = attrs.field(factory=Spent)
    trajectory: list[Point] = attrs.field(factory=list)
    stage: int = 0
    step: int = 0
    improved_at: int = 0
    lowest: float = float("inf")
    stop_reason: str | None = None
    before_cut: Track | None = None
    """What it was before a step that was cut short. That step's cost and finds count, but if the run goes on after all,
    the step is repeated, as if it had never been begun."""

    @property
    def spent_in_stage(self) -> Spent:
        """What the current stage has cost so far."""
        total, before = self.spent, self.before_stage
        return Spent(
            total.candidates - before.candidates,
            total.forward - before.forward,
            total.backward - before.backward,
            total.seconds - before.seconds,
        )

    def begin_stage(self, stage: int) -> None:
        """Start counting steps and cost from zero; the best and the history stay."""
        self.stage, self.step, self.improved_at = stage, 0, 0
        self.before_stage, self.stop_reason, self.before_cut = self.spent, None, None

    def charge(self, *, candidates: int = 0, forward: int = 0, backward: int = 0, seconds: float = 0.0) -> None:
        """Add to what the run has cost."""
        self.spent = self.spent + Spent(candidates, forward, backward, seconds)

    def improve(self, best: Best) -> None:
        """Take over a better prompt; one that is not better is ignored."""
        if self.best is None or (best.loss, len(best.ids)) < (self.best.loss, len(self.best.ids)):
            self.best, self.improved_at = best, best.step

    def would_improve(self, losses: Tensor, length: int) -> Tensor:
        """Tell which of the losses, ``(B,)``, of prompts of `length` tokens are better than the best, bool ``(B,)``.

        Of equal losses that of the shorter prompt is the better: what does nothing has no place in a result.
        """
        if self.best is None:
            return losses < float("inf")
        return losses <= self.best.loss if length < len(self.best.ids) else losses < self.best.loss

    def finish_step(self) -> None:
        """Write the step that has just ended into the history."""
        assert self.best is not None
        self.trajectory.append(Point(self.stage, self.step, self.lowest, self.best.loss, self.best.text, self.spent))
        self.lowest = float("inf")

    def take_back(self) -> None:
        """Become what it was before the step that was cut short."""
        assert self.before_cut is not None
        before = attrs.evolve(self.before_cut, trajectory=list(self.before_cut.trajectory))
        for field in attrs.fields(Track):
            setattr(self, field.name, getattr(before, field.name))

    def initial_ids(self, device: torch.device) -> Tensor:
        """Return the best ids, ``(L,)``, for the next stage to start from."""
        import torch

        assert self.best is not None
        return torch.tensor(self.best.ids, device=device)
