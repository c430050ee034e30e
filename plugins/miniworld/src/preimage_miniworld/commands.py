"""``preimage miniworld``: pictures to try things on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from preimage.cli import Parser
from preimage.errors import InputError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out ``preimage miniworld ARGUMENTS`` and return the exit code.

    Raises:
        InputError: the folder cannot be written, or the request makes no sense.
    """
    parser = Parser(prog="preimage miniworld", description="The mini world: scenes whose truth is known.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sample = commands.add_parser(
        "sample",
        help="write pictures with their captions",
        description="Write pictures of random scenes as PNG files, with captions and attributes in metadata.jsonl.",
    )
    sample.add_argument("folder", metavar="DIR", help="where to; made if it is not there")
    sample.add_argument("-n", "--number", type=int, default=20, metavar="N", help="how many (default: 20)")
    sample.add_argument(
        "--split",
        default="held-out",
        choices=("train", "validation", "held-out"),
        help="which scenes; no model has seen the held-out ones (default: held-out)",
    )
    sample.add_argument("--seed", type=int, default=0, help="equal seeds give equal folders (default: 0)")
    return _sample(parser.parse_args(arguments))


def _sample(arguments: argparse.Namespace) -> int:
    from preimage_miniworld.data import write_folder

    try:
        written = write_folder(arguments.folder, arguments.number, arguments.split, arguments.seed)
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error
    print(f"{len(written)} pictures and metadata.jsonl are in {arguments.folder}")
    return 0
