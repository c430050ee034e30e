"""Tables and models that the tests of counterfactuals share."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from preimage_counterfactual.decision import Decision
from preimage_counterfactual.space import TableSpace

LEVELS = ["school", "college", "degree"]
SLOPE = 0.8


def mixed(rows=600, seed=0):
    """A loan-like table whose equations are known, and whether each loan is granted.

    income = 20 + 8 * education + 0.3 * (age - 40) + noise; savings = SLOPE * income + noise.
    """
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 66, rows)
    education = rng.integers(0, 3, rows)
    income = 20 + 8 * education + 0.3 * (age - 40) + 4 * rng.normal(size=rows)
    savings = SLOPE * income + 2 * rng.normal(size=rows)
    job = rng.choice(["clerk", "nurse", "trader"], rows, p=[0.5, 0.3, 0.2])
    region = rng.integers(0, 3, rows)
    table = pd.DataFrame(
        {
            "age": age,
            "education": pd.Categorical.from_codes(education, categories=LEVELS, ordered=True),
            "income": income,
            "savings": savings,
            "job": job,
            "married": rng.random(rows) < 0.5,
            "sex": rng.choice(["f", "m"], rows),
            **{
                f"region_{name}": (region == place).astype(int) for place, name in enumerate(["north", "south", "west"])
            },
        }
    )
    score = 0.15 * (income - 28) + 0.05 * (savings - 22) + 0.8 * (job == "trader") - 0.5 * (region == 1)
    return table, (score + 0.3 * rng.normal(size=rows) > 0.2).astype(int)


def classifier(kind, table, labels):
    """A pipeline as people write it: encoders by column, then the model."""
    final = {
        "logistic": LogisticRegression(max_iter=2000),
        "perceptron": MLPClassifier((16, 8), max_iter=400, random_state=0, alpha=0.01),
        "forest": RandomForestClassifier(40, random_state=0),
    }[kind]
    if not isinstance(table, pd.DataFrame):
        return make_pipeline(StandardScaler(), final).fit(table, labels)
    named = {
        "scale": (StandardScaler(), ["age", "income", "savings"]),
        "order": (OrdinalEncoder(categories=[LEVELS]), ["education"]),
        "hot": (OneHotEncoder(handle_unknown="error"), ["job", "sex"]),
        "as they are": ("passthrough", ["married", "region_north", "region_south", "region_west"]),
    }
    columns = ColumnTransformer([(name, step, chosen) for name, (step, chosen) in named.items()])
    return make_pipeline(columns, final).fit(table, labels)


def plain(load, seed=0):
    """A bundled table of numbers, shuffled."""
    rows, labels = load(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows[order], labels[order]


TABLES = {
    "breast_cancer": lambda: plain(load_breast_cancer),
    "wine": lambda: plain(load_wine),
    "mixed": mixed,
}


@pytest.fixture(scope="session")
def mixed_table():
    """The function that makes the mixed table."""
    return mixed


@pytest.fixture(scope="session")
def task():
    """A function from the names of a table and a model to everything that a search needs, made once each."""
    made = {}

    def build(table="mixed", kind="logistic"):
        if (table, kind) not in made:
            rows, labels = TABLES[table]()
            known = len(rows) * 2 // 3
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a perceptron that has not converged decides, too
                model = classifier(kind, rows[:known], labels[:known])
            limits = {"change": {"age": "increase"}, "immutable": ["sex"]} if table == "mixed" else {}
            space = TableSpace(rows[:known], **limits)
            rest = rows[known:]
            queries = rest.reset_index(drop=True) if table == "mixed" else rest
            decision = Decision(model, space)
            made[table, kind] = SimpleNamespace(
                model=model, space=space, decision=decision, queries=queries, labels=decision.known_scores.argmax(1)
            )
        return made[table, kind]

    return build


@pytest.fixture(scope="session")
def fitted(task):
    """A function that returns a distance by its name, fitted to a task."""
    from preimage import catalogue

    made = {}

    def build(name, table="mixed", kind="logistic", **options):
        key = (name, table, kind, *options.items())
        if key not in made:
            one = task(table, kind)
            distance = catalogue().build("distance", name, **options)
            distance.fit(one.space.data, labels=one.labels, space=one.space)
            made[key] = distance
        return made[key]

    return build
