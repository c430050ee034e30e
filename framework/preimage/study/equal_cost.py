"""Methods compared at equal cost: one total for every recipe, shared by its stages."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from preimage.budget import Budget
from preimage.errors import BudgetError, nearest
from preimage.pipeline import Pipeline

__all__ = ["COSTS", "equalised", "total_of"]

COSTS = {"candidates": "max_candidates", "passes": "max_passes", "seconds": "max_seconds"}
"""What methods can be made equal in, and the limit of a `Budget` that counts it."""

_REMEMBERED = 10
"""Candidates are allowed that many times the passes, since those that are remembered cost no pass."""


def total_of(cost: str, amount: float | None, pipelines: Mapping[str, Pipeline]) -> Budget:
    """Return the budget that every recipe gets.

    Arguments:
        cost: one of `COSTS`.
        amount: how much; without it, what the most frugal recipe allows itself.
        pipelines: by name.

    Raises:
        BudgetError: there is no such cost, the amount is no number, or none is given and a recipe has no limit of that
            kind.
    """
    if cost not in COSTS:
        message = f"Budgets cannot be made equal in {cost!r}.{nearest(cost, list(COSTS))} Choose {' or '.join(COSTS)}."
        raise BudgetError(message)
    limit = COSTS[cost]
    if amount is None:
        sums = {name: _sum(pipeline, limit) for name, pipeline in pipelines.items()}
        without = [name for name, value in sums.items() if value is None]
        if without:
            message = (
                f"The budgets are to be equal in {cost}, but the recipe {without[0]} has no {limit} that says in how "
                "many: add the amount, such as --budget 10000."
            )
            raise BudgetError(message)
        amount = min(value for value in sums.values() if value is not None)
    if not math.isfinite(amount):
        message = f"A total of {amount} {cost} is not a number that recipes can share: give one above 0."
        raise BudgetError(message)
    whole = amount if cost == "seconds" else int(amount)
    # Passes alone might never be spent, so a budget of passes limits the candidates, too.
    guard = {"max_candidates": _REMEMBERED * int(amount)} if cost == "passes" else {}
    return Budget(**{limit: whole, **guard})  # type: ignore[arg-type]


def equalised(pipeline: Pipeline, total: Budget) -> Pipeline:
    """Return the pipeline with `total` for all its stages together.

    The stages before the last keep their own limits; the last one gets all that they leave, whatever limits the recipe
    gave it, except that it may still stop for want of improvement or because the loss is low enough.

    >>> from preimage import Stage, Term
    >>> pipeline = Pipeline(
    ...     stages=[Stage(optimizer="pez", budget=Budget(num_steps=100))],
    ...     terms=[Term(objective="clip-similarity", model="miniworld:clip")],
    ... )
    >>> equalised(pipeline, Budget(max_candidates=500)).stages[0].budget.describe()
    'max_candidates=500'
    """
    *before, last = pipeline.stages
    budget = attrs.evolve(total, patience=last.budget.patience, target_loss=last.budget.target_loss)
    return attrs.evolve(pipeline, stages=[*before, attrs.evolve(last, budget=budget)], budget=total)


def _sum(pipeline: Pipeline, limit: str) -> float | None:
    """Return how much a pipeline allows itself, or None where it does not say."""
    if pipeline.budget is not None and getattr(pipeline.budget, limit) is not None:
        return float(getattr(pipeline.budget, limit))
    limits = [getattr(stage.budget, limit) for stage in pipeline.stages]
    return None if None in limits else float(sum(limits))
