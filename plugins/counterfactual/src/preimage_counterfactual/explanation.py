"""What was found for each row, and every way to look at it: tables, changes, sentences, a plot, a page."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from preimage_counterfactual.sentences import alone_sentence, answer_sentence, change_text, value_text
from preimage_counterfactual.tables import Table, read_table

if TYPE_CHECKING:
    import pandas as pd

    from preimage_counterfactual.search import Answers, Status

__all__ = ["Change", "Counterfactual", "Explanation", "RowExplanation"]

_COMPANION = 0.3
"""How far a column moves along, in standard deviations, to be called a companion."""


@attrs.frozen
class Change:
    """A column that an answer changes.

    Attributes:
        column: its name.
        before: its value in the row.
        after: its value in the answer.
        step: the change in standard deviations of the column; None where it holds no number.
    """

    column: Any
    before: Any
    after: Any
    step: float | None = None


@attrs.frozen(eq=False)
class Counterfactual:
    """One answer: a row that the model itself decides as wanted.

    Attributes:
        row: its values by column, in the table's units and types.
        changes: what differs from the row that was asked about, the largest steps first.
        distance: what the search minimised.
        decision: what the model decides of it.
    """

    row: Mapping[Any, Any]
    changes: tuple[Change, ...]
    distance: float
    decision: Any


@attrs.frozen(eq=False)
class RowExplanation:
    """What was found for one row.

    Attributes:
        row: its values by column.
        decision: what the model decides of it.
        status: ``found``, ``already``, ``fixed``, ``cancelled``, ``budget`` or ``none``; see `Answers`.
        reason: why there is no answer, as a sentence; empty where there is one.
        counterfactuals: the answers, the nearest first.
        nearest_miss: where there is none, the row that came nearest to being decided as wanted; None if none was tried.
    """

    row: Mapping[Any, Any]
    decision: Any
    status: Status
    reason: str
    counterfactuals: tuple[Counterfactual, ...]
    nearest_miss: Mapping[Any, Any] | None = None


class Explanation:
    """What was found for a batch of rows; a sequence of `RowExplanation`.

    Arguments:
        answers: of the search.
        distance: that the search minimised, fitted.
        queries: the rows.
        method: what the search is called.
    """

    def __init__(self, answers: Answers, distance: Any, queries: Table, *, method: str = "") -> None:
        self.answers = answers
        self.distance = distance
        self.method = method
        self._queries = queries

    def __len__(self) -> int:
        return len(self.answers.status)

    def __getitem__(self, index: int) -> RowExplanation:
        return self._rows[index]

    def __iter__(self) -> Iterator[RowExplanation]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<Explanation: {self.summary()}>"

    @property
    def found(self) -> np.ndarray:
        """Which rows have an answer, bool ``(Q,)``."""
        return np.asarray(self.answers.found)

    def summary(self) -> str:
        """Return how many rows are answered, by what, in what time, and how many needed no answer."""
        already = self.answers.status.count("already")
        rest = f", {already} decided as wanted already" if already else ""
        answered = f"{int(self.answers.found.sum())} of {len(self)} rows answered"
        return f"{answered} by {self.method} in {self.answers.seconds:.2g} s{rest}"

    def table(self) -> Any:
        """Return all answers as a table of the kind that was explained, row by row; rows without one are left out."""
        return self.answers.table()

    def to_frame(self) -> pd.DataFrame:
        """Return one tidy pandas frame: an answer a line, and a line with the reason where there is none.

        Columns ``row`` and ``answer`` are positions, ``status`` and ``reason`` say what happened, ``distance`` is what
        the search minimised, ``decision`` is the model's; the table's own columns follow, missing where there is none.
        Where the table has a column of one of these names, it is called ``counterfactual_status`` and so on.
        """
        import pandas as pd

        names = self._queries.names
        lines = []
        for place, one in enumerate(self):
            for number, answer in enumerate(one.counterfactuals):
                said = [place, number, one.status, one.reason, answer.distance, answer.decision]
                lines.append([*said, *(answer.row[name] for name in names)])
            if not one.counterfactuals:
                lines.append([place, None, one.status, one.reason, np.nan, one.decision, *[np.nan] * len(names)])
        heads = [_unlike(head, names) for head in ("row", "answer", "status", "reason", "distance", "decision")]
        return pd.DataFrame(lines, columns=[*heads, *names]).astype({heads[1]: "Int64"})

    def changes(self) -> pd.DataFrame:
        """Return what moved, in the table's units: a line for each changed column of each answer."""
        import pandas as pd

        lines = [
            {"row": place, "answer": number, **attrs.asdict(change)}
            for place, one in enumerate(self)
            for number, answer in enumerate(one.counterfactuals)
            for change in answer.changes
        ]
        return pd.DataFrame(lines, columns=["row", "answer", "column", "before", "after", "step"])

    def measures(self, second_model: Any = None) -> pd.DataFrame:
        """Return how good the answers are, a line for each row; ``measures().mean()`` sums them up.

        Of the nearest answer to each row, missing where there is none: ``distance``, what the search minimised; ``l2``
        and ``mahalanobis``, in standard deviations; ``changed_columns``; ``neighbour_distance``, the mean to the five
        nearest known rows; ``outlier``, 1 where its local outlier factor is above 1.5; ``violations`` of what was
        asked; ``agreement``, 1 where the second model decides alike. Of all answers, ``answered`` and ``diversity``.
        Of the search, ``model_rows``, forward and backward, and ``seconds``, which rows share.

        Arguments:
            second_model: a model trained independently, or a function of a table to its decisions.
        """
        from preimage_counterfactual.figures import figures

        return figures(self, second_model)

    def sentences(self, index: int, *, most: int = 5) -> list[str]:
        """Return what was found for a row, in words.

        Arguments:
            index: of the row.
            most: changes that a sentence lists; the rest are counted.
        """
        one = self[index]
        if one.reason:
            return [one.reason]
        said = []
        for answer in one.counterfactuals:
            parts = [change_text(change.column, change.before, change.after) for change in answer.changes]
            if len(parts) > most:
                rest = len(parts) - most
                parts = [*parts[:most], f"{rest} smaller change{'s' * (rest > 1)}"]
            said.append(answer_sentence(parts, value_text(answer.decision)))
        for change in one.counterfactuals[0].changes[:most] if one.counterfactuals else ():
            sentence = self._alone(change.column, index)
            if sentence:
                said.append(sentence)
                break
        return said

    def plot(self, index: int = 0, *, answer: int = 0, ax: Any = None, most: int = 12) -> Any:
        """Draw the steps of an answer as bars, in standard deviations, and return the matplotlib axes."""
        from preimage_counterfactual.plots import plot_changes

        return plot_changes(self[index], answer=answer, ax=ax, most=most)

    def to_json(self) -> str:
        """Return everything that was found as JSON; missing cells are null."""
        rows = [attrs.asdict(one, value_serializer=_plain) for one in self]
        told = {"method": self.method, "seconds": self.answers.seconds, "rows": rows}
        return json.dumps(told, default=str, allow_nan=False)

    def write_report(
        self,
        path: str | os.PathLike[str],
        *,
        title: str = "Counterfactual explanations",
        numbers: Sequence[Any] | None = None,
    ) -> None:
        """Write one HTML file that needs nothing else: each row, its answers and what they mean.

        Arguments:
            path: of the file.
            title: of the page.
            numbers: what each row is called there; its place among the rows that were explained, without.

        Raises:
            InputError: the file cannot be written, or there are more or fewer numbers than rows.
        """
        from preimage_counterfactual.page import write_report

        write_report(self, path, title=title, numbers=numbers)

    def _repr_html_(self) -> str:
        from preimage_counterfactual.page import body

        return body(self)

    @cached_property
    def _rows(self) -> tuple[RowExplanation, ...]:
        answers = self.answers
        answered = read_table(answers.table()) if bool(answers.valid.any()) else None
        decided = self._decisions(answers.rows[answers.valid], answers.run)
        misses = read_table(answers.reach.rows(answers.misses, _places(len(self))))
        own = self._decisions(answers.reach.reference, _places(len(self)))
        line = 0
        rows = []
        for place, status in enumerate(answers.status):
            found = []
            query = _record(self._queries, place)
            for number in answers.valid[place].nonzero()[:, 0].tolist():
                assert answered is not None
                row = _record(answered, line)
                changed = self._changes(query, row)
                found.append(Counterfactual(row, changed, float(answers.distances[place, number]), decided[line]))
                line += 1
            missed = None if found or not np.isfinite(float(answers.miss_margins[place])) else _record(misses, place)
            rows.append(RowExplanation(query, own[place], status, answers.reason(place), tuple(found), missed))
        return tuple(rows)

    def _decisions(self, features: Any, run: Any) -> list[Any]:
        """Return what the model decides of encoded rows: a class, or the value of a regression."""
        decision = self.answers.decision
        if not len(features):
            return []
        reads = self.answers.reach.raw if decision.view.reads_tensors else self.answers.reach.rows
        scores = decision.view.scores(reads(features, run))
        if not decision.classes:
            return [float(value) for value in scores[:, 0]]
        return [decision.classes[place] for place in scores.argmax(dim=1).tolist()]

    def _changes(self, before: Mapping[Any, Any], after: Mapping[Any, Any]) -> tuple[Change, ...]:
        changed = [
            Change(name, before[name], after[name], self._step(name, before[name], after[name]))
            for name in self._queries.names
            if not _equal(before[name], after[name])
        ]
        return tuple(sorted(changed, key=lambda change: -abs(change.step) if change.step is not None else -np.inf))

    def _step(self, name: Any, before: Any, after: Any) -> float | None:
        space = self.answers.decision.space
        column = space.column(name)
        if not column.scalar or column.kind in ("binary", "ordinal"):
            return None
        place = space.spans[space.places[name]].start
        return (float(after) - float(before)) / float(space.scale[place])

    def _alone(self, name: Any, index: int) -> str:
        """Return what it costs to change a column alone; empty where the distance does not know.

        Nothing is said of columns that follow others or are followed: they cannot change alone.
        """
        space = self.answers.decision.space
        if not hasattr(self.distance, "companion_factor") or space.column(name).kind not in ("numeric", "integer"):
            return ""
        place = space.spans[space.places[name]].start
        if space.follower[place] or (
            space.follow_matrix is not None and space.follow_matrix[place].count_nonzero() > 1
        ):
            return ""
        label = self.answers.wanted.target[index : index + 1]
        slopes = self.distance.companions(place, label)
        order = slopes.abs().argsort(descending=True).tolist()
        still = space.frozen | space.follower
        along = [one for one in order if one != place and abs(slopes[one]) > _COMPANION and not still[one]]
        owners = [space.names[_owner(space, one)] for one in along[:3]]
        return alone_sentence(name, self.distance.companion_factor(place, label), owners)


def _owner(space: Any, place: int) -> int:
    """Return the position of the column that a float belongs to."""
    return next(index for index, span in enumerate(space.spans) if span.start <= place < span.stop)


def _places(count: int) -> Any:
    import torch

    return torch.arange(count)


def _record(table: Table, row: int) -> dict[Any, Any]:
    return {name: _plain_value(column[row]) for name, column in zip(table.names, table.columns, strict=True)}


def _plain_value(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _plain(_instance: Any, _field: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(None, None, item) for name, item in value.items()}
    plain = _plain_value(value)
    # JSON has no word for what is no number.
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _equal(before: Any, after: Any) -> bool:
    missing = [value is None or value != value for value in (before, after)]
    return bool(before == after) or all(missing)


def _unlike(head: str, names: Sequence[Any]) -> str:
    """Return a head of a column that no other column has."""
    while head in names:
        head = f"counterfactual_{head}"
    return head
