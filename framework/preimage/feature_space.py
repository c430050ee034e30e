"""What a search over features is given to search: where it may go, and how far from the query it is then."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch

from preimage.errors import AssemblyError, InputError

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.distance import Distance
    from preimage.api.space import Reach

__all__ = ["FeatureSearchSpace"]


class FeatureSearchSpace:
    """A `Reach` as an optimizer sees it: with the distance, rows that exist, and the limit on changed columns.

    Arguments:
        reach: what may be answered to each query.
        distance: how far an answer is from its query.
        known: rows that exist, ``(M, D)``, for searches that start from some.
        known_margins: returns whether each of them is decided as each query wants, ``(M, N)``: wanted where not above
            0; called when a search first asks.
        labels: the class of each query, ``(N,)``, for distances that depend on it.
        wanted: the class that each answer should have, ``(N,)``.
        max_changed: how many columns an answer may change; any number without it. Columns that follow others, which
            have room and which no search may move, change with them and do not count.
        streams: which random numbers each run draws, ``(N,)``; equal numbers, equal draws.

    Raises:
        AssemblyError: the distance is not one between features.
        InputError: the limit on changed columns allows nothing.
    """

    def __init__(
        self,
        reach: Reach,
        distance: Distance,
        *,
        known: Tensor | None = None,
        known_margins: Callable[[], Tensor] | None = None,
        labels: Tensor | None = None,
        wanted: Tensor | None = None,
        max_changed: int | None = None,
        streams: tuple[int, ...] | None = None,
    ) -> None:
        if distance.domain != "features":
            message = (
                f"{type(distance).__name__} is a distance between {distance.domain}s, and rows of features are "
                "searched: use a distance between features, such as l2 or joint."
            )
            raise AssemblyError(message)
        if max_changed is not None and max_changed < 1:
            message = f"max_changed={max_changed} lets no column change: give 1 or more, or leave it out."
            raise InputError(message)
        self.reach = reach
        self.distance = distance
        self.reference = reach.reference
        self.lower, self.upper, self.free = reach.lower, reach.upper, reach.free
        # Where a run stays in what it may not move: the query, unless it is held somewhere else.
        self.anchor = torch.clamp(self.reference, self.lower, self.upper)
        self._counted = self.free | (self.upper <= self.lower)
        self.groups, self.columns = reach.groups, reach.columns
        self.known = self.reference[:0] if known is None else known
        self._margins_of_known = known_margins
        self.labels, self.wanted = labels, wanted
        self.max_changed = max_changed
        self.streams = streams or (0,) * len(self.reference)
        self._conditional = "left_label" in _parameters(type(distance).__call__)

    @property
    def n_runs(self) -> int:
        """The number of queries, ``N``."""
        return len(self.reference)

    @property
    def device(self) -> torch.device:
        """Where rows live."""
        return self.reference.device

    @cached_property
    def known_margins(self) -> Tensor:
        """How far each known row is from being decided as each query wants, ``(M, N)``; 0 where nobody knows."""
        if self._margins_of_known is None:
            return self.known.new_zeros(len(self.known), self.n_runs)
        return self._margins_of_known()

    @cached_property
    def n_columns(self) -> int:
        """The number of columns; a one-hot block is one."""
        return int(self.columns.max()) + 1 if len(self.columns) else 0

    @cached_property
    def quadratic(self) -> Any:
        """The form (x' - c)ᵀ P (x' - c) that the distance rises with, one centre for each query, or None."""
        return self.quadratic_given(None)

    def quadratic_given(self, categories: Tensor | None) -> Any:
        """Return the form where nominal columns are those of given rows, ``(N, D)``; None where there is none.

        Some distances are quadratic only in the numbers, and differently so for each category.
        """
        form = getattr(self.distance, "quadratic", None)
        if form is None:
            return None
        known = _parameters(type(self.distance).quadratic)  # type: ignore[attr-defined]
        given: dict[str, Any] = {"reference_label": self.labels, "categories": categories}
        return form(self.reference, self.wanted, **{name: value for name, value in given.items() if name in known})

    def project(self, features: Tensor, run: Tensor) -> Tensor:
        """Return the nearest feasible rows, ``(B, D)``."""
        return self.reach.project(features, run)

    def round(self, features: Tensor, run: Tensor) -> Tensor:
        """Return the nearest rows that can be written down, ``(B, D)``."""
        return self.reach.round(features, run)

    def distances(self, features: Tensor, run: Tensor) -> Tensor:
        """Return how far each row is from its query, ``(B,)``."""
        reference = self.reference[run]
        if not self._conditional or self.wanted is None or self.labels is None:
            return self.distance(features, reference)
        return self.distance(features, reference, self.wanted[run], self.labels[run])  # type: ignore[call-arg]

    def changed(self, features: Tensor, run: Tensor) -> Tensor:
        """Tell which columns of each row differ from its query, bool ``(B, C)``, those that follow others apart."""
        moved = ((features != self.reference[run]) & self._counted[run]).to(features.dtype)
        return moved.new_zeros(len(moved), self.n_columns).index_add_(1, self.columns, moved) > 0


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of a function's parameters; asking for them takes as long as a small product of matrices."""
    return frozenset(inspect.signature(function).parameters)
