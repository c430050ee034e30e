"""Results as people read them: in bold on a terminal, as plain text in a pipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from preimage.cli.table import aligned

if TYPE_CHECKING:
    from preimage.result import Result

__all__ = ["print_results", "printable", "served"]

_STOPS = {
    "num_steps": "the steps are used up",
    "max_candidates": "the candidates are used up",
    "max_passes": "the passes are used up",
    "max_seconds": "the time is used up",
    "patience": "no improvement for long enough",
    "target_loss": "the loss is low enough",
    "done": "the optimizer has nothing left to try",
    "interrupted": "interrupted",
}


def printable(text: str) -> str:
    r"""Return `text` with everything escaped that a terminal would act on.

    >>> printable("red\x1b[2J star")
    'red\\x1b[2J star'
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def served(counts: Mapping[str, int]) -> str:
    """Return how the words of an adapter's gradients were served, in percent.

    >>> served({"exact": 97, "nearest": 2, "zero": 1})
    '97.0 % exact, 2.0 % nearest, 1.0 % zero of 100 words'
    """
    total = sum(counts.values())
    shares = ", ".join(f"{100 * count / max(total, 1):.1f} % {how}" for how, count in counts.items())
    return f"{shares} of {total:,} words"


def print_results(results: Sequence[Result]) -> None:
    """Print each result: the prompt, what it is worth, and what it has cost."""
    from rich.console import Console
    from rich.text import Text

    # Soft wrapping, because a prompt is copied from here and must not come with line breaks.
    console = Console(highlight=False, soft_wrap=True)
    for number, result in enumerate(results):
        if number:
            console.print()
        if result.target.name:
            console.print(Text(printable(result.target.name), style="dim"))
        console.print(Text(printable(result.text), style="bold green"))
        for line in aligned(_facts(result)):
            console.print(Text(f"  {line}"))


def _facts(result: Result) -> list[tuple[str, str]]:
    spent = result.spent
    facts = [("loss", f"{result.loss:.4f}")]
    for name, value in result.terms.items():
        if name.partition("(")[0].endswith("-similarity"):
            facts.append(("similarity", f"{1 - value:.4f}  {name}"))
        elif len(result.terms) > 1:
            facts.append(("term", f"{value:.4f}  {name}"))
    facts += [("gradient", f"{served(counts)}  {name}") for name, counts in result.coverage.items()]
    steps = len(result.trajectory)
    cost = (
        f"{steps:,} step{'s' * (steps != 1)}, {spent.candidates:,} candidates, {spent.forward:,} forward and "
        f"{spent.backward:,} backward passes, {spent.seconds:.1f} s"
    )
    stop = _STOPS.get(result.stop_reason, result.stop_reason)
    return [
        *facts,
        ("cost", cost),
        ("stopped", f"{stop}; the best was found in step {result.best_step}"),
        ("seed", str(result.provenance.seed)),
    ]
