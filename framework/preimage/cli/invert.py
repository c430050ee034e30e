"""``preimage invert``: which prompt would make this picture?"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage.cli import UsageError
from preimage.cli._options import add_pipeline_arguments, pipeline_from
from preimage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from preimage._catalogue import Catalogue
    from preimage.result import Result

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("picture", nargs="+", type=Path, metavar="PICTURE", help="a file; several are searched at once")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default: 0)")
    add_pipeline_arguments(parser)
    saving = parser.add_argument_group("saving and going on")
    saving.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="save the run there, now and then and at its end"
    )
    saving.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint; the budget counts from the start"
    )
    output = parser.add_argument_group("what comes out")
    output.add_argument(
        "--json", action="store_true", help="print the results as JSON: an object, or a list for several"
    )
    output.add_argument("--output", type=Path, metavar="FILE", help="write the same JSON to a file")
    output.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures, prompts and curves")
    output.add_argument(
        "--regenerate",
        metavar="LOADER:NAME",
        help="draw each prompt with this generator, such as miniworld:sd, beside its picture on the page",
    )
    output.add_argument("--quiet", action="store_true", help="show no progress")
    output.add_argument("--progress", action="store_true", help="show progress even where it is not read on a terminal")


def run(arguments: argparse.Namespace) -> int:
    """Search, print the results and return the exit code."""
    from preimage._catalogue import catalogue
    from preimage.cli.progress import Progress

    _check_files(arguments)
    installed = catalogue()
    _check_generator(arguments, installed)
    pipeline = pipeline_from(arguments, installed.settings.defaults)
    names = [str(picture) for picture in arguments.picture]
    with Progress(pipeline, names, quiet=arguments.quiet, forced=arguments.progress) as progress:
        results = pipeline.run(
            arguments.picture,
            seed=arguments.seed,
            listeners=progress.listeners,
            checkpoint=arguments.checkpoint,
            resume=arguments.resume,
            catalogue=installed,
        )
    _write(results, arguments, lambda: _drawn(results, arguments, pipeline.device, installed))
    return 130 if any(result.stop_reason == "interrupted" for result in results) else 0


def _check_files(arguments: argparse.Namespace) -> None:
    """Raise now for what would otherwise go wrong after a long search.

    Raises:
        UsageError: there is nothing to resume from.
        InputError: a file cannot be written, or would be overwritten by mistake.
    """
    if arguments.resume and arguments.checkpoint is None:
        message = "--resume needs to know where the run was saved: add --checkpoint FILE."
        raise UsageError(message)
    if arguments.checkpoint is not None and arguments.checkpoint.exists() and not arguments.resume:
        message = (
            f"{arguments.checkpoint} exists already and would be overwritten: add --resume to go on from it, remove "
            "it, or name another file."
        )
        raise InputError(message)
    for path in (arguments.checkpoint, arguments.output, arguments.html):
        if path is not None:
            _check_writable(path)


def _check_writable(path: Path) -> None:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        reason = "it is a folder" if path.is_dir() else f"{folder} cannot be written to"
        message = f"{path} cannot be written, because {reason}: name another file."
        raise InputError(message)


def _check_generator(arguments: argparse.Namespace, installed: Catalogue) -> None:
    """Raise now where prompts could not be drawn after the search."""
    if arguments.regenerate is None:
        return
    if arguments.html is None:
        message = "--regenerate draws on a page: add --html FILE, or use `preimage generate` for pictures alone."
        raise UsageError(message)
    loader = installed.describe("model", arguments.regenerate.partition(":")[0]).component
    if "image-generator" not in loader.trait("role"):
        message = (
            f"{arguments.regenerate} is loaded by {loader.name}, which draws no pictures "
            f"({', '.join(loader.trait('role'))}): name a generator, such as miniworld:sd."
        )
        raise UsageError(message)


def _drawn(
    results: Sequence[Result], arguments: argparse.Namespace, device: str | None, installed: Catalogue
) -> list[Image] | None:
    """Return each prompt's picture, if they are wanted."""
    from preimage.device import resolve_device

    if arguments.regenerate is None:
        return None
    model = installed.load_model(arguments.regenerate, "image-generator", device=resolve_device(device))
    drawn: list[Image] = model.generate([result.text for result in results], [arguments.seed] * len(results))
    return drawn


def _write(
    results: Sequence[Result], arguments: argparse.Namespace, draw: Callable[[], Sequence[Image] | None]
) -> None:
    """Put the results where they were asked for; the page last, because drawing for it may fail."""
    from preimage.result import as_json

    data: Any = [result.to_dict() for result in results]
    text = as_json(data if len(data) > 1 else data[0], indent=1)
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n", encoding="utf-8")
    if arguments.json:
        print(text)
    else:
        from preimage.cli.results import print_results

        print_results(results)
    if arguments.html is not None:
        from preimage.page import write_page

        arguments.html.parent.mkdir(parents=True, exist_ok=True)
        write_page(results, arguments.html, drawn=draw())
    for path in (arguments.output, arguments.html):
        if path is not None and not arguments.quiet:
            print(f"written to {path}", file=sys.stderr)
