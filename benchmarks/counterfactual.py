"""Counterfactuals: our searches and pip-installable peers on the same models, queries and measures.

::

    python benchmarks/counterfactual.py [--results build/counterfactual.jsonl] [--output benchmarks/counterfactual.md]

Four tables: breast cancer, wine and digits of scikit-learn, and a synthetic table of mixed columns whose structural
equations are known. On each a logistic regression, a perceptron and a random forest, 100 queries that none of them
was trained on, and for each query one wanted class other than the predicted one. Every answer is judged as it is
written down, by the model itself and by measures that no search optimises (neighbours, outliers, density on rows kept
aside, a second model). Each peer lives in an environment of its own, made by this script, and asks this process for
the model's answers; one that cannot be installed is left out with a sentence. Seconds are of the processor: a peer's
own plus the model's, without what travelling costs.

A second part gives several seeds to the claim that counterfactuals can be told from adversarial points by the distance
alone, a third asks whether the known equations come back as steps, and the last lines compare with what was aimed at.

The page is written after each line. With ``--results`` each line is kept in a file besides, and a run that was cut goes
on where it was; what is in the file is not measured again, so that a change of the code wants another file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import venv
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
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
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from preimage import catalogue
from preimage_counterfactual import CounterfactualExplainer, measures
from preimage_counterfactual.columns import Kind
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
    ("as it comes", "auto", "joint", {}, {}),
    ("closed form, l2", "linear", "l2", {}, {}),
    ("closed form, mahalanobis", "linear", "mahalanobis", {}, {}),
    ("closed form, joint", "linear", "joint", {}, {}),
    ("closed form, joint by class", "linear", "joint", {"classes": "shared"}, {}),
    ("gradient, l2", "gradient", "l2", {}, {}),
    ("gradient, mahalanobis", "gradient", "mahalanobis", {}, {}),
    ("gradient, joint r=0.9", "gradient", "joint", {"r": 0.9}, {}),
    ("gradient, joint", "gradient", "joint", {}, {}),
    ("gradient, joint by class", "gradient", "joint", {"classes": "shared"}, {}),
    ("gradient, joint, 5 columns", "gradient", "joint", {}, {"max_changed": 5}),
    ("black box, l2", "blackbox", "l2", {}, {}),
    ("black box, joint", "blackbox", "joint", {}, {}),
    ("black box, joint by class", "blackbox", "joint", {"classes": "shared"}, {}),
    ("black box, l2, 5 columns", "blackbox", "l2", {}, {"max_changed": 5}),
    ("black box, joint, 5 columns", "blackbox", "joint", {}, {"max_changed": 5}),
    ("draws, joint copula r=0.75", "draw", "joint", {"margins": "copula", "r": 0.75}, {}),
)
"""Name, search, distance, its options, and options of the call."""

LABELS = {"dice": "DiCE", "nice": "NICE"}
TABLES = ("breast_cancer", "wine", "mixed", "digits")
MODELS = ("logistic", "perceptron", "forest")
METHODS = [name for name, *_ in OURS] + [f"{LABELS[peer]} {method}" for peer in PEERS for method in PEERS[peer][1]]
"""In the order of the page, in whichever order they have been measured."""

COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "cpu_s": ("seconds", lambda value: number(value)),
    "speed": ("valid/s", lambda value: f"{value:,.1f}"),
    "calls": ("model calls", lambda value: f"{value:,.0f}"),
    "rows": ("model rows", lambda value: f"{value:,.0f}"),
    "columns": ("columns", lambda value: number(value, 1)),
    "l2": ("L2", lambda value: number(value)),
    "mahalanobis": ("Mahalanobis", lambda value: number(value)),
    "neighbours": ("5-NN", lambda value: number(value)),
    "outliers": ("outliers", lambda value: share(value)),
    "gain": ("density gain", lambda value: number(value, 1)),
    "second": ("second model", lambda value: number(value)),
    "auc": ("AUC", lambda value: number(value)),
    "violations": ("violations", lambda value: f"{value:.0f}"),
}
"""What a line of the tables says of a method, with its heading and how it is written."""

DISTANCES: dict[str, tuple[str, dict[str, Any]]] = {
    "l2": ("l2", {}),
    "mahalanobis": ("mahalanobis", {}),
    "joint, r=0.9": ("joint", {"r": 0.9}),
    "joint, r=0.5": ("joint", {"r": 0.5}),
    "joint by class, r=0.5": ("joint", {"r": 0.5, "classes": "shared"}),
}
"""What the second part compares."""

SEEDED = ("L2 step", "Mahalanobis", "top components", "5-NN", "outliers", "second model", "5-NN agrees")
COMPONENTS = {"digits": 20, "breast_cancer": 10}
NUMBERS = ["age", "income", "savings", "debt"]

Record = dict[str, Any]
Checked = Iterator[tuple[str, list[str]]]
"""What came out of an aim, and what does not hold of it."""


@attrs.frozen(eq=False, slots=False)
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

    @property
    def kinds(self) -> dict[str, Kind]:
        """What columns are: a pixel that has two shades in the training rows is no yes or no for that."""
        return {name: "numeric" for name in self.train if name not in self.nominal}

    @cached_property
    def space(self) -> TableSpace:
        """The columns as the judge sees them, and our searches."""
        return TableSpace(self.train, kinds=self.kinds, immutable=list(self.immutable))


@attrs.frozen(eq=False)
class Made:
    """What a method has made of a task's queries: a row each, None where there is none or none was tried."""

    method: str
    rows: list[list[Any] | None]
    cpu_s: float
    model_calls: int
    model_rows: int
    tried: int
    version: str = ""


class Results:
    """What has been measured, a record each; the page is written afresh whenever one is added."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.kept: Path | None = arguments.results
        self.records: list[Record] = []
        if self.kept is not None and self.kept.exists():
            self.records = [json.loads(line) for line in self.kept.read_text(encoding="utf-8").splitlines()]

    def of(self, part: str, **where: Any) -> list[Record]:
        """Return the records of a part, in their order, that agree with what is asked."""
        wanted = {"part": part, **where}
        found = [one for one in self.records if all(one[name] == value for name, value in wanted.items())]
        return sorted(found, key=place) if part == "methods" else found

    def add(self, record: Record) -> None:
        """Keep a record, say so, and write the page."""
        record = {**record, "load": os.getloadavg()[0]}
        self.records.append(record)
        print(f"{time.strftime('%H:%M:%S')} {json.dumps(record)}", file=sys.stderr, flush=True)
        if self.kept is not None:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            with self.kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        self.write()

    def write(self) -> str:
        """Return the page, and write it where it is to be kept."""
        text = page(self)
        if self.arguments.output is not None:
            self.arguments.output.write_text(text, encoding="utf-8")
        return text


def main() -> None:
    """Measure everything that was asked for and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", default="dice,nice", help="which peers, joined by commas; empty for none")
    parser.add_argument("--tables", default=",".join(TABLES), help="which tables; empty for none")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5, help="of the second part; 0 leaves it out")
    parser.add_argument(
        "--limit", type=float, default=25.0, help="seconds of the processor that a peer has for a model"
    )
    parser.add_argument("--environments", type=Path, default=Path("build/peers"))
    parser.add_argument("--results", type=Path, help="keep each line in this file, and go on where it ends")
    parser.add_argument("--output", type=Path, help="write the page to this file, too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    results = Results(arguments)
    peers = installed([name for name in arguments.peers.split(",") if name], arguments.environments, results)
    for name in filter(None, arguments.tables.split(",")):
        measure(tasks(name, arguments.queries), peers, results)
    if arguments.seeds:
        adversarial(results)
    equations(results)
    print(results.write())


def page(results: Results) -> str:
    """Return everything that has been measured so far."""
    lines = ["# Counterfactuals", "", *introduction(results)]
    for name in dict.fromkeys(one["table"] for one in results.of("methods")):
        lines += ["", f"## {name}", "", *methods_table(results, name)]
    if results.of("adversarial"):
        lines += ["", "## Counterfactuals or adversarial points", "", *adversarial_tables(results)]
    if results.of("equations"):
        lines += ["", "## Do the known equations come back?", "", *equations_table(results)]
    return "\n".join([*lines, "", "## What was aimed at", "", *aims(results), ""])


def place(record: Record) -> tuple[int, ...]:
    """Return where a method's line belongs: by table, by model, our searches before peers."""
    return (
        TABLES.index(record["table"]),
        MODELS.index(record["model"]),
        METHODS.index(record["method"]),
    )


def introduction(results: Results) -> list[str]:
    """Return what a reader has to know."""
    arguments = results.arguments
    versions = sorted({one["version"] for one in results.of("methods") if one["version"]})
    loads = [one["load"] for one in results.records]
    busy = (
        f"The load of the machine was {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores" if loads else ""
    )
    return [
        f"{arguments.queries} queries a table, one answer each; written by `benchmarks/counterfactual.py`, whose "
        "docstring says how. Distances are in standard deviations.",
        "",
        "- *as it comes*: the explainer without any choice: the fastest search, and the black box for the rest.",
        "- *seconds*: of the processor, for the search and what the model took, fitting left out.",
        "- *valid/s*: answers that the model decides as wanted, per second.",
        "- *model calls*, *model rows*: how often the model was asked, and about how many rows for each query.",
        "- *columns*: how many an answer changes.",
        "- *Mahalanobis*: with Ledoit and Wolf's covariance.",
        "- *5-NN*: the mean distance to the five nearest training rows.",
        "- *outliers*: the share of answers whose local outlier factor is above 1.5.",
        "- *density gain*: the log density of the answer less the query's, by kernels on rows kept aside.",
        "- *second model*: the share that a wider perceptron, trained from another seed, decides as wanted.",
        "- *AUC*: how well a forest tells answers from real rows; 0.5 is not at all.",
        "- *violations*: answers that change what may not change, or hold a level that does not exist.",
        "",
        "Our searches (in bold) optimise the distance in their name: judge them by the other columns. Peers "
        f"({', '.join(versions) or 'none'}) have {arguments.limit:.0f} such seconds for each model; where they tried "
        f"fewer queries, the first column says how many. {busy}, which slows seconds down and changes nothing else but "
        "how far peers came.",
        *[line for one in results.of("missing") for line in ("", one["sentence"])],
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


def measure(task: Task, peers: dict[str, Path], results: Results) -> None:
    """Add what every method makes of a table, model by model."""
    second = None
    for kind in results.arguments.models.split(","):
        done = {one["method"] for one in results.of("methods", table=task.name, model=kind)}
        model = classifier(kind, task)
        wanted = wanted_of(model, task)
        every = (ours(model, kind, task, wanted, done), theirs(model, kind, task, wanted, peers, results, done))
        for made in itertools.chain(*every):
            second = second or classifier("second", task)
            figures = judged(made, model, second, task, wanted)
            where = {"part": "methods", "table": task.name, "model": kind, "method": made.method}
            results.add({**where, "version": made.version, **figures})


def methods_table(results: Results, name: str) -> list[str]:
    """Return the table of one task: a line a model and method."""
    heads = [head for head, _ in COLUMNS.values()]
    lines = ["| model | method | valid | " + " | ".join(heads) + " |", "| --- | --- |" + " ---: |" * (len(heads) + 1)]
    for one in results.of("methods", table=name):
        method = one["method"] if one["version"] else f"**{one['method']}**"
        cells = [write(one[key]) for key, (_, write) in COLUMNS.items()]
        lines.append(f"| {one['model']} | {method} | {one['valid']} of {one['tried']} | " + " | ".join(cells) + " |")
    return lines


class Counted:
    """A function of rows that counts how often it was asked, and about how many."""

    def __init__(self) -> None:
        self.calls, self.rows = 0, 0

    def wrap(self, function: Any) -> Any:
        """Return a function that counts here."""

        def counted(rows: Any) -> Any:
            self.calls += 1
            self.rows += len(rows)
            return function(rows)

        return None if function is None else counted


def ours(model: Any, kind: str, task: Task, wanted: Any, done: Collection[str]) -> Iterator[Made]:
    """Yield what each of our searches makes of the queries that it can search, but for those that are done."""
    columns = {"kinds": task.kinds, "immutable": list(task.immutable)}
    for name, method, distance, options, call in OURS:
        smooth = method in ("linear", "gradient")
        if (smooth and kind == "forest") or (smooth and (method == "linear") != (kind == "logistic")):
            continue
        if name in done:
            continue
        explainer = CounterfactualExplainer(
            model, distance=distance, distance_options=options, method=method, columns=columns
        ).fit(task.train)
        decision, counted = explainer.decision_, Counted()
        view = decision.view
        decision.view = attrs.evolve(view, scores=counted.wrap(view.scores), smooth=counted.wrap(view.smooth))
        ready = time.process_time()
        answers = explainer.explain(task.queries, desired_class=wanted.tolist(), **call).answers
        seconds = time.process_time() - ready
        rows: list[list[Any] | None] = [None] * len(wanted)
        for place, row in zip(answers.run.tolist(), answers.table().itertuples(index=False), strict=True):
            rows[place] = list(row)
        yield Made(name, rows, seconds, counted.calls, counted.rows, len(wanted))


def theirs(
    model: Any, kind: str, task: Task, wanted: Any, peers: dict[str, Path], results: Results, done: Collection[str]
) -> Iterator[Made]:
    """Yield what each peer makes of the queries, in a process and an environment of its own."""
    limit_s = results.arguments.limit
    scripts = Path(__file__).with_name("counterfactual_peers")
    for peer, method in [(name, method) for name in peers for method in PEERS[name][1]]:
        label = f"{LABELS[peer]} {method}"
        missing = f"{label} is missing from the lines of {task.name} with the {kind}: "
        if label in done or any(one["sentence"].startswith(missing) for one in results.of("missing")):
            continue
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
                "limit_s": limit_s,
            }
            (folder / "job.json").write_text(json.dumps(job))
            command = [str(peers[peer]), str(scripts / f"{peer}.py"), str(folder / "job.json")]
            problem = ""
            try:
                # A peer looks at its time between queries only, and some of them never come back from one.
                grace = 10 * limit_s + 60
                ended = subprocess.run(command, capture_output=True, text=True, cwd=scripts, timeout=grace)
                problem = (ended.stderr.strip().splitlines() or ["it says nothing"])[-1] if ended.returncode else ""
            except subprocess.TimeoutExpired:
                problem = "it did not come back from a query"
            if problem:
                print(f"{label} on {task.name}: {problem}", file=sys.stderr, flush=True)
            if not (folder / "answers.json").exists():
                results.add({"part": "missing", "sentence": f"{missing}{problem}."})
                continue
            answer = json.loads((folder / "answers.json").read_text())
        for error, count in answer["errors"].items():
            print(f"{label} on {task.name}: {count} times {error}", file=sys.stderr, flush=True)
        rows = answer["rows"] + [None] * (len(wanted) - len(answer["rows"]))
        seconds = answer["cpu_s"] + served.cpu_s
        yield Made(label, rows, seconds, served.calls, served.rows, len(answer["rows"]), answer["version"])


class Served:
    """A model behind a local socket, asked by one peer; counts calls, rows and its own processor time."""

    def __init__(self, model: Any, task: Task) -> None:
        self.calls, self.rows, self.cpu_s = 0, 0, 0.0
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
                    self.calls += 1
                    self.rows += len(rows)
                    line.send_bytes(json.dumps(chances.tolist()).encode())
        except (EOFError, OSError):
            return


def judged(made: Made, model: Any, second: Any, task: Task, wanted: Any) -> Record:
    """Return the figures of one line of a table."""
    space = task.space
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
    # Of a table with fewer rows than answers, as many answers as rows.
    told = measures.distinguishability(answers[valid][: len(rows)], rows) if valid.sum() >= 10 else np.nan
    breaks = measures.violations(answers, queries, frozen=space.frozen.numpy(), groups=space.groups)
    count, tried = int(valid.sum()), max(made.tried, 1)
    return {
        "valid": count,
        "tried": made.tried,
        "cpu_s": made.cpu_s,
        "speed": count / made.cpu_s if made.cpu_s else 0.0,
        "calls": made.model_calls,
        "rows": made.model_rows / tried,
        "columns": float(np.nanmean(measures.changed_columns(answers, queries, space.groups))),
        "l2": float(np.nanmean(near["l2"])),
        "mahalanobis": float(np.nanmean(near["mahalanobis"])),
        "neighbours": float(np.nanmean(measures.neighbour_distance(answers, rows))),
        "outliers": float(np.nanmean(measures.outliers(answers, rows))),
        "gain": float(np.nanmean(gain)),
        "second": measures.agreement(others, wanted, valid),
        "auc": float(told),
        "violations": int((breaks > 0).sum()) + broken,
    }


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


def share(value: float) -> str:
    """Return a share in per cent, or a dash where there is none."""
    return f"{100 * value:.0f} %" if np.isfinite(value) else "-"


def installed(names: Sequence[str], folder: Path, results: Results) -> dict[str, Path]:
    """Return the interpreter of each peer, installing what is not there yet; say which cannot be installed."""
    pythons = {}
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
                sentence = f"The peer {name} could not be installed here and is left out: {last}"
                if not results.of("missing", sentence=sentence):
                    results.add({"part": "missing", "sentence": sentence})
                continue
        pythons[name] = python
    return pythons


def adversarial(results: Results) -> None:
    """Add what the distance alone does to answers, over seeds of split, model and wanted classes."""
    for name, components in COMPONENTS.items():
        for seed in range(results.arguments.seeds):
            done = {one["distance"] for one in results.of("adversarial", table=name, seed=seed)}
            if done >= set(DISTANCES):
                continue
            task = tasks(name, min(results.arguments.queries, 80), seed)
            models = classifier("perceptron", task, seed), classifier("perceptron", task, seed + 100)
            for kind in DISTANCES:
                if kind not in done:
                    figures = seeded(task, models, DISTANCES[kind], components, seed)
                    results.add({"part": "adversarial", "table": name, "seed": seed, "distance": kind, **figures})


def adversarial_tables(results: Results) -> list[str]:
    """Return the table of each task: means over seeds with their intervals."""
    lines = [
        f"The gradient search on a perceptron, another class drawn for each query, {results.arguments.seeds} seeds of "
        "split, model and classes; mean and 95 % interval over seeds. *top components*: the share of the step in the "
        "leading 20 principal components (digits) or 10 (breast cancer). *second model*: a perceptron like the first, "
        "trained from another seed. *5-NN agrees*: most of the five nearest training rows have the wanted class.",
    ]
    for name in COMPONENTS:
        lines += ["", f"| {name} | " + " | ".join(SEEDED) + " |", "| --- |" + " ---: |" * len(SEEDED)]
        for kind in DISTANCES:
            found = results.of("adversarial", table=name, distance=kind)
            if found:
                cells = [spread([one[judge] for one in found]) for judge in SEEDED]
                lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return lines


def seeded(
    task: Task, models: tuple[Any, Any], kind: tuple[str, dict[str, Any]], components: int, seed: int
) -> dict[str, float]:
    """Return how the answers under one distance look to judges that know nothing of it."""
    model, second = models
    wanted = wanted_of(model, task, seed)
    space = task.space
    fitted = catalogue().build("distance", kind[0], **kind[1])
    fitted.fit(space.data, labels=task.labels, space=space)
    optimizer = catalogue().build("optimizer", "counterfactual-gradient")
    answers = search(Decision(model, space), fitted, optimizer, task.queries, desired=wanted.tolist(), seed=seed)
    made = np.where(answers.found.numpy()[:, None], answers.rows[:, 0].numpy(), np.nan)
    queries, rows = space.encode(task.queries).numpy(), space.data.numpy()
    mahalanobis = catalogue().build("distance", "mahalanobis")
    mahalanobis.fit(space.data)
    said = np.full(len(wanted), -1)
    said[answers.run.numpy()] = second.predict(answers.table())
    figures = (
        np.linalg.norm(made - queries, axis=1),
        measures.proximity({"": mahalanobis}, made, queries)[""],
        measures.component_share(made, queries, rows, components),
        measures.neighbour_distance(made, rows),
        measures.outliers(made, rows),
        measures.agreement(said, wanted, answers.found.numpy()),
        measures.neighbour_agreement(made, rows, task.labels, wanted),
    )
    return {judge: float(np.nanmean(values)) for judge, values in zip(SEEDED, figures, strict=True)}


def spread(values: Sequence[float]) -> str:
    """Return the mean of values over seeds with half the width of its 95 % interval by Student's t."""
    if len(values) < 2:
        return number(float(np.mean(values)))
    return f"{np.mean(values):.2f} ± {half_width(values):.2f}"


def half_width(values: Sequence[float]) -> float:
    """Return half the width of the 95 % interval of a mean, by Student's t."""
    return float(stats.t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5


def equations(results: Results) -> None:
    """Add how a score on savings alone moves the other columns of the mixed table, against its equations."""
    if results.of("equations"):
        return
    task = tasks("mixed", 100)
    space = TableSpace(task.train)
    level = float(task.train["savings"].quantile(0.9))
    # The savings themselves, as a linear model that the closed form can be had of.
    savings = make_pipeline(make_column_transformer(("passthrough", ["savings"])), LinearRegression())
    savings.fit(task.train, task.train["savings"])
    decision = Decision(savings, space, desired_range=(level, None))
    queries = task.queries[task.queries["savings"] < level]
    kinds = pd.get_dummies(task.train[["job", "home"]], dtype=float).to_numpy()
    design = np.column_stack([task.train["savings"], kinds])
    steps = {}
    for distance in ("joint", "mahalanobis", "l2"):
        # At r near 1 the step starts at the row and not on the way to the mean.
        options = {"joint": {"r": 0.999, "shrinkage": 0.0}, "mahalanobis": {"shrinkage": 0.0}, "l2": {}}[distance]
        fitted = catalogue().build("distance", distance, **options)
        fitted.fit(space.data, space=space)
        optimizer = catalogue().build("optimizer", "counterfactual-linear")
        answers = search(decision, fitted, optimizer, queries, vary=NUMBERS)
        moved = answers.table().reset_index(drop=True)[NUMBERS]
        before = queries.iloc[answers.run.numpy()].reset_index(drop=True)[NUMBERS]
        steps[distance] = (moved - before).mean()
    for column in ("age", "income", "debt"):
        slope = float(np.linalg.lstsq(design, task.train[column], rcond=None)[0][0])
        shares = {name: float(step[column] / step["savings"]) for name, step in steps.items()}
        where = {"part": "equations", "column": column, "queries": len(queries)}
        results.add({**where, "regression": slope, **shares})


def equations_table(results: Results) -> list[str]:
    """Return the table of the third part."""
    found = results.of("equations")
    lines = [
        "The score looks at savings alone: raise them to the ninetieth percentile. In a regression within jobs and "
        "homes a unit more of savings goes with so much more of the others. So much they move where job and home may "
        f"not, on average over {found[0]['queries']} queries:",
        "",
        "| column | regression | joint | mahalanobis | l2 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    names = ("regression", "joint", "mahalanobis", "l2")
    return lines + [
        f"| {one['column']} | " + " | ".join(f"{round(one[name], 3) + 0.0:+.3f}" for name in names) + " |"
        for one in found
    ]


def aims(results: Results) -> list[str]:
    """Return what was aimed at before anything was measured, what came out, and whether that holds or what does not."""
    lines, reasons = ["| aim | measured | holds |", "| --- | --- | --- |"], []
    for aim, found in ((aim, tuple(check(results))) for aim, check in AIMS.items()):
        for measured, failed in found:
            holds = f"no: {', '.join(failed)}" if failed else "yes"
            lines.append(f"| {aim} | {measured} | {holds} |")
            if failed and REASONS.get(aim) not in (None, *reasons):
                reasons.append(REASONS[aim])
    return lines + [line for reason in reasons for line in ("", reason)]


def _every_answer(results: Results) -> Checked:
    for table in TABLES:
        ours = [one for one in results.of("methods", table=table) if not one["version"]]
        every = [one for one in ours if not one["method"].endswith("5 columns")]
        for what, found in (("as it comes", [one for one in ours if one["method"] == "as it comes"]), ("all", every)):
            if found:
                least = min(found, key=lambda one: one["valid"] / one["tried"])
                broken = sum(one["violations"] for one in found)
                rate = least["valid"] / least["tried"]
                worst = f" ({least['model']}, {least['method']})" if rate < 1 else ""
                failed = ["queries are left"] * (rate < 1) + ["constraints are broken"] * (broken > 0)
                yield f"{table}, {what}: at least {share(rate)}{worst}, {broken} violations", failed


def _nearer_and_plausible(results: Results) -> Checked:
    for table in ("breast_cancer", "digits"):
        for model, search_name in (("logistic", "closed form"), ("perceptron", "gradient"), ("forest", "black box")):
            found = {one["method"]: one for one in results.of("methods", table=table, model=model)}
            euclidean = f"{search_name}, l2"
            peers = [name for name in found if name.startswith("DiCE")]
            pairs = [("joint", name) for name in (euclidean, *peers)] + [("joint by class", euclidean)]
            for distance, rival in pairs:
                ours, theirs = found.get(f"{search_name}, {distance}"), found.get(rival)
                if ours and theirs:
                    said, failed = _lower(ours, theirs)
                    yield f"{table}, {model}, {distance} against {rival}: {said}", failed


def _lower(ours: Record, theirs: Record) -> tuple[str, list[str]]:
    """Return the figures of both, and which of ours are not the lower ones."""
    judges = ("mahalanobis", "neighbours", "outliers")
    said = ", ".join(f"{COLUMNS[key][1](ours[key])} / {COLUMNS[key][1](theirs[key])}" for key in judges)
    # Below no outliers there is nothing.
    higher = [key for key in judges if ours[key] >= theirs[key] > 0 or ours[key] > theirs[key]]
    return said, [COLUMNS[key][0] + (" (equal)" if ours[key] == theirs[key] else "") for key in higher]


def _agrees(results: Results) -> Checked:
    for table in COMPONENTS:
        found = [
            one["second model"] for one in results.of("adversarial", table=table, distance="joint by class, r=0.5")
        ]
        if found:
            yield f"{table}: {spread(found)}", ["it agrees less"] * (float(np.mean(found)) < 0.95)


def _separates(results: Results) -> Checked:
    for table in COMPONENTS:
        for judge, kind in (("top components", "mahalanobis"), ("5-NN agrees", "joint by class, r=0.5")):
            high = [one[judge] for one in results.of("adversarial", table=table, distance=kind)]
            low = [one[judge] for one in results.of("adversarial", table=table, distance="l2")]
            if len(high) > 1 and len(low) > 1:
                apart = np.mean(high) - half_width(high) > np.mean(low) + half_width(low)
                yield f"{table}, {judge}: {kind} {spread(high)}, l2 {spread(low)}", ["they overlap"] * (not apart)


def _near_without_outliers(results: Results) -> Checked:
    found = {one["method"]: one for one in results.of("methods", table="breast_cancer", model="perceptron")}
    sparse = found.get("NICE sparsity")
    for name in ("gradient, mahalanobis", "gradient, joint r=0.9"):
        if name in found and sparse:
            one = found[name]
            figures = f"{name}: {one['mahalanobis']:.2f}, {share(one['outliers'])} / {share(sparse['outliers'])}"
            failed = ["Mahalanobis"] * (one["mahalanobis"] > 1) + ["outliers"] * (one["outliers"] > sparse["outliers"])
            yield figures, failed


def _sparse(results: Results) -> Checked:
    found = results.of("methods", table="breast_cancer")
    for one in found:
        if one["method"].endswith("5 columns"):
            # Whoever moves a few of many columns that hang together leaves the data: so do peers, where they move few.
            peers = [other for other in found if other["version"] and other["model"] == one["model"]]
            peers = [f"{other['method']} {share(other['outliers'])}" for other in peers if other["columns"] <= 5]
            beside = f" (peers with as few: {', '.join(peers)})" if peers else ""
            figures = (
                f"{one['valid']} of {one['tried']}, {one['columns']:.1f} columns, {share(one['outliers'])}{beside}"
            )
            failed = ["columns"] * (one["columns"] > 5) + ["outliers"] * (one["outliers"] >= 0.1)
            yield f"{one['model']}, {one['method']}: {figures}", failed


def _recovered(results: Results) -> Checked:
    for one in results.of("equations"):
        off = {name: abs(one[name] / one["regression"] - 1) for name in ("joint", "l2")}
        said = ", ".join(f"{name} {100 * value:.1f} % off" for name, value in off.items())
        failed = ["joint is off"] * (off["joint"] > 0.05) + ["l2 is not"] * (off["l2"] <= 0.05)
        yield f"{one['column']}: {said}", failed


NEARER = "Mahalanobis, 5-NN and outliers below L2 and DiCE at once (ours / theirs)"
FEW = "At most 5 columns of 30, under 10 % outliers"
AIMS: dict[str, Callable[[Results], Checked]] = {
    "Every query answered, every constraint kept": _every_answer,
    NEARER: _nearer_and_plausible,
    "Another model agrees with at least 0.95, class by class": _agrees,
    "Intervals apart from L2's": _separates,
    "Mahalanobis at most 1 on the perceptron, outliers no more than NICE's": _near_without_outliers,
    FEW: _sparse,
    "The equations come back within 5 %, not under L2": _recovered,
}
REASONS = {
    NEARER: "Where neighbours are not nearer or outliers not fewer than under L2: the black box goes towards rows that "
    "exist under any distance, so that its answers under L2 are as near to them, and only the law of the wanted class "
    "leads farther in; and outliers are so few that one answer of a hundred decides which are more. The law of a class "
    "asks for a longer way, which on digits a smooth model would not have needed.",
    FEW: "Where few columns make outliers: a row that is far from a smooth boundary is brought there by five columns "
    "of thirty only if they go to their bounds, without those that they hang together with. Nobody here does better "
    "with as few; NICE has fewer outliers and moves more columns.",
}
"""What is to be said where an aim is missed."""


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
