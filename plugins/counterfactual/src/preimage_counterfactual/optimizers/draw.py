"""Counterfactuals drawn from the joint law instead of optimised under it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import torch

from preimage.api import Losses
from preimage.errors import AssemblyError

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Step
    from preimage.feature_space import FeatureSearchSpace
    from preimage_counterfactual.config import DrawConfig

__all__ = ["Draw", "DrawState"]


@attrs.frozen(eq=False, kw_only=True)
class DrawState:
    """The draws of every query.

    Attributes:
        current: the last draw of each query, ``(N, D)``.
        draws: all of them, ``(N, K, D)``; the query itself before the first step.
        answered: which queries have an answer, bool ``(N,)``.
        round: steps made.
        done: every query has an answer, or there were rounds enough.
    """

    current: Tensor
    draws: Tensor
    answered: Tensor
    round: int = 0
    done: bool = False


class Draw:
    """Draws rows from the law of a counterfactual given the query; the first that is decided as wanted is the answer.

    An optimum is the most typical row there is, and more typical than real rows are; a draw looks like them. Each
    query takes K draws a step, and where none of them turns the decision, the law is applied to the draws again: what
    was correlated by r with the query is then correlated by r², and so on, so that the search goes farther step by
    step without ever leaving the data's law. What a query may not change is the query's, the rest is drawn given it
    where the law can do so, and bounds are kept.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    rowwise: ClassVar[bool] = True
    keeps_first: ClassVar[bool] = True
    needs_sample: ClassVar[bool] = True
    State: ClassVar[type[DrawState]] = DrawState

    def __init__(self, config: DrawConfig) -> None:
        self.config = config

    def start(self, space: FeatureSearchSpace, rng: Any, initial: Sequence[Tensor | None]) -> DrawState:
        """Return the state at the queries, or at the rows that are given for all of them.

        Raises:
            AssemblyError: the distance has no law to draw from.
        """
        if not hasattr(space.distance, "sample"):
            message = (
                f"counterfactual-draw draws from the law of its distance, and {type(space.distance).__name__} has "
                "none: use "
                "joint or joint-latent, or another search."
            )
            raise AssemblyError(message)
        given = [row for row in initial if row is not None]
        current = torch.stack(given) if given else space.reference
        return DrawState(
            current=current,
            draws=current[:, None],
            answered=torch.zeros(len(current), dtype=torch.bool, device=current.device),
        )

    def step(self, space: FeatureSearchSpace, state: DrawState, rng: Sequence[torch.Generator]) -> Step[DrawState]:
        """Draw for every query without an answer, and ask about all draws at once."""
        draws = state.draws.expand(-1, self.config.draws, -1).clone()
        open_ = (~state.answered).nonzero().flatten()
        for query in open_.tolist():
            draws[query] = self.drawn(space, state.draws[query], query, rng[query])
        run = open_.repeat_interleave(self.config.draws)
        rows = space.round(draws[open_].flatten(0, 1), run)
        terms = yield Losses(rows, run, terms=True)
        turned = (terms[:, 0] <= 0).view(len(open_), -1).any(dim=1)
        answered = state.answered.clone()
        answered[open_[turned]] = True
        count = state.round + 1
        return DrawState(
            current=draws[:, -1],
            draws=draws,
            answered=answered,
            round=count,
            done=count >= self.config.rounds or bool(answered.all()),
        )

    def drawn(self, space: FeatureSearchSpace, given: Tensor, query: int, rng: torch.Generator) -> Tensor:
        """Return draws given rows ``(1, D)`` or ``(K, D)``: K draws, ``(K, D)``."""
        count = self.config.draws // len(given) if len(given) == 1 else 1
        sample: Any = space.distance.sample  # type: ignore[attr-defined]
        known = inspect.signature(sample).parameters
        labels: tuple[Any, ...] = ()
        if space.wanted is not None and space.labels is not None:
            target = space.wanted[query].expand(len(given))
            source = space.labels[query] if len(given) == 1 else space.wanted[query]
            labels = (target, source.expand(len(given))) if "reference_label" in known else (target,)
        # Followers are not free and yet move: they are what the columns that they follow make of them.
        fixed = (space.lower[query] == space.upper[query]).expand(len(given), -1)
        held = {"held": fixed} if "held" in known else {}
        drawn: Tensor = sample(given, count, rng, *labels, **held)
        return torch.where(space.free[query], drawn.flatten(0, 1), space.anchor[query])
