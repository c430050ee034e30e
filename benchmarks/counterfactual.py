"""Counterfactuals: our searches and pip-installable peers on the same models, queries and measures.

::

    python benchmarks/counterfactual.py [--peers dice,nice] [--output benchmarks/counterfactual.md]

Four tables: breast cancer, wine and digits of scikit-learn, and a synthetic table of mixed columns whose structural
equations are known. On each a logistic regression, a perceptron and a random forest, 100 queries that none of them
was trained on, and for each query one wanted class other than the predicted one. Every answer is judged as it is
written down, by the model itself and by measures that no search optimises (neighbours, outliers, density on rows kept
aside, a second model). Each peer lives in an environment of its own, made by this script, and asks this process for
the model's answers; one that cannot be installed is left out with a sentence. Seconds are of the processor: a peer's
own plus the model's, without what travelling costs.

A second part gives several seeds to the claim that counterfactuals can be told from adversarial points by the distance
alone, and a third asks whether the known equations come back as steps.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import venv
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from preimage import catalogue
from preimage_counterfactual import measures
from preimage_counterfactual.decision import Decision
from preimage_counterfactual.search import search
from preimage_counterfactual.space import TableSpace

PEERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dice": (("dice-ml",), ("random", "genetic")),
    # NICEx asks for numpy and pandas below 2, which today's Pythons have no wheels of, and runs with later ones.
    "nice": (("pandas scikit-learn", "--no-deps NICEx"), ("none", "sparsity", "proximity")),
}
"""What pip is asked for each peer, call by call, and the methods that are tried."""

OURS: tuple[tuple[str, str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("closed form, joint", "counterfactual-linear", "joint", {}, {}),
    ("gradient, l2", "counterfactual-gradient", "l2", {}, {}),
    ("gradient, mahalanobis", "counterfactual-gradient", "mahalanobis", {}, {}),
    ("gradient, joint", "counterfactual-gradient", "joint", {}, {}),
    ("gradient, joint by class", "counterfactual-gradient", "joint", {"classes": "shared"}, {}),
    ("black box, l2", "counterfactual-blackbox", "l2", {}, {}),
    ("black box, joint", "counterfactual-blackbox", "joint", {}, {}),
    ("black box, joint, 5 columns", "counterfactual-blackbox", "joint", {}, {"max_changed": 5}),
    ("draws, joint copula r=0.75", "counterfactual-draw", "joint", {"margins": "copula", "r": 0.75}, {}),
)
"""Name, search, distance, its options, and options of the call."""

COLUMNS = (
    "found & valid",
    "valid/s",
    "columns changed",
    "L2",
    "Mahalanobis",
    "5-NN",
    "LOF outliers",
    "density gain",
    "second model agrees",
    "AUC",
    "violations",
    "model rows",
)


@attrs.frozen(eq=False)
class Task:
    """One table with its queries."""

    name: str
    train: pd.DataFrame
    labels: Any
    queries: pd.DataFrame
    held_out: pd.DataFrame | None
    immutable: tuple[str, ...] = ()

    @property
    def nominal(self) -> tuple[str, ...]:
        """The columns of words."""
        return tuple(name for name in self.train if not pd.api.types.is_numeric_dtype(self.train[name]))


@attrs.frozen(eq=False)
class Made:
    """What a method has made of a task's queries: a row each, None where there is none or none was tried."""

    method: str
    rows: list[list[Any] | None]
    cpu_s: float
    model_rows: int
    tried: int


def main() -> None:
    """Run everything that was asked for, print the page, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", default="dice,nice", help="which peers, joined by commas; empty for none")
    parser.add_argument("--tables", default="breast_cancer,wine,mixed,digits")
    parser.add_argument("--models", default="logistic,perceptron,forest")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5, help="of the second part; 0 leaves it out")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that a peer may take for one model")
    parser.add_argument("--environments", type=Path, default=Path("build/peers"))
    parser.add_argument("--output", type=Path, help="write the page to this file, too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    page = ["# Counterfactuals", "", *introduction(arguments)]
    peers, sentences = installed([name for name in arguments.peers.split(",") if name], arguments.environments)
    for name in arguments.tables.split(","):
        task = tasks(name, arguments.queries)
        page += ["", f"## {name}", "", *table(task, arguments, peers if name != "digits" else {})]
    page += sentences
    if arguments.seeds:
        page += ["", "## Counterfactuals or adversarial points", "", *adversarial(arguments)]
    page += ["", "## Do the known equations come back?", "", *equations(), ""]
    text = "\n".join(page)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")


def introduction(arguments: argparse.Namespace) -> list[str]:
    """Return what a reader has to know."""
    return [
        f"{arguments.queries} queries a table, one answer each; written by `benchmarks/counterfactual.py`, whose "
        "docstring says how. Distances are in standard deviations.",
        "",
        "- *valid/s*: answers that the model decides as wanted, per second of processor time.",
        "- *Mahalanobis*: with Ledoit and Wolf's covariance.",
        "- *5-NN*: the mean distance to the five nearest training rows.",
        "- *LOF outliers*: the share of answers whose local outlier factor is above 1.5.",
        "- *density gain*: the log density of the answer less the query's, by kernels on rows kept aside.",
        "- *second model agrees*: a wider perceptron, trained from another seed.",
        "- *AUC*: how well a forest tells answers from real rows; 0.5 is not at all.",
        "- *violations*: answers that change what may not change, or hold a level that does not exist.",
        "- *model rows*: rows that the model was asked about, for each query.",
        "",
        "Our searches (in bold) optimise the distance in their name: judge them by the other columns. Peers have "
        f"{arguments.limit:.0f} s for each model; where they tried fewer queries, the first column says how many.",
    ]


def tasks(name: str, queries: int, seed: int = 0) -> Task:
    """Return a table split into training rows, queries and, where enough are left, rows kept aside."""
    if name == "mixed":
        frame, labels = mixed(1500, seed)
    else:
        load = {"breast_cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}[name]
        frame, labels = load(as_frame=True, return_X_y=True)
        frame = frame.rename(columns=lambda column: column.replace(" ", "_").replace("/", "_")).astype(float)
        # Pixels that never change say nothing and stop standardisation.
        frame = frame.loc[:, frame.nunique() > 1]
    share = max(0.4, (queries + 0.5) / len(frame))
    train, rest, labels, _ = train_test_split(frame, labels, test_size=share, random_state=seed, stratify=labels)
    held_out = rest.iloc[queries:]
    return Task(
        name=name,
        train=train.reset_index(drop=True),
        labels=np.asarray(labels),
        queries=rest.iloc[:queries].reset_index(drop=True),
        held_out=held_out if len(held_out) >= 30 else None,
        immutable=("age",) if name == "mixed" else (),
    )


def mixed(count: int, seed: int) -> tuple[pd.DataFrame, Any]:
    """Return a loan-like table of known structural equations, and who was granted one."""
    rng = np.random.default_rng(seed)
    age = rng.normal(45, 12, count).clip(18, 80)
    job = rng.choice(["service", "technical", "managerial"], count, p=[0.5, 0.3, 0.2])
    income = 12 + 0.4 * age + np.select([job == "technical", job == "managerial"], [8, 22], 0) + rng.normal(0, 6, count)
    savings = 5 + 0.6 * income + rng.normal(0, 8, count)
    debt = 10 + 0.5 * income - 0.3 * savings + rng.normal(0, 5, count)
    home = np.where(rng.random(count) < 1 / (1 + np.exp(-(savings - 30) / 8)), "owned", "rented")
    score = 0.12 * (savings - 27) - 0.15 * (debt - 15) + 0.8 * (home == "owned") - 0.4
    granted = (rng.random(count) < 1 / (1 + np.exp(-score))).astype(int)
    columns = {"age": age, "job": job, "income": income, "savings": savings, "debt": debt, "home": home}
    return pd.DataFrame(columns), granted


def classifier(kind: str, task: Task, seed: int = 0) -> Any:
    """Return a trained pipeline that reads the table's own columns."""
    numbers = [name for name in task.train if name not in task.nominal]
    encode = make_column_transformer(
        (StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), list(task.nominal))
    )
    model = {
        "logistic": LogisticRegression(max_iter=2000),
        "perceptron": MLPClassifier((32, 16), max_iter=1000, random_state=seed),
        "forest": RandomForestClassifier(100, random_state=seed),
        "second": MLPClassifier((64,), max_iter=1000, random_state=seed + 1),
    }[kind]
    # Without words there is nothing to choose between, and a plain pipeline is what people have.
    first = encode if task.nominal else StandardScaler()
    return make_pipeline(first, model).fit(task.train, task.labels)


def wanted_of(model: Any, task: Task, seed: int = 0) -> Any:
    """Return for each query a class other than the predicted one: the other one, or one drawn from the others."""
    predicted = model.predict(task.queries)
    count = len(model.classes_)
    return (predicted + np.random.default_rng(seed).integers(1, count, len(predicted))) % count


def table(task: Task, arguments: argparse.Namespace, peers: dict[str, Path]) -> list[str]:
    """Return the table of one task: a row a model and method."""
    lines = ["| model | method | " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " ---: |" * len(COLUMNS)]
    second = classifier("second", task)
    for kind in arguments.models.split(","):
        model = classifier(kind, task)
        wanted = wanted_of(model, task)
        for made in [*ours(model, kind, task, wanted), *theirs(model, task, wanted, peers, arguments.limit)]:
            cells = judged(made, model, second, task, wanted)
            lines.append(f"| {kind} | {made.method} | " + " | ".join(cells) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


def ours(model: Any, kind: str, task: Task, wanted: Any) -> Iterator[Made]:
    """Yield what each of our searches makes of the queries that it can search."""
    space = TableSpace(task.train, immutable=list(task.immutable))
    for name, optimizer, distance, options, call in OURS:
        smooth = optimizer in ("counterfactual-linear", "counterfactual-gradient")
        if (smooth and kind == "forest") or (optimizer == "counterfactual-linear") != (kind == "logistic" and smooth):
            continue
        start = time.process_time()
        decision = Decision(model, space)
        fitted = catalogue().build("distance", distance, **options)
        fitted.fit(space.data, labels=decision.known_scores.argmax(1), space=space)
        ready = time.process_time()
        answers = search(
            decision, fitted, catalogue().build("optimizer", optimizer), task.queries, desired=wanted.tolist(), **call
        )
        seconds = time.process_time() - ready
        print(f"{name}: fitted in {ready - start:.2f} s, searched in {seconds:.2f} s", file=sys.stderr)
        rows: list[list[Any] | None] = [None] * len(wanted)
        for place, row in zip(answers.run.tolist(), answers.table().itertuples(index=False), strict=True):
            rows[place] = list(row)
        asked = sum(spent.candidates for spent in answers.spent)
        yield Made(f"**{name}**", rows, seconds, asked, len(wanted))


def theirs(model: Any, task: Task, wanted: Any, peers: dict[str, Path], limit: float) -> Iterator[Made]:
    """Yield what each peer makes of the queries, in a process and an environment of its own."""
    scripts = Path(__file__).with_name("counterfactual_peers")
    for peer, python in peers.items():
        for method in PEERS[peer][1]:
            with tempfile.TemporaryDirectory() as name, Served(model, task) as served:
                folder = Path(name)
                task.train.assign(label=task.labels).to_csv(folder / "train.csv", index=False)
                task.queries.to_csv(folder / "queries.csv", index=False)
                job = {
                    **served.address,
                    "method": method,
                    "columns": list(task.train),
                    "nominal": list(task.nominal),
                    "immutable": list(task.immutable),
                    "classes": len(model.classes_),
                    "queries": len(wanted),
                    "wanted": wanted.tolist(),
                    "limit_s": limit,
                }
                (folder / "job.json").write_text(json.dumps(job))
                command = [str(python), str(scripts / f"{peer}.py"), str(folder / "job.json")]
                done = subprocess.run(command, capture_output=True, text=True, cwd=scripts, timeout=limit * 10)
                if done.returncode:
                    print(f"{peer} {method} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                    continue
                answer = json.loads((folder / "answers.json").read_text())
            rows = answer["rows"] + [None] * (len(wanted) - len(answer["rows"]))
            label = {"dice": "DiCE", "nice": "NICE"}[peer]
            yield Made(f"{label} {method}", rows, answer["cpu_s"] + served.cpu_s, served.rows, len(answer["rows"]))


class Served:
    """A model behind a local socket, asked by one peer; counts rows and its own processor time."""

    def __init__(self, model: Any, task: Task) -> None:
        self.rows, self.cpu_s = 0, 0.0
        self._model, self._types = model, task.train.dtypes
        self._key = secrets.token_bytes(16)
        self._listener = Listener(("localhost", 0), authkey=self._key)
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def address(self) -> dict[str, Any]:
        """Where a peer finds it."""
        return {"address": list(self._listener.address), "key": self._key.hex()}

    def _answer(self) -> None:
        try:
            with self._listener.accept() as line:
                while True:
                    rows = json.loads(line.recv_bytes())
                    start = time.thread_time()
                    frame = pd.DataFrame(rows, columns=list(self._types.index)).astype(self._types)
                    chances = self._model.predict_proba(frame)
                    self.cpu_s += time.thread_time() - start
                    self.rows += len(rows)
                    line.send_bytes(json.dumps(chances.tolist()).encode())
        except (EOFError, OSError):
            return


def judged(made: Made, model: Any, second: Any, task: Task, wanted: Any) -> list[str]:
    """Return the cells of one row of a table."""
    space = TableSpace(task.train, immutable=list(task.immutable))
    frame, broken = written(made, task, space)
    place = frame.index.to_numpy()
    labels, others = np.full(len(wanted), -1), np.full(len(wanted), -1)
    answers = np.full((len(wanted), space.width), np.nan)
    if len(place):
        labels[place], others[place] = model.predict(frame), second.predict(frame)
        answers[place] = space.encode(frame).numpy()
    valid = labels == wanted
    answers[~valid] = np.nan
    queries, rows = space.encode(task.queries).numpy(), space.data.numpy()
    mahalanobis = catalogue().build("distance", "mahalanobis")
    mahalanobis.fit(space.data, space=space)
    near = measures.proximity({"l2": catalogue().build("distance", "l2"), "mahalanobis": mahalanobis}, answers, queries)
    gain = np.full(len(wanted), np.nan)
    if task.held_out is not None:
        aside = space.encode(task.held_out).numpy()
        gain = measures.log_density(answers, aside) - measures.log_density(queries, aside)
    told = measures.distinguishability(answers, rows) if valid.sum() >= 10 else np.nan
    breaks = measures.violations(answers, queries, frozen=space.frozen.numpy(), groups=space.groups)
    count = f"{int(valid.sum())} of {made.tried}"
    return [
        count,
        f"{valid.sum() / made.cpu_s:,.1f}",
        number(np.nanmean(measures.changed_columns(answers, queries, space.groups)), 1),
        number(np.nanmean(near["l2"])),
        number(np.nanmean(near["mahalanobis"])),
        number(np.nanmean(measures.neighbour_distance(answers, rows))),
        f"{100 * np.nanmean(measures.outliers(answers, rows)):.0f} %",
        number(np.nanmean(gain), 1),
        number(measures.agreement(others, wanted, valid)),
        number(told),
        str(int((breaks > 0).sum()) + broken),
        f"{made.model_rows / max(made.tried, 1):,.0f}",
    ]


def written(made: Made, task: Task, space: TableSpace) -> tuple[pd.DataFrame, int]:
    """Return the answers that are rows of the table, by query, and how many are none: a level that does not exist."""
    rows, broken = {}, 0
    for place, row in enumerate(made.rows):
        if row is None:
            continue
        one = pd.DataFrame([row], columns=list(task.train)).astype(task.train.dtypes)
        known = all(one[name].isin(task.train[name].unique()).all() for name in task.nominal)
        if known and np.isfinite(one[[name for name in one if name not in task.nominal]].to_numpy()).all():
            rows[place] = one.iloc[0]
        else:
            broken += 1
    frame = pd.DataFrame(rows, dtype=object).T if rows else task.train.iloc[:0]
    return frame.astype(task.train.dtypes), broken


def number(value: float, digits: int = 2) -> str:
    """Return a number, or a dash where there is none."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def installed(names: Sequence[str], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the interpreter of each peer, installing what is not there yet, and a sentence for each that cannot be."""
    pythons, sentences = {}, []
    for name in names:
        python = folder.resolve() / name / "bin" / "python"
        if not python.exists():
            venv.create(folder / name, with_pip=True)
        have = subprocess.run([python, "-c", f"import {'dice_ml' if name == 'dice' else 'nice'}"], capture_output=True)
        if have.returncode:
            pip = [python, "-m", "pip", "install", "--quiet"]
            calls = [subprocess.run([*pip, *asked.split()], capture_output=True, text=True) for asked in PEERS[name][0]]
            if failed := [call for call in calls if call.returncode]:
                last = (failed[0].stderr.strip().splitlines() or ["pip says nothing"])[-1]
                sentences += ["", f"The peer {name} could not be installed here and is left out: {last}"]
                continue
        pythons[name] = python
    return pythons, sentences


def adversarial(arguments: argparse.Namespace) -> list[str]:
    """Return the table of what the distance alone does to answers, over seeds of split, model and wanted classes."""
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "l2": ("l2", {}),
        "mahalanobis": ("mahalanobis", {}),
        "joint, r=0.9": ("joint", {"r": 0.9}),
        "joint, r=0.5": ("joint", {"r": 0.5}),
        "joint by class, r=0.5": ("joint", {"r": 0.5, "classes": "shared"}),
    }
    judges = ("L2 step", "Mahalanobis", "top components", "5-NN", "LOF outliers", "second model", "5-NN agrees")
    lines = [
        f"The gradient search on a perceptron, another class drawn for each query, {arguments.seeds} seeds; mean and "
        "95 % interval over seeds. *top components*: the share of the step in the leading 20 principal components "
        "(digits) or 10 (breast cancer). *5-NN agrees*: most of the five nearest training rows have the wanted class.",
    ]
    for name, components in (("digits", 20), ("breast_cancer", 10)):
        results: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
        for seed in range(arguments.seeds):
            task = tasks(name, min(arguments.queries, 80), seed)
            for kind, (distance, options) in kinds.items():
                results[kind].append(_adversarial(task, distance, options, components, seed))
                print(name, seed, kind, np.round(results[kind][-1], 3), file=sys.stderr, flush=True)
        lines += ["", f"| {name} | " + " | ".join(judges) + " |", "| --- |" + " ---: |" * len(judges)]
        for kind, values in results.items():
            lines.append(f"| {kind} | " + " | ".join(spread(column) for column in zip(*values, strict=True)) + " |")
    return lines


def _adversarial(task: Task, distance: str, options: dict[str, Any], components: int, seed: int) -> list[float]:
    model, second = classifier("perceptron", task, seed), classifier("perceptron", task, seed + 100)
    wanted = wanted_of(model, task, seed)
    space = TableSpace(task.train)
    decision = Decision(model, space)
    fitted = catalogue().build("distance", distance, **options)
    fitted.fit(space.data, labels=task.labels, space=space)
    optimizer = catalogue().build("optimizer", "counterfactual-gradient")
    answers = search(decision, fitted, optimizer, task.queries, desired=wanted.tolist(), seed=seed)
    made = np.where(answers.found.numpy()[:, None], answers.rows[:, 0].numpy(), np.nan)
    queries, rows = space.encode(task.queries).numpy(), space.data.numpy()
    mahalanobis = catalogue().build("distance", "mahalanobis")
    mahalanobis.fit(space.data)
    said = np.full(len(wanted), -1)
    said[answers.run.numpy()] = second.predict(answers.table())
    return [
        float(np.nanmean(np.linalg.norm(made - queries, axis=1))),
        float(np.nanmean(measures.proximity({"": mahalanobis}, made, queries)[""])),
        float(np.nanmean(measures.component_share(made, queries, rows, components))),
        float(np.nanmean(measures.neighbour_distance(made, rows))),
        float(np.nanmean(measures.outliers(made, rows))),
        measures.agreement(said, wanted, answers.found.numpy()),
        float(np.nanmean(measures.neighbour_agreement(made, rows, task.labels, wanted))),
    ]


def spread(values: Sequence[float]) -> str:
    """Return the mean of values over seeds with half the width of its 95 % interval by Student's t."""
    if len(values) < 2:
        return number(float(np.mean(values)))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{np.mean(values):.2f} ± {half:.2f}"


def equations() -> list[str]:
    """Return how a score on savings alone moves the other columns of the mixed table, against its equations."""
    task = tasks("mixed", 100)
    space = TableSpace(task.train)
    level = float(task.train["savings"].quantile(0.9))
    decision = Decision(None, space, margin=lambda rows: level - np.asarray(rows["savings"], dtype=float))
    numbers = ["age", "income", "savings", "debt"]
    queries = task.queries[task.queries["savings"] < level]
    jobs = pd.get_dummies(task.train[["job", "home"]], dtype=float).to_numpy()
    design = np.column_stack([task.train["savings"], jobs])
    lines = [
        "The score looks at savings alone: raise them to the ninetieth percentile. In a regression within jobs and "
        "homes a unit more of savings goes with so much more of the others. So much they move where job and home may "
        f"not, on average over {len(queries)} queries:",
        "",
        "| column | regression | joint | mahalanobis | l2 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    steps = {}
    for distance in ("joint", "mahalanobis", "l2"):
        # At r near 1 the step starts at the row and not on the way to the mean.
        options = {"r": 0.999, "shrinkage": 0.0} if distance == "joint" else {}
        fitted = catalogue().build("distance", distance, **options)
        fitted.fit(space.data, space=space)
        optimizer = catalogue().build("optimizer", "counterfactual-blackbox")
        answers = search(decision, fitted, optimizer, queries, vary=numbers)
        moved = answers.table().reset_index(drop=True)[numbers]
        before = queries.iloc[answers.run.numpy()].reset_index(drop=True)[numbers]
        steps[distance] = (moved - before).mean()
    for column in ("age", "income", "debt"):
        slope = np.linalg.lstsq(design, task.train[column], rcond=None)[0][0]
        shares = [f"{steps[name][column] / steps[name]['savings']:+.3f}" for name in steps]
        lines.append(f"| {column} | {slope:+.3f} | " + " | ".join(shares) + " |")
    return lines


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
