"""What an applicant for a loan could change: a table of known structure, a forest, answers in words and a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from preimage_counterfactual import CounterfactualExplainer

COLUMNS = {
    "immutable": ["age"],  # nobody can change it
    "change": {"employed": "increase"},  # only time can, in one direction
    "follows": {"tax": ["income"]},  # computed from another column
    "decimals": dict.fromkeys(("income", "savings", "debt", "tax"), 1),
}


def main() -> None:
    """Make a table, train a forest on it, and explain some of its refusals."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=3, help="refusals to explain")
    parser.add_argument("--answers", type=int, default=2, help="different answers to each")
    parser.add_argument("--report", type=Path, default=Path("loans.html"), help="where to write the page")
    arguments = parser.parse_args()

    loans, decided = table()
    model = classifier(loans, decided)
    explainer = CounterfactualExplainer(model, columns=COLUMNS).fit(loans)
    refused = loans[model.predict(loans) == "refused"].head(arguments.rows)
    explanation = explainer.explain(refused, desired_class="granted", total_cfs=arguments.answers)

    for place in range(len(explanation)):
        print("\n  ".join([f"Application {refused.index[place]}:", *explanation.sentences(place)]))
    print()
    print(explanation.changes().round(2).to_string(index=False))
    print()
    print(explanation.measures().mean().round(2).to_string())
    explanation.write_report(arguments.report, title="Loans that were refused")
    print(f"\nThe page is {arguments.report}")


def table(count: int = 1000, seed: int = 0) -> tuple[pd.DataFrame, Any]:
    """Return applications whose columns hang together by known equations, and what was decided."""
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 70, count)
    employed = (rng.random(count) * (age - 18)).astype(int)
    job = rng.choice(["service", "technical", "managerial"], count, p=[0.5, 0.3, 0.2])
    raise_ = np.select([job == "technical", job == "managerial"], [8, 22], 0)
    income = 18 + 0.5 * employed + raise_ + rng.normal(0, 5, count)
    savings = 0.6 * income + rng.normal(0, 7, count)
    debt = 10 + 0.5 * income - 0.3 * savings + rng.normal(0, 5, count)
    home = np.where(rng.random(count) < 1 / (1 + np.exp(-(savings - 20) / 6)), "owned", "rented")
    score = 0.12 * (savings - 17) - 0.15 * (debt - 16) + 0.05 * (income - 28) + 0.8 * (home == "owned") - 0.5
    decided = np.where(score + rng.normal(0, 0.5, count) > 0, "granted", "refused")
    columns = {"age": age, "employed": employed, "job": job, "income": income, "savings": savings, "debt": debt}
    frame = pd.DataFrame({**columns, "home": home, "tax": 0.3 * income - 2})
    return frame.round(1), decided


def classifier(loans: pd.DataFrame, decided: Any) -> Any:
    """Return a forest behind the encoder that words need, trained."""
    words = make_column_transformer((OneHotEncoder(), ["job", "home"]), remainder="passthrough")
    return make_pipeline(words, RandomForestClassifier(random_state=0)).fit(loans, decided)


if __name__ == "__main__":
    main()
