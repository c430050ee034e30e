"""When a search ends."""

import pytest

from preimage.api.events import Spent
from preimage.budget import Budget
from preimage.errors import BudgetError


@pytest.mark.parametrize(
    ("limits", "has"), [({}, "no limit"), ({"patience": 10}, "patience=10"), ({"max_passes": 9}, "max_passes=9")]
)
def test_a_budget_that_might_never_end_is_refused(limits, has):
    """Patience may wait for ever, and what is remembered costs no pass."""
    with pytest.raises(BudgetError, match=f"The budget has {has}, so the search might never end: give at least one"):
        Budget(**limits)


@pytest.mark.parametrize("name", ["num_steps", "max_candidates", "max_passes", "max_seconds", "patience"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_that_allows_nothing_is_refused(name, value):
    """The message names the limit and its value."""
    with pytest.raises(BudgetError, match=f"{name}={value} allows nothing"):
        Budget(**{"num_steps": 5, name: value})


def test_nan_is_no_limit():
    """A comparison with NaN would never be true, so the search would never end."""
    with pytest.raises(BudgetError, match="allows nothing"):
        Budget(max_seconds=float("nan"))


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"max_seconds": float("inf")}, "max_seconds=inf is never reached"),
        ({"num_steps": float("inf")}, "num_steps=inf is never reached"),
        ({"num_steps": 2.5}, "num_steps=2.5 is not a whole number"),
        ({"num_steps": True}, "num_steps=True is not a number"),
        ({"num_steps": 2, "target_loss": float("nan")}, "target_loss=nan is not a number to compare with"),
        ({"num_steps": 2, "target_loss": "low"}, "target_loss='low' is not a number to compare with"),
    ],
)
def test_what_is_no_limit_is_refused(limits, sentence):
    """Before anything is loaded, with the value."""
    with pytest.raises(BudgetError, match=sentence):
        Budget(**limits)


def test_numbers_that_are_written_as_texts_are_read():
    """YAML takes 1e-3, without a point, for a text."""
    budget = Budget(num_steps="1e2", max_seconds="5e-1", target_loss="1e-3", max_candidates=4e3)
    assert budget == Budget(num_steps=100, max_seconds=0.5, target_loss=0.001, max_candidates=4000)
    assert budget.describe() == "num_steps=100, max_candidates=4000, max_seconds=0.5, target_loss=0.001"


@pytest.mark.parametrize(
    ("steps", "spent", "reason"),
    [
        (4, Spent(candidates=9, forward=5, backward=4, seconds=0.9), None),
        (5, Spent(), "num_steps"),
        (0, Spent(candidates=10), "max_candidates"),
        (0, Spent(forward=6, backward=4), "max_passes"),
        (0, Spent(seconds=1.0), "max_seconds"),
    ],
)
def test_each_limit_is_reached_exactly(steps, spent, reason):
    """A limit counts as reached at its value, not one beyond it."""
    budget = Budget(num_steps=5, max_candidates=10, max_passes=10, max_seconds=1.0)
    assert budget.spent_by(steps, spent) == reason


def test_candidates_left_never_fall_below_zero():
    """What is left is what may still be asked for."""
    budget = Budget(max_candidates=10)
    assert [budget.candidates_left(Spent(candidates=n)) for n in (0, 7, 12)] == [10, 3, 0]
