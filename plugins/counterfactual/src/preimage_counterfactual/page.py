"""Explanations as HTML: in a notebook, or as one file that needs nothing else. Every text is escaped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage.errors import InputError
from preimage.html import document, write_document
from preimage_counterfactual.sentences import value_text

if TYPE_CHECKING:
    from preimage_counterfactual.explanation import Change, Counterfactual, Explanation, RowExplanation

__all__ = ["body", "write_report"]

_BAR = 3.0
"""A step of so many standard deviations fills its half of the bar."""


def write_report(
    explanation: Explanation, path: str | os.PathLike[str], *, title: str, numbers: Sequence[Any] | None = None
) -> None:
    """Write an explanation to an HTML file; see `Explanation.write_report`."""
    lead = f"{explanation.summary()}. Every answer was put to the model as it stands here."
    style = Path(__file__).with_name("page.css")
    write_document(document(title, lead, body(explanation, numbers), styles=[style]), path)


def body(explanation: Explanation, numbers: Sequence[Any] | None = None) -> str:
    """Return the elements of an explanation, a section for each row; rows are called by their places without numbers.

    Raises:
        InputError: there are more or fewer numbers than rows.
    """
    count = len(explanation)
    if numbers is not None and len(numbers) != count:
        message = f"{len(numbers)} numbers are given for {count} rows: give each row one."
        raise InputError(message)
    named = zip(range(count), range(count) if numbers is None else numbers, strict=True)
    return "\n".join(_section(explanation, place, number) for place, number in named)


def _section(explanation: Explanation, place: int, number: Any) -> str:
    one = explanation[place]
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in explanation.sentences(place))
    answers = "".join(_answer(answer) for answer in one.counterfactuals)
    missed = _miss(one) if one.nearest_miss is not None else ""
    head = f"<h2>Row {escape(str(number))}: decided {escape(value_text(one.decision))}</h2>"
    return f'<section class="explained">{head}<ul>{said}</ul><div class="answers">{answers}</div>{missed}</section>'


def _answer(answer: Counterfactual) -> str:
    lines = "".join(_change(change) for change in answer.changes)
    return (
        f"<table><caption>decided {escape(value_text(answer.decision))}, distance {answer.distance:.4g}</caption>"
        "<thead><tr><th>column</th><th>before</th><th>after</th><th>step</th></tr></thead>"
        f"<tbody>{lines}</tbody></table>"
    )


def _change(change: Change) -> str:
    step = "" if change.step is None else f"{change.step:+.2f} sd"
    cells = (value_text(change.column), value_text(change.before), value_text(change.after))
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}<td>{_bar(change.step)}{step}</td></tr>"


def _bar(step: float | None) -> str:
    """Return a bar that goes to the left of its middle or to the right."""
    if step is None:
        return ""
    way = "less" if step < 0 else "more"
    return f'<span class="step {way}" style="--share: {min(abs(step) / _BAR, 1):.3f}"></span>'


def _miss(one: RowExplanation) -> str:
    assert one.nearest_miss is not None
    moved = [name for name, value in one.nearest_miss.items() if value != one.row[name]]
    shown = ", ".join(f"{escape(str(name))} = {escape(value_text(one.nearest_miss[name]))}" for name in moved)
    return f"<p>The nearest miss: {shown or 'the row itself'}.</p>"
