"""Explanations as HTML: in a notebook, or as one file that needs nothing else. Every text is escaped."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from preimage.html import document, write_document
from preimage_counterfactual.sentences import value_text

if TYPE_CHECKING:
    from preimage_counterfactual.explanation import Change, Counterfactual, Explanation, RowExplanation

__all__ = ["body", "write_report"]

_BAR = 3.0
"""A step of so many standard deviations fills its bar."""


def write_report(explanation: Explanation, path: str | os.PathLike[str], *, title: str) -> None:
    """Write an explanation to an HTML file; see `Explanation.write_report`."""
    lead = f"{explanation.summary()}. Every answer was put to the model as it stands here."
    style = Path(__file__).with_name("page.css")
    write_document(document(title, lead, body(explanation), styles=[style]), path)


def body(explanation: Explanation) -> str:
    """Return the elements of an explanation, a section for each row."""
    return "\n".join(_section(explanation, place) for place in range(len(explanation)))


def _section(explanation: Explanation, place: int) -> str:
    one = explanation[place]
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in explanation.sentences(place))
    answers = "".join(_answer(answer) for answer in one.counterfactuals)
    missed = _miss(one) if one.nearest_miss is not None else ""
    head = f"<h2>Row {place}: decided {escape(value_text(one.decision))}</h2>"
    return f'<section class="explained">{head}<ul>{said}</ul>{answers}{missed}</section>'


def _answer(answer: Counterfactual) -> str:
    lines = "".join(_change(change) for change in answer.changes)
    return (
        f"<table><caption>decided {escape(value_text(answer.decision))}, distance {answer.distance:.4g}</caption>"
        "<thead><tr><th>column</th><th>before</th><th>after</th><th>step</th></tr></thead>"
        f"<tbody>{lines}</tbody></table>"
    )


def _change(change: Change) -> str:
    step = "" if change.step is None else f"{change.step:+.2f} sd"
    share = 0 if change.step is None else min(abs(change.step) / _BAR, 1)
    bar = f'<meter min="0" max="1" value="{share:.3f}"></meter> ' if step else ""
    cells = (value_text(change.column), value_text(change.before), value_text(change.after))
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}<td>{bar}{step}</td></tr>"


def _miss(one: RowExplanation) -> str:
    assert one.nearest_miss is not None
    moved = [name for name, value in one.nearest_miss.items() if value != one.row[name]]
    shown = ", ".join(f"{escape(str(name))} = {escape(value_text(one.nearest_miss[name]))}" for name in moved)
    return f"<p>The nearest miss: {shown or 'the row itself'}.</p>"
