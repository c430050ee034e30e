"""The scripts in ``examples`` run, cut short."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("script", "options", "printed"),
    [
        ("compare.py", ["--pictures", "2", "--max-candidates", "150"], ["random-search near", "gcg buffer"]),
        (
            "counterfactual_digits.py",
            ["--pictures", "10", "--output", "digits.png"],
            ["joint, class by class", "drawn in digits.png"],
        ),
        (
            "counterfactual_loan.py",
            ["--rows", "2", "--report", "loans.html"],
            ["The model decides granted with", "model_rows", "The page is loans.html"],
        ),
        (
            "counterfactual_text.py",
            ["--steps", "3", "--folder", "pictures"],
            ["positive: a huge [unhappy →", "a blue star: ", "pictures decided so: 0% before"],
        ),
        ("own_objective.py", ["--max-candidates", "150"], ["weight 0.5", "Letters"]),
        (
            "study.py",
            ["--pictures", "1", "--max-candidates", "150", "--folder", "study"],
            ["2 of 2 runs, 0 failed", "held-out-similarity"],
        ),
    ],
)
def test_an_example_runs(script, options, printed, tmp_path, monkeypatch, capsys):
    """It ends well and prints what it is about; in this process, which has loaded what all of them need."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, *options])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    shown = capsys.readouterr().out
    assert all(text in shown for text in printed)


def test_every_example_is_tested():
    """No script is forgotten here or in the tests of the demo."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "compare.py",
        "counterfactual_digits.py",
        "counterfactual_loan.py",
        "counterfactual_text.py",
        "demo.py",
        "own_objective.py",
        "study.py",
    }
