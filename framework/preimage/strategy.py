"""Which prompts of a growing tree are developed next: greedy, beam and uniform-cost search.

A search that makes prompts longer grows a tree: the children of a prompt are the prompts with one more token or phrase.
Whoever grows it scores the children; this module alone decides which of them go on.

- *beam* develops the ``beam_width`` cheapest children side by side and forgets the others; with a width of 1 it is
  *greedy* search;
- *uniform-cost* develops the cheapest of all prompts that wait, however long they are, so that it comes back to an
  earlier one when what followed a better one disappoints. Where costs only grow along the tree, and nothing that
  waits is forgotten, the first finished prompt it develops is the cheapest of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
from attrs.validators import ge, in_, instance_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TreeSearch"]


# Without slots, so that configs can inherit these options beside those of a start.
@attrs.frozen(kw_only=True, slots=False)
class TreeSearch:
    """The options of every search that makes prompts longer; optimizer configs inherit them.

    >>> import torch
    >>> waiting, children = torch.tensor([0.2]), torch.tensor([0.5, 0.1, 0.3])
    >>> [part.tolist() for part in TreeSearch(beam_width=2).next(waiting, children)]
    [[2, 3], []]
    >>> [part.tolist() for part in TreeSearch(strategy="uniform-cost").next(waiting, children)]
    [[2], [0, 3, 1]]
    """

    strategy: Literal["beam", "uniform-cost"] = attrs.field(
        default="beam",
        validator=in_(("beam", "uniform-cost")),
        metadata={
            "help": "Which prompts are developed next. beam: the beam_width best of the newest ones, with a width of 1 "
            "greedily; uniform-cost: the best of all that wait, however long, so that the search can turn back."
        },
    )
    beam_width: int = attrs.field(
        default=1,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "How many prompts are developed side by side (beam)."},
    )
    frontier_size: int = attrs.field(
        default=32,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "How many prompts wait at most to be developed later (uniform-cost)."},
    )

    def next(self, waiting: Tensor, children: Tensor) -> tuple[Tensor, Tensor]:
        """Return which prompts are developed next, and which wait, the cheapest first.

        Arguments:
            waiting: the costs of the prompts that wait already, ``(W,)``; infinite for one that is out of question.
            children: those of the newest prompts, ``(C,)``.

        Returns:
            Places in the waiting prompts followed by the children. The first is empty where nothing is left.
        """
        import torch

        costs = torch.cat([waiting, children])
        order = costs.argsort(stable=True)
        order = order[costs[order] != torch.inf]
        if self.strategy == "uniform-cost":
            return order[:1], order[1 : 1 + self.frontier_size]
        newest = order[order >= len(waiting)]
        return newest[: self.beam_width], newest[:0]
