"""Budgets made equal."""

from __future__ import annotations

import attrs
import pytest

from preimage import Budget, Pipeline, Stage, Term
from preimage.errors import BudgetError
from preimage.study.equal_cost import equalised, total_of

TERM = Term(objective="clip-similarity", model="miniworld:clip")


def pipeline(*budgets, total=None):
    return Pipeline(stages=[Stage(optimizer="gcg", budget=budget) for budget in budgets], terms=[TERM], budget=total)


def test_the_stages_share_the_total():
    """The first keeps its limits, the last has all that is left, and may still give up."""
    one, two = Budget(num_steps=3), Budget(num_steps=7, patience=5, target_loss=0.1)
    equal = equalised(pipeline(one, two), Budget(max_candidates=500))

    assert equal.budget == Budget(max_candidates=500)
    assert [stage.budget for stage in equal.stages] == [one, Budget(max_candidates=500, patience=5, target_loss=0.1)]


@pytest.mark.parametrize(
    ("cost", "amount", "total"),
    [
        ("candidates", 500, Budget(max_candidates=500)),
        ("seconds", 1.5, Budget(max_seconds=1.5)),
        ("passes", 500, Budget(max_passes=500, max_candidates=5000)),
    ],
)
def test_what_can_be_made_equal(cost, amount, total):
    """Passes alone might never be spent, because what is remembered costs none."""
    assert total_of(cost, amount, {}) == total


def test_the_most_frugal_recipe_decides():
    """Its stages, or its own total, added up."""
    pipelines = {
        "staged": pipeline(Budget(max_candidates=100), Budget(max_candidates=150)),
        "whole": pipeline(Budget(num_steps=5), total=Budget(max_candidates=300)),
        "plain": pipeline(Budget(max_candidates=400)),
    }

    assert total_of("candidates", None, pipelines) == Budget(max_candidates=250)
    with pytest.raises(BudgetError, match="the recipe staged has no max_seconds .* add the amount"):
        total_of("seconds", None, pipelines)


def test_what_cannot_be_made_equal():
    """The message names the nearest."""
    with pytest.raises(BudgetError, match="in 'candidate'. Did you mean 'candidates'"):
        total_of("candidate", 5, {})


@pytest.mark.parametrize("amount", [float("nan"), float("inf")])
def test_a_total_that_is_no_number_is_refused(amount):
    """Before it is made a whole number."""
    with pytest.raises(BudgetError, match=f"A total of {amount} candidates is not a number"):
        total_of("candidates", amount, {})


def test_an_equalised_pipeline_can_be_written_down():
    """Which is how it reaches the workers."""
    equal = equalised(pipeline(Budget(num_steps=3)), Budget(max_passes=500, max_candidates=5000))

    assert attrs.asdict(Pipeline.from_dict(equal.to_dict())) == attrs.asdict(equal)
