"""``preimage explain``: what would have been decided otherwise, for rows of a table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from preimage.cli import Parser, UsageError, named_value
from preimage.cli.table import aligned
from preimage.errors import InputError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out ``preimage explain ARGUMENTS`` and return the exit code.

    Returns:
        0, or 1 when a row has no answer.

    Raises:
        PreimageError: the table, the model or an option cannot be used.
    """
    parser = Parser(
        prog="preimage explain",
        description="Find the nearest rows that a model decides otherwise. Every answer has been put to the model as "
        "it is printed.",
    )
    parser.add_argument(
        "table", metavar="TABLE", help="a CSV or Parquet file: the rows to explain, and what rows are like"
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="FILE|MODULE:NAME",
        help="a .skops file, a .joblib or .pkl file (with --trust-model), or what a Python module holds",
    )
    parser.add_argument("--trust-model", action="store_true", help="open a pickle, which runs whatever code it holds")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--row", type=int, action="append", metavar="N", help="a row, counted from 0; several times for more"
    )
    which.add_argument("--all", action="store_true", help="every row of the table")
    parser.add_argument(
        "--target", default="opposite", metavar="CLASS", help="what shall be decided (default: opposite)"
    )
    parser.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column that the model does not read, such as the label",
    )
    parser.add_argument("--immutable", action="append", default=[], metavar="COLUMN", help="a column that must stay")
    parser.add_argument(
        "--vary", action="append", metavar="COLUMN", help="a column that may change; only these, where given"
    )
    parser.add_argument("--range", action="append", default=[], metavar="COLUMN=LOW:HIGH", help="bounds of a number")
    parser.add_argument("--distance", default="joint", metavar="NAME", help="which distance (default: joint)")
    parser.add_argument(
        "--method", default="auto", metavar="NAME", help="which search (default: the fastest that fits)"
    )
    parser.add_argument(
        "-o", "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the method"
    )
    parser.add_argument("--count", type=int, default=1, metavar="N", help="answers to each row (default: 1)")
    parser.add_argument("--max-changed", type=int, metavar="N", help="columns that an answer may change at most")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all randomness (default: 0)")
    parser.add_argument("--report", metavar="FILE", help="write an HTML page that needs nothing else")
    parser.add_argument("--out", metavar="FILE", help="write all answers as a CSV table")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return _explain(parser.parse_args(arguments))


def _explain(arguments: argparse.Namespace) -> int:
    from preimage_counterfactual.explainer import CounterfactualExplainer
    from preimage_counterfactual.saved_models import load_model

    table = _without(_read(arguments.table), arguments.drop, arguments.table)
    chosen = list(range(len(table))) if arguments.all else arguments.row
    strange = [row for row in chosen if not 0 <= row < len(table)]
    if strange:
        message = f"{arguments.table} has the rows 0 to {len(table) - 1}, and --row asks for {strange[0]}."
        raise UsageError(message)
    explainer = CounterfactualExplainer(
        load_model(arguments.model, trust=arguments.trust_model),
        distance=arguments.distance,
        method=arguments.method,
        method_options=dict(named_value(text, "-o", "rounds=20") for text in arguments.option),
        columns={"immutable": arguments.immutable},
        random_state=arguments.seed,
    ).fit(table)
    explanation = explainer.explain(
        table.iloc[chosen].reset_index(drop=True),
        desired_class=_target(arguments.target, explainer.decision_.classes),
        total_cfs=arguments.count,
        features_to_vary=arguments.vary,
        permitted_range=dict(_bounds(text) for text in arguments.range) or None,
        max_changed=arguments.max_changed,
    )
    if arguments.report:
        explanation.write_report(arguments.report, title=f"{Path(arguments.table).name}: what would decide otherwise")
    if arguments.out:
        _write(explanation, chosen, arguments.out)
    print(_json(explanation, chosen) if arguments.json else "\n".join(_lines(explanation, chosen)))
    return 0 if explanation.found.all() else 1


def _read(path: str) -> Any:
    """Return a table.

    Raises:
        InputError: it cannot be read.
    """
    import pandas as pd

    readers: dict[str, Callable[[str], Any]] = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    read = readers.get(Path(path).suffix.lower())
    if read is None:
        message = f"{path} is neither a .csv nor a .parquet file: save the table as one of them."
        raise InputError(message)
    try:
        return read(path)
    except (OSError, ValueError, ImportError) as error:
        message = f"{path} cannot be read as a table ({error}): check the file."
        raise InputError(message) from error


def _without(table: Any, names: Sequence[str], path: str) -> Any:
    """Return a table without some columns.

    Raises:
        InputError: it does not have one of them.
    """
    strange = [name for name in names if name not in table.columns]
    if strange:
        message = f"{path} has no column {strange[0]!r} to drop; it has {', '.join(map(str, table.columns))}."
        raise InputError(message)
    return table.drop(columns=list(names))


def _bounds(text: str) -> tuple[str, tuple[float | None, float | None]]:
    name, value = named_value(text, "--range", "age=18:65")
    low, colon, high = value.partition(":")
    try:
        if not colon:
            raise ValueError
        return name, (float(low) if low else None, float(high) if high else None)
    except ValueError:
        message = f"--range {text} gives no bounds: write, for example, --range age=18:65 or --range age=18:."
        raise UsageError(message) from None


def _target(text: str, classes: Sequence[Any]) -> Any:
    """Return the class that is written so; what is none is left to the decision's message."""
    return next((one for one in classes if str(one) == text), text)


def _lines(explanation: Any, chosen: Sequence[int]) -> list[str]:
    lines = []
    for place, row in enumerate(chosen):
        one = explanation[place]
        lines.append(f"row {row}, decided {one.decision}")
        lines += [f"  {sentence}" for sentence in explanation.sentences(place)]
        for answer in one.counterfactuals:
            cells = [
                (str(change.column), _short(change.before), _short(change.after), _step(change))
                for change in answer.changes
            ]
            lines += [
                "",
                *(f"  {line}" for line in aligned([("column", "before", "after", "step"), *cells], right=(3,))),
            ]
        lines.append("")
    answered = int(explanation.found.sum())
    lines.append(f"{answered} of {len(chosen)} answered by {explanation.method} in {explanation.answers.seconds:.2g} s")
    return lines


def _short(value: Any) -> str:
    from preimage_counterfactual.sentences import value_text

    return value_text(value)


def _step(change: Any) -> str:
    return "" if change.step is None else f"{change.step:+.2f} sd"


def _json(explanation: Any, chosen: Sequence[int]) -> str:
    record = json.loads(explanation.to_json())
    for line, row in zip(record["rows"], chosen, strict=True):
        line["position"] = row
    return json.dumps(record, indent=2)


def _write(explanation: Any, chosen: Sequence[int], path: str) -> None:
    frame = explanation.to_frame()
    frame["row"] = [chosen[place] for place in frame["row"]]
    try:
        frame.to_csv(path, index=False)
    except OSError as error:
        message = f"{path} cannot be written ({error}): check the folder."
        raise InputError(message) from error
