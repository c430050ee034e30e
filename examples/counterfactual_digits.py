"""Digits that a model decides otherwise, under a distance that knows nothing of the data and under some that do.

Under L2 the nearest picture that flips the model is an adversarial point: a person, and another model, see the old
digit. The joint law of a picture and its counterfactual asks that both look like the data, class by class that the
answer looks like the class wanted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from preimage_counterfactual import CounterfactualExplainer, Explanation, measures
from preimage_counterfactual.explanation import RowExplanation

mpl.use("agg")

DISTANCES: dict[str, tuple[str, dict[str, Any]]] = {
    "L2": ("l2", {}),
    "joint": ("joint", {"r": 0.5}),
    "joint, class by class": ("joint", {"r": 0.5, "classes": "shared"}),
}
SHOWN = ((3, 8), (4, 9), (1, 7), (5, 6), (0, 6))
"""What is drawn: a picture of the first digit, explained towards the second."""
SIDE = 8


def main() -> None:
    """Explain test pictures under each distance, judge the answers and draw some of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=100, help="how many are explained and judged")
    parser.add_argument("--output", type=Path, default=Path("counterfactual-digits.png"))
    arguments = parser.parse_args()

    pixels, digits = load_digits(return_X_y=True)
    train, test, train_digits, test_digits = train_test_split(pixels / 16, digits, random_state=0, stratify=digits)
    model = MLPClassifier((64, 32), max_iter=400, random_state=0).fit(train, train_digits)
    second = MLPClassifier((64, 32), max_iter=400, random_state=1).fit(train, train_digits)
    queries = test[: arguments.pictures]
    wanted = other_digits(model.predict(queries))
    drawn = examples(model, second, test, test_digits)

    lines, columns = {}, {}
    for name, (distance, options) in DISTANCES.items():
        # Some pixels have two shades only, which look like yes and no.
        kinds = dict.fromkeys(range(SIDE * SIDE), "numeric")
        explainer = CounterfactualExplainer(
            model, distance=distance, distance_options=options, columns={"kinds": kinds}
        ).fit(train)
        lines[name] = judged(explainer.explain(queries, desired_class=wanted), second, train_digits, wanted)
        columns[name] = explainer.explain(test[drawn], desired_class=[target for _, target in SHOWN])
    print(pd.DataFrame(lines).T.round(2).to_string())
    picture(test[drawn], columns, second, arguments.output)
    print(f"{len(SHOWN)} of them are drawn in {arguments.output}")


def other_digits(decided: Any) -> list[int]:
    """Return for each decision one of the nine other digits."""
    return [int(digit) for digit in (decided + np.random.default_rng(0).integers(1, 10, len(decided))) % 10]


def examples(model: Any, second: Any, test: Any, digits: Any) -> list[int]:
    """Return for each digit to be shown the most usual test picture of those that both models know."""
    known = (model.predict(test) == digits) & (second.predict(test) == digits)
    found = []
    for digit, _ in SHOWN:
        places = np.flatnonzero(known & (digits == digit))
        usual = np.linalg.norm(test[places] - test[places].mean(axis=0), axis=1)
        found.append(int(places[usual.argmin()]))
    return found


def judged(explanation: Explanation, second: Any, train_digits: Any, wanted: list[int]) -> dict[str, float]:
    """Return how the answers look to judges that know nothing of the distance."""
    measured = explanation.measures(second).mean()
    answers = explanation.answers
    made = np.where(answers.found.numpy()[:, None], answers.rows[:, 0].numpy(), np.nan)
    queries, rows = answers.reach.reference.numpy(), answers.decision.space.data.numpy()
    return {
        "answered": measured["answered"],
        "L2": measured["l2"],
        "step in the top 20 components": float(np.nanmean(measures.component_share(made, queries, rows, 20))),
        "5 neighbours agree": float(np.nanmean(measures.neighbour_agreement(made, rows, train_digits, wanted))),
        "second model agrees": measured["agreement"],
    }


def picture(queries: Any, columns: dict[str, Explanation], second: Any, path: Path) -> None:
    """Draw each query, its answer under each distance, and what that adds (red) and takes away (blue)."""
    from matplotlib import pyplot as plt

    widths = [1.0, *(width for _ in columns for width in (0.12, 1.0, 1.0))]
    size = (1.15 * sum(widths), 1.32 * len(queries) + 0.4)
    figure, axes = plt.subplots(
        len(queries), len(widths), figsize=size, gridspec_kw={"width_ratios": widths}, layout="constrained"
    )
    for ax in axes[:, 1::3].flat:
        ax.set_axis_off()
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set_color("0.85")
    axes[0, 0].set_title("picture", fontsize=9)
    for place, (name, explanation) in enumerate(columns.items()):
        axes[0, 2 + 3 * place].set_title(name, fontsize=9, loc="left")
        for row, query in enumerate(queries):
            draw(axes[row, 2 + 3 * place], axes[row, 3 + 3 * place], query, explanation[row], SHOWN[row][1], second)
    for row, (digit, target) in enumerate(SHOWN):
        show(axes[row, 0], queries[row])
        axes[row, 0].set_xlabel(f"{digit}, asked for {target}", fontsize=8)
    figure.savefig(path, dpi=80)


def draw(left: Any, right: Any, query: Any, explained: RowExplanation, target: int, second: Any) -> None:
    """Draw an answer and, beside it, what has changed."""
    if not explained.counterfactuals:
        left.set_xlabel("none found", fontsize=8)
        return
    answer = np.array(list(explained.counterfactuals[0].row.values()))
    show(left, answer)
    step = (answer - query).reshape(SIDE, SIDE)
    right.imshow(step, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="bicubic")
    seen = int(second.predict(answer[None])[0])
    left.set_xlabel(f"other model: {seen}", fontsize=8, color="tab:green" if seen == target else "tab:red")


def show(ax: Any, pixels: Any) -> None:
    """Draw one picture."""
    ax.imshow(pixels.reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=1, interpolation="bicubic")


if __name__ == "__main__":
    main()
