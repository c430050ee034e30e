"""``preimage explain``: what would have been decided otherwise, for rows of a table, texts and prompts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from preimage.cli import Parser, UsageError, named_value
from preimage.cli.table import aligned
from preimage.errors import InputError

__all__ = ["main"]

_OF_TABLES: dict[str, Any] = {
    "row": None,
    "all": False,
    "drop": [],
    "immutable": [],
    "vary": None,
    "range": [],
    "desired_range": None,
    "missing": "refuse",
    "count": 1,
    "max_changed": None,
    "report": None,
    "out": None,
    "trust_model": False,
}
_OF_PROMPTS: dict[str, Any] = {"judge": None, "instead_of": [], "seeds": None, "steps": None, "pictures": None}
_OF_WORDS: dict[str, Any] = {"language_model": None, "like": None}
"""Options that go with one kind of input alone, with their defaults."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out ``preimage explain ARGUMENTS`` and return the exit code.

    Returns:
        0, or 1 when a row, text or prompt has no answer.

    Raises:
        PreimageError: the table, the model or an option cannot be used.
    """
    parser = Parser(
        prog="preimage explain",
        description="Find the nearest rows of a table, the nearest text, or the nearest prompt, that a model decides "
        "otherwise. Every answer has been put to the model as it is printed.",
    )
    parser.add_argument(
        "table",
        metavar="TABLE",
        nargs="?",
        help="a CSV or Parquet file: the rows to explain, and what rows are like",
    )
    parser.add_argument(
        "--text", action="append", metavar="TEXT", help="a text to explain instead; several times for more"
    )
    parser.add_argument(
        "--prompt", action="append", metavar="PROMPT", help="a prompt whose pictures to explain; several times for more"
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="FILE|MODULE:NAME",
        help="a .skops file, a .joblib or .pkl file (with --trust-model), or what a Python module holds; for texts a "
        "classifier, such as hf:./sentiment, for prompts a generator, such as sd:./diffusion",
    )
    parser.add_argument("--trust-model", action="store_true", help="open a pickle, which runs whatever code it holds")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--row", type=int, action="append", metavar="N", help="a row, counted from 0; several times for more"
    )
    which.add_argument("--all", action="store_true", help="every row of the table")
    parser.add_argument(
        "--target",
        default="opposite",
        metavar="CLASS",
        help="what shall be decided (default: opposite); for prompts what the pictures shall show, described",
    )
    parser.add_argument(
        "--desired-range", metavar="LOW:HIGH", help="between what a regression shall lie, instead of --target"
    )
    parser.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column to leave out; those that the model is known not to read are left out anyway",
    )
    parser.add_argument("--immutable", action="append", default=[], metavar="COLUMN", help="a column that must stay")
    parser.add_argument(
        "--vary", action="append", metavar="COLUMN", help="a column that may change; only these, where given"
    )
    parser.add_argument("--range", action="append", default=[], metavar="COLUMN=LOW:HIGH", help="bounds of a number")
    parser.add_argument(
        "--missing",
        choices=["refuse", "keep"],
        default="refuse",
        help="whether cells may be missing, which then stay so (default: refuse)",
    )
    parser.add_argument(
        "--distance", metavar="NAME", help="which distance (default: joint; of texts: edit-distance, in words)"
    )
    parser.add_argument(
        "--method", metavar="NAME", help="which search (default: the fastest that fits; of texts: word-edits)"
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
    words = parser.add_argument_group("texts and prompts")
    words.add_argument("--language-model", metavar="MODEL", help="says which words are plausible, such as hf:gpt2")
    words.add_argument(
        "--like", metavar="FILE", help="texts whose words may be put in: a text a line, or JSON lines with a 'text'"
    )
    pictures = parser.add_argument_group("prompts")
    pictures.add_argument(
        "--judge", metavar="MODEL", help="tells pictures apart by descriptions, such as open_clip:ViT-B-32/openai"
    )
    pictures.add_argument(
        "--instead-of",
        action="append",
        default=[],
        metavar="TEXT",
        help="a description of what they show now; several times for more that --target is told apart from",
    )
    pictures.add_argument("--seeds", type=int, nargs="+", metavar="N", help="of the pictures (default: 0 1)")
    pictures.add_argument("--steps", type=int, metavar="N", help="denoising steps of a picture")
    pictures.add_argument("--pictures", metavar="FOLDER", help="write the pictures before and after")
    return _dispatch(parser.parse_args(arguments))


def _dispatch(arguments: argparse.Namespace) -> int:
    """Explain what the command line gives: a table, texts or prompts."""
    given = [name for name in ("table", "text", "prompt") if getattr(arguments, name)]
    if len(given) != 1:
        message = (
            f"{' and '.join(given) or 'Nothing'} is given to explain: give one of a TABLE with --row or --all, "
            "--text TEXT, or --prompt PROMPT."
        )
        raise UsageError(message)
    (kind,) = given
    foreign = {"table": _OF_PROMPTS | _OF_WORDS, "text": _OF_TABLES | _OF_PROMPTS, "prompt": _OF_TABLES}[kind]
    for name, default in foreign.items():
        if getattr(arguments, name) != default:
            message = f"--{name.replace('_', '-')} does not go with a {kind}: leave it out."
            raise UsageError(message)
    if kind == "table":
        if arguments.row is None and not arguments.all:
            message = "One of --row N and --all is needed, to say which rows of the table to explain."
            raise UsageError(message)
        return _explain(arguments)
    from preimage_counterfactual.texts.command import explain_prompt, explain_texts

    if kind == "text":
        return explain_texts(arguments)
    if arguments.judge is None or not arguments.instead_of or arguments.target == "opposite":
        message = (
            "A prompt needs --target 'a blue star', --instead-of 'a red star', and --judge, the encoder that tells "
            "pictures of the one from pictures of the other."
        )
        raise UsageError(message)
    arguments.seeds = arguments.seeds or [0, 1]
    return explain_prompt(arguments)


def _explain(arguments: argparse.Namespace) -> int:
    from preimage_counterfactual.explainer import CounterfactualExplainer
    from preimage_counterfactual.saved_models import load_model

    model = load_model(arguments.model, trust=arguments.trust_model)
    table = _read_by(model, _without(_read(arguments.table), arguments.drop, arguments.table))
    chosen = list(range(len(table))) if arguments.all else arguments.row
    strange = [row for row in chosen if not 0 <= row < len(table)]
    if strange:
        message = f"{arguments.table} has the rows 0 to {len(table) - 1}, and --row asks for {strange[0]}."
        raise UsageError(message)
    explainer = CounterfactualExplainer(
        model,
        distance=arguments.distance or "joint",
        method=arguments.method or "auto",
        method_options=dict(named_value(text, "-o", "rounds=20") for text in arguments.option),
        desired_range=arguments.desired_range and _two(arguments.desired_range, "--desired-range ", "5:8"),
        columns={"immutable": arguments.immutable, "missing": arguments.missing},
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
        title = f"{Path(arguments.table).name}: what would decide otherwise"
        explanation.write_report(arguments.report, title=title, numbers=chosen)
    if arguments.out:
        _write(explanation, chosen, arguments.out)
    print(_json(explanation, chosen) if arguments.json else "\n".join(_lines(explanation, chosen)))
    return 0 if all(one.status in ("found", "already") for one in explanation) else 1


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


def _read_by(model: Any, table: Any) -> Any:
    """Return a table without what a model does not read, such as the label, and say so."""
    names = list(getattr(model, "feature_names_in_", table.columns))
    unread = [str(name) for name in table.columns if name not in names]
    if unread:
        print(f"Left out, since the model does not read it: {', '.join(unread)}.", file=sys.stderr)
    return table[[name for name in table.columns if name in names]]


def _bounds(text: str) -> tuple[str, tuple[float | None, float | None]]:
    name, value = named_value(text, "--range", "age=18:65")
    return name, _two(value, f"--range {name}=", "18:65")


def _two(text: str, before: str, example: str) -> tuple[float | None, float | None]:
    """Return the two numbers of LOW:HIGH, None where one is left out."""
    low, colon, high = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return (float(low) if low else None, float(high) if high else None)
    except ValueError:
        message = (
            f"{before}{text} gives no bounds: write, for example, {before}{example}, without the one of the two that "
            "there is not."
        )
        raise UsageError(message) from None


def _target(text: str, classes: Sequence[Any]) -> Any:
    """Return the class that is written so; what is none is left to the decision's message."""
    return next((one for one in classes if str(one) == text), text)


def _lines(explanation: Any, chosen: Sequence[int]) -> list[str]:
    lines = []
    for place, row in enumerate(chosen):
        one = explanation[place]
        lines.append(f"row {row}, decided {_short(one.decision)}")
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
    return [*lines, explanation.summary()]


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
    head = frame.columns[0]  # "row", unless the table has a column of that name
    frame[head] = [chosen[place] for place in frame[head]]
    try:
        frame.to_csv(path, index=False)
    except OSError as error:
        message = f"{path} cannot be written ({error}): check the folder."
        raise InputError(message) from error
