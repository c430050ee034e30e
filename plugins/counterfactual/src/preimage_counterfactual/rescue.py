"""Answers of one search completed by those of another, for the rows that the first has found nothing for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage_counterfactual.tables import read_table

if TYPE_CHECKING:
    from preimage_counterfactual.search import Answers

__all__ = ["completed", "lost", "picked", "some_rows"]


def lost(answers: Answers) -> list[int]:
    """Return the rows for which a search has ended without an answer, though something may change."""
    return [place for place, status in enumerate(answers.status) if status == "none"]


def some_rows(table: Any, places: Sequence[int]) -> Any:
    """Return some rows of a table, as a table of the same kind."""
    whole = read_table(table)
    return whole.like([column[list(places)] for column in whole.columns])


def picked(given: Any, places: Sequence[int]) -> Any:
    """Return what was given for some rows, where it was given for each; else what was given for all of them."""
    if given is None or isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        return given
    return [given[place] for place in places]


def completed(first: Answers, second: Answers, places: Sequence[int]) -> Answers:
    """Return the first answers with the second in their places; what both searches cost is added up.

    Arguments:
        first: of all rows.
        second: of the rows at `places`, as many to each row.
        places: where they belong.
    """
    index = torch.tensor(places)
    nearer = second.miss_margins < first.miss_margins[index]
    misses = torch.where(nearer[:, None], second.misses, first.misses[index])
    changed: dict[str, Any] = {
        name: getattr(first, name).index_copy(0, index, getattr(second, name))
        for name in ("rows", "valid", "distances", "margins")
    }
    status = list(first.status)
    for place, found in zip(places, second.status, strict=True):
        status[place] = found
    return attrs.evolve(
        first,
        **changed,
        misses=first.misses.index_copy(0, index, misses),
        miss_margins=first.miss_margins.index_copy(
            0, index, torch.minimum(second.miss_margins, first.miss_margins[index])
        ),
        status=tuple(status),
        rows_asked=first.rows_asked.index_add(0, index, second.rows_asked),
        steps=first.steps + second.steps,
        seconds=first.seconds + second.seconds,
    )
