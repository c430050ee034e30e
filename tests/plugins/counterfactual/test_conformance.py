"""The searches keep the contract of components; the world in which the kit tries optimizers has texts only."""

from __future__ import annotations

import pytest

from preimage.testing import check_component

SEARCHES = ("gradient", "linear", "blackbox", "evolution", "draw")


@pytest.mark.parametrize("name", SEARCHES)
def test_the_component_keeps_its_contract(name):
    """Records, options, imports and documentation."""
    report = check_component("optimizer", f"counterfactual-{name}")
    assert report.ok
    skipped = {outcome.message for outcome in report.outcomes if outcome.status == "skipped"}
    assert any("does not search texts" in message for message in skipped)
