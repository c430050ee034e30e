"""``preimage explain --text`` and ``--prompt``: what they print and write."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage.cli import named_value
from preimage.cli.table import aligned
from preimage.errors import InputError

if TYPE_CHECKING:
    from preimage_counterfactual.texts.answer import PromptCounterfactual, TextCounterfactual

__all__ = ["explain_prompt", "explain_texts"]


def explain_texts(arguments: argparse.Namespace) -> int:
    """Explain the texts of a command line, and return the exit code: 1 when one has no answer."""
    from preimage_counterfactual.texts.explainer import TextExplainer

    explainer = TextExplainer(arguments.model, **_settings(arguments))
    if arguments.like:
        explainer.fit(_like(arguments.like))
    answers = explainer.explain(arguments.text, desired_class=arguments.target)
    return _told(answers, as_json=arguments.json)


def explain_prompt(arguments: argparse.Namespace) -> int:
    """Explain the prompts of a command line, and return the exit code: 1 when one has no answer."""
    from preimage_counterfactual.texts.prompts import PromptExplainer

    steps = {} if arguments.steps is None else {"steps": arguments.steps}
    explainer = PromptExplainer(
        arguments.model,
        judge=arguments.judge,
        seeds=arguments.seeds,
        generator_options=steps,
        **_settings(arguments),
    )
    if arguments.like:
        explainer.fit(_like(arguments.like))
    answers = [
        explainer.explain(prompt, wanted=arguments.target, instead_of=arguments.instead_of)
        for prompt in arguments.prompt
    ]
    if arguments.pictures:
        _write(answers, Path(arguments.pictures))
    return _told(answers, as_json=arguments.json)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what both explainers are told."""
    settings: dict[str, Any] = {
        "language_model": arguments.language_model,
        "method_options": dict(named_value(text, "-o", "search_width=256") for text in arguments.option),
        "random_state": arguments.seed,
    }
    # Rows of a table have other defaults.
    if arguments.distance is not None:
        settings["distance"] = arguments.distance
    if arguments.method is not None:
        settings["method"] = arguments.method
    return settings


def _like(path: str) -> list[str]:
    """Return the texts of a file: its lines, or what is called ``text`` in the records of a JSON-lines file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        lines = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
        return [str(json.loads(line)["text"]) for line in lines] if path.endswith(".jsonl") else lines
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = (
            f"{path} cannot be read as texts ({error}): give a file of a text a line, or JSON lines with a 'text'."
        )
        raise InputError(message) from error


def _told(answers: Sequence[TextCounterfactual], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps([answer.to_dict() for answer in answers], ensure_ascii=False, indent=2))
    else:
        print("\n\n".join(line for answer in answers for line in ["\n".join(_lines(answer))]))
    return 0 if all(answer.found for answer in answers) else 1


def _lines(answer: TextCounterfactual) -> list[str]:
    lines = [f"{answer.original}, decided {answer.decision}", f"  {answer.sentence()}"]
    if answer.text is None:
        return lines
    rows = [
        ("", "before", "after"),
        ("text", answer.original, answer.text),
        (f"decided {answer.wanted}", _share(answer.probability), _share(answer.probability_after)),
    ]
    if answer.nats is not None:
        rows.append(("nats per token", f"{answer.nats:.2f}", f"{answer.nats_after:.2f}"))
    return [*lines, "", *(f"  {line}" for line in aligned(rows))]


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.3g} %"


def _write(answers: Sequence[PromptCounterfactual], folder: Path) -> None:
    """Write the pictures of each prompt before and after, side by side in name.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, answer in enumerate(answers):
            for when, pictures in (("before", answer.pictures), ("after", answer.pictures_after)):
                for seed, picture in zip(answer.seeds, pictures, strict=False):
                    picture.save(folder / f"{number:04d}-{seed}-{when}.png")
    except OSError as error:
        message = f"{folder} cannot be written ({error}): check the folder."
        raise InputError(message) from error
