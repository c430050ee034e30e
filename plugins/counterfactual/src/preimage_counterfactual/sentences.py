"""What was found, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["alone_sentence", "answer_sentence", "change_text", "value_text"]

_WORTH_SAYING = 1.5


def value_text(value: Any) -> str:
    """Return a value as people write it.

    >>> value_text(12.50001), value_text(3), value_text("nurse"), value_text(1234567.0)
    ('12.5', '3', 'nurse', '1234567')
    """
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def change_text(column: Any, before: Any, after: Any) -> str:
    """Return one change as part of a sentence.

    Values that differ by less than four digits are written out.

    >>> change_text("income", 20.0, 26.25), change_text("job", "clerk", "nurse")
    ('income from 20 to 26.25', 'job from clerk to nurse')
    """
    old, new = value_text(before), value_text(after)
    return f"{column} from {old} to {new}" if old != new else f"{column} from {before!r} to {after!r}"


def answer_sentence(changes: Sequence[str], wanted: str) -> str:
    """Return what an answer says.

    >>> answer_sentence(["income from 20 to 26", "savings from 16 to 21"], "granted")
    'The model decides granted with income from 20 to 26 and savings from 16 to 21.'
    """
    if not changes:
        return f"The model decides {wanted} without any change."
    listed = changes[0] if len(changes) == 1 else f"{', '.join(changes[:-1])} and {changes[-1]}"
    return f"The model decides {wanted} with {listed}."


def alone_sentence(column: Any, factor: float, companions: Sequence[Any]) -> str:
    """Return what it costs to change a column alone, where that is worth saying; empty otherwise.

    Arguments:
        column: the column.
        factor: the cost alone over the cost with companions.
        companions: the columns that move along most.

    >>> alone_sentence("income", 4.2, ["savings"])
    'Changing income alone costs 4.2 times what changing it together with its companions (savings) costs.'
    """
    if factor < _WORTH_SAYING:
        return ""
    named = f" ({', '.join(map(str, companions))})" if companions else ""
    return (
        f"Changing {column} alone costs {factor:.2g} times what changing it together with its companions{named} costs."
    )
