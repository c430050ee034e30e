"""``preimage compare``: which method finds the better prompts, on these pictures, at equal cost?"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from preimage.cli import UsageError
from preimage.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from preimage.study.measures import Measure
    from preimage.study.record import Record
    from preimage.study.study import Progress

__all__ = ["add_arguments", "run"]

_COSTS = ("candidates", "passes", "seconds")

_LINE_EVERY = 10.0
"""Seconds between two lines of progress where there is no bar."""

_MEASURE = "measure_"
_NONE: dict[str, tuple[str, ...]] = {"measure_distances": (), "measure_generator_options": ()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "images",
        nargs="?",
        metavar="IMAGES",
        help="a folder of pictures (with metadata.jsonl or without), a dataset that was saved to disk, or what a "
        "plugin offers, such as miniworld:held-out:20",
    )
    study = parser.add_argument_group("what is compared")
    study.add_argument(
        "--recipes", nargs="+", type=Path, metavar="FILE", help="YAML or TOML; their stems are the names"
    )
    study.add_argument("--seeds", type=int, metavar="N", help="run everything with the seeds 0 to N-1 (default: 1)")
    study.add_argument("--limit", type=int, metavar="N", help="the first N pictures only")
    study.add_argument(
        "--equalise", choices=_COSTS, help="give every recipe the same total, which its stages share, of these"
    )
    study.add_argument(
        "--budget", type=float, metavar="TOTAL", help="that total (default: that of the most frugal recipe)"
    )
    saving = parser.add_argument_group("where it is kept")
    saving.add_argument("--out", type=Path, metavar="DIR", help="records, pictures, tables and report")
    saving.add_argument("--resume", type=Path, metavar="DIR", help="go on with the study in DIR, as it was begun")
    saving.add_argument("--retry-failed", action="store_true", help="run again what failed")
    machine = parser.add_argument_group("on what it runs")
    machine.add_argument("--workers", type=int, metavar="N", help="so many processes (default: this one alone)")
    machine.add_argument(
        "--executor", default="", metavar="NAME[:ADDRESS]", help="here, processes, dask, dask:tcp://10.0.0.7:8786, …"
    )
    machine.add_argument("--threads", type=int, metavar="N", help="that each run may use (default: 1)")
    _add_measures(parser)
    output = parser.add_argument_group("what is shown")
    output.add_argument("--quiet", action="store_true", help="show neither progress nor summary")
    output.add_argument("--progress", action="store_true", help="show progress even where it is not read on a terminal")


def _add_measures(parser: argparse.ArgumentParser) -> None:
    from preimage.configuration import options_of
    from preimage.study.measures import MeasureOptions

    group = parser.add_argument_group("what is measured (default: what the pictures' plugin suggests; none for off)")
    for option in options_of(MeasureOptions):
        group.add_argument(
            f"--measure-{option.name.replace('_', '-')}",
            metavar="VALUE",
            # argparse takes a percent sign for the beginning of a name.
            help=option.help.replace("%", "%%"),
        )
    group.add_argument("--no-measures", action="store_true", help="measure nothing but loss and cost")


def run(arguments: argparse.Namespace) -> int:
    """Carry out what is missing, print a summary and return the exit code."""
    from preimage.study.study import Study, go_on

    folder = _folder(arguments)
    options: dict[str, Any] = {
        "executor": arguments.executor,
        "workers": arguments.workers,
        "retry_failed": arguments.retry_failed,
    }
    study = None if arguments.resume else Study(**_described(arguments))
    with _View(quiet=arguments.quiet, forced=arguments.progress) as view:
        try:
            if study is None:
                records = go_on(folder, listener=view.show, **options)
            else:
                records = study.run(folder, listener=view.show, **options)
        except KeyboardInterrupt:
            again = " --retry-failed" if arguments.retry_failed else ""
            view.say(f"stopped; the runs that had ended are kept: preimage compare --resume {folder}{again}")
            raise
    if not arguments.quiet:
        _print_summary(records, folder)
    return 1 if any(record.status == "failed" for record in records) else 0


def _folder(arguments: argparse.Namespace) -> Path:
    """Return the study's folder.

    Raises:
        UsageError: options are missing, or contradict each other.
    """
    if arguments.resume is None:
        missing = [name for name in ("images", "recipes", "out") if not getattr(arguments, name)]
        if missing:
            names = " and ".join({"images": "IMAGES"}.get(name, f"--{name}") for name in missing)
            message = f"{names} must be given, or --resume DIR to go on with a study."
            raise UsageError(message)
        return Path(arguments.out)
    shapes = ("images", "recipes", "seeds", "limit", "equalise", "budget", "threads", "out")
    given = [name for name in shapes if getattr(arguments, name) is not None]
    given += [name for name in vars(arguments) if name.startswith(_MEASURE) and getattr(arguments, name) is not None]
    if given:
        names = " and ".join({"images": "IMAGES"}.get(name, f"--{name.replace('_', '-')}") for name in given)
        message = f"--resume goes on with a study as it was begun, so {names} cannot be given beside it: leave it out."
        raise UsageError(message)
    return Path(arguments.resume)


def _described(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `Study`."""
    measures = {
        # As a text it would be the name of a model or of a distance.
        name.removeprefix(_MEASURE): _NONE.get(name) if value.lower() == "none" else value
        for name, value in vars(arguments).items()
        if name.startswith(_MEASURE) and value is not None
    }
    if arguments.no_measures and measures:
        first = next(iter(measures)).replace("_", "-")
        message = f"--no-measures is given beside --measure-{first}: leave one of them out."
        raise UsageError(message)
    if arguments.budget is not None and arguments.equalise is None:
        message = f"--budget {arguments.budget:g} does not say of what: add --equalise {' or '.join(_COSTS)}."
        raise UsageError(message)
    if arguments.seeds is not None and arguments.seeds < 1:
        message = f"--seeds {arguments.seeds} leaves nothing to run: ask for 1 or more."
        raise InputError(message)
    return {
        "images": arguments.images,
        "recipes": arguments.recipes,
        "seeds": 1 if arguments.seeds is None else arguments.seeds,
        "measures": None if arguments.no_measures else measures,
        "equalise": arguments.equalise,
        "budget": arguments.budget,
        "limit": arguments.limit,
        "threads": 1 if arguments.threads is None else arguments.threads,
    }


class _View:
    """One bar for the runs on a terminal, a line now and then elsewhere, on stderr; use as a context manager."""

    def __init__(self, *, quiet: bool, forced: bool, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False) if console is None else console
        self._bar = _bar(self._console) if self._console.is_terminal and not quiet else None
        self._lines = forced and not quiet and self._bar is None
        self._task: Any = None
        self._next = 0.0

    def __enter__(self) -> _View:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Show how far the study is."""
        last = "" if progress.record is None else str(progress.record.key)
        failed = f"{progress.failed} failed" if progress.failed else ""
        if self._bar is not None:
            if self._task is None:
                # What an earlier process did says nothing about the time that is left.
                self._task = self._bar.add_task(
                    "runs", total=progress.total, completed=progress.done, failed=failed, last=last
                )
            self._bar.update(self._task, completed=progress.done, failed=failed, last=last)
        elif self._lines and (time.monotonic() >= self._next or progress.done == progress.total):
            self._next = time.monotonic() + _LINE_EVERY
            self.say(", ".join(filter(None, [f"{progress.done} of {progress.total} runs", failed, last])))

    def say(self, sentence: str) -> None:
        """Print one line."""
        self._console.print(sentence, markup=False, soft_wrap=True)


def _bar(console: Console) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("[red]{task.fields[failed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[last]}"),
        console=console,
        transient=True,
    )


def _print_summary(records: Sequence[Record], folder: Path) -> None:
    """Print a line for each recipe and for each measure, the first error, and where the rest is."""
    from preimage.cli.table import aligned

    rows = [("recipe", "runs", "failed", "loss", "candidates", "passes", "seconds")]
    recipes = list(dict.fromkeys(record.key.recipe for record in records))
    for recipe in recipes:
        own = [record for record in records if record.key.recipe == recipe]
        good = [record for record in own if record.status == "ok"]
        rows.append(
            (
                recipe,
                f"{len(own)}",
                f"{len(own) - len(good)}",
                _mean([record.loss for record in good if record.loss is not None], "{:.4f}"),
                _mean([record.spent.candidates for record in good], "{:,.0f}"),
                _mean([record.spent.forward + record.spent.backward for record in good], "{:,.0f}"),
                _mean([record.spent.seconds for record in good], "{:.1f}"),
            )
        )
    print("\n".join(aligned(rows, right=range(1, 7))))
    means = [(measure.title, *_means(records, recipes, measure)) for measure in _measured(records, folder)]
    if means:
        print()
        print("\n".join(aligned([("mean", *recipes), *means], right=range(1, len(recipes) + 1))))
        print()
    failed = [record for record in records if record.status == "failed"]
    if failed:
        print(f"{failed[0].key} failed: {failed[0].error}", file=sys.stderr)
        print(f"after mending it: preimage compare --resume {folder} --retry-failed", file=sys.stderr)
    print(f"report: {folder / 'report.html'}")


def _measured(records: Sequence[Record], folder: Path) -> list[Measure]:
    """Return what the numbers in the records are."""
    from preimage._catalogue import catalogue
    from preimage.study.measures import as_options, measures_of
    from preimage.study.store import Store

    with Store.open(folder) as store:
        options = store.spec.measures
    if options is None:
        return []
    known = measures_of(as_options(options), catalogue())
    return [measure for measure in known if any(measure.name in record.measures for record in records)]


def _means(records: Sequence[Record], recipes: Sequence[str], measure: Measure) -> list[str]:
    """Return the mean of a measure for each recipe."""
    from math import exp, log

    found: dict[str, list[float]] = {recipe: [] for recipe in recipes}
    for record in records:
        if measure.name in record.measures:
            value = record.measures[measure.name]
            found[record.key.recipe].append(log(value) if measure.geometric else value)
    if measure.geometric:
        return [f"{exp(sum(values) / len(values)):.4g}" if values else "-" for values in found.values()]
    return [_mean(values, "{:.4f}") for values in found.values()]


def _mean(values: Sequence[float], form: str) -> str:
    return form.format(sum(values) / len(values)) if values else "-"
