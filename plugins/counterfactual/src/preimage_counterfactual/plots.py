"""An answer as a picture: how far each column moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from preimage.errors import InputError, MissingDependencyError
from preimage_counterfactual.sentences import value_text

if TYPE_CHECKING:
    from preimage_counterfactual.explanation import RowExplanation

__all__ = ["plot_changes"]


def plot_changes(explained: RowExplanation, *, answer: int = 0, ax: Any = None, most: int = 12) -> Any:
    """Draw the steps of one answer as horizontal bars, in standard deviations of each column.

    Columns that hold no numbers are listed with a mark at zero and what they change to.

    Arguments:
        explained: what was found for a row.
        answer: which answer.
        ax: matplotlib axes to draw on; new ones without it.
        most: columns at most, those of the largest steps.

    Returns:
        The axes.

    Raises:
        InputError: the row has no such answer.
        MissingDependencyError: matplotlib is not installed.
    """
    if not 0 <= answer < len(explained.counterfactuals):
        message = (
            f"The row has {len(explained.counterfactuals)} answers, so that there is no answer {answer} to draw: "
            f"{explained.reason or 'count from 0'}"
        )
        raise InputError(message)
    if ax is None:
        try:
            from matplotlib import pyplot as plt
        except ImportError as error:
            message = "Plots are drawn by matplotlib, which is not installed: pip install matplotlib."
            raise MissingDependencyError(message) from error
        _, ax = plt.subplots(layout="constrained")
    found = explained.counterfactuals[answer]
    shown = found.changes[:most][::-1]
    steps = [change.step or 0.0 for change in shown]
    places = range(len(shown))
    ax.barh(places, steps, color=["tab:blue" if step >= 0 else "tab:orange" for step in steps])
    for place, change, step in zip(places, shown, steps, strict=True):
        text = f" {value_text(change.before)} → {value_text(change.after)} "
        ax.text(step, place, text, va="center", ha="left" if step >= 0 else "right", fontsize="small")
    ax.set_yticks(places, [str(change.column) for change in shown])
    ax.axvline(0, color="0.5", linewidth=0.8)
    ax.margins(x=0.35)
    ax.set_xlabel("change, in standard deviations of the column")
    ax.set_title(f"decided {value_text(found.decision)} instead of {value_text(explained.decision)}")
    return ax
