"""How many verified counterfactuals a second: 100 queries of breast_cancer as one batch, best of several runs.

::

    python benchmarks/counterfactual_speed.py [--runs 10] [--threads 1] [--output benchmarks/counterfactual_speed.md]

Timed is everything from the rows as the user has them to answers that the user's model has decided once more, written
down: encoding, search, verification, decoding; in seconds of CPU, which other work on the machine disturbs least. The
model and the distance are fitted before. Judged by what no search optimises but where it is named: Mahalanobis with
Ledoit-Wolf shrinkage, local outlier factor fitted to the training rows, columns changed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from preimage import catalogue
from preimage_counterfactual import Answers, Decision, TableSpace
from preimage_counterfactual.search import search

TASKS = (
    # model, optimizer, distance, limits of the search, and the number that was aimed at
    ("linear", "counterfactual-linear", "mahalanobis", {}, "20,000"),
    ("linear", "counterfactual-linear", "joint", {}, ""),
    ("perceptron", "counterfactual-gradient", "joint", {}, "1,000"),
    ("perceptron", "counterfactual-gradient", "mahalanobis", {}, ""),
    ("perceptron", "counterfactual-blackbox", "joint", {}, ""),
    ("perceptron", "counterfactual-draw", "joint", {}, ""),
    ("forest", "counterfactual-blackbox", "joint", {}, "400"),
    ("forest", "counterfactual-blackbox", "mahalanobis", {}, ""),
    ("forest", "counterfactual-blackbox", "l2", {}, ""),
    ("forest", "counterfactual-draw", "joint", {}, ""),
    ("forest", "counterfactual-evolution", "joint", {}, ""),
    ("linear", "counterfactual-linear", "joint", {"max_changed": 5}, ""),
    ("perceptron", "counterfactual-gradient", "l2", {"max_changed": 5}, ""),
    ("perceptron", "counterfactual-blackbox", "joint", {"max_changed": 5}, ""),
    ("perceptron", "counterfactual-blackbox", "joint", {"max_changed": 10}, ""),
    ("forest", "counterfactual-blackbox", "joint", {"max_changed": 5}, ""),
    ("forest", "counterfactual-blackbox", "l2", {"max_changed": 5}, ""),
)

_LEAST_SECONDS = 0.3
"""For so long each search is repeated at least: the quickest is over before the processor is warm."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10, help="how often each search is timed")
    parser.add_argument(
        "--threads", type=int, default=1, help="of torch; for a hundred rows, a second one is not worth waiting for"
    )
    parser.add_argument("--output", type=Path, help="where to write the table as Markdown")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows, labels = load_breast_cancer(return_X_y=True)
    known, rest, known_labels, _ = train_test_split(rows, labels, test_size=0.4, random_state=0, stratify=labels)
    queries = rest[:100]
    models = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "perceptron": make_pipeline(StandardScaler(), MLPClassifier((32, 16), max_iter=500, random_state=0)),
        "forest": RandomForestClassifier(random_state=0),
    }
    space = TableSpace(known)
    lines = [
        "| model | search | distance | limit | valid a second | aim | valid | Mahalanobis | L2 | outliers | columns |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in models:
        models[name].fit(known, known_labels)
    for kind, method, name, limits, aim in TASKS:
        decision = Decision(models[kind], space)
        distance = catalogue().build("distance", name)
        distance.fit(space.data, labels=decision.known_scores.argmax(dim=1), space=space)
        optimizer = catalogue().build("optimizer", method)
        seconds: list[float] = []
        while len(seconds) < arguments.runs or sum(seconds) < _LEAST_SECONDS:
            started = time.process_time()
            answers = search(decision, distance, optimizer, queries, **limits)
            table = answers.table()
            seconds.append(time.process_time() - started)
        turned = models[kind].predict(table) != models[kind].predict(queries[answers.run.numpy()])
        limit = ", ".join(f"{key}={value}" for key, value in limits.items())
        speed = f"{turned.sum() / min(seconds):,.0f}"
        found = [kind, method.removeprefix("counterfactual-"), name, limit, speed, aim, str(turned.sum())]
        lines.append(f"| {' | '.join(found + judged(answers, space))} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines)
    print(text)
    if arguments.output:
        count = f"{arguments.threads} thread{'s' * (arguments.threads != 1)}"
        how = f"Best of {arguments.runs} runs or more, {count}, by seconds of CPU."
        heading = f"{__doc__.partition(chr(10))[0]}\n\n{how}\n\n"
        arguments.output.write_text(f"{heading}{text}\n", encoding="utf-8")


def judged(answers: Answers, space: TableSpace) -> list[str]:
    """Return the cells of a table about what was found."""
    found, asked = answers.rows[answers.valid].numpy(), answers.reach.reference[answers.run].numpy()
    step, fitted = found - asked, LedoitWolf().fit(space.data.numpy())
    apart = np.sqrt(np.einsum("ni,ij,nj->n", step, fitted.precision_, step))
    strange = LocalOutlierFactor(novelty=True).fit(space.data.numpy()).predict(found) < 0
    length, columns = np.linalg.norm(step, axis=1).mean(), (step != 0).sum(axis=1).mean()
    return [f"{apart.mean():.2f}", f"{length:.2f}", f"{strange.mean():.0%}", f"{columns:.1f}"]


if __name__ == "__main__":
    main()
