"""``preimage adapt``: fit an adapter and say how good it is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from preimage import catalogue
from preimage.cli import Parser, named_value
from preimage.cli.table import aligned
from preimage.errors import AssemblyError, InputError

if TYPE_CHECKING:
    from preimage.api import TextSpace

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out ``preimage adapt ARGUMENTS`` and return the exit code.

    Raises:
        PreimageError: a model, an option or the words cannot be used.
    """
    parser = Parser(
        prog="preimage adapt",
        description="Fit an adapter that carries gradients from the target model back to the source model, print how "
        "well it maps the words that it was not fitted on, and keep it for `preimage invert`.",
    )
    parser.add_argument("source", metavar="SOURCE", help="the model whose tokens are searched, such as miniworld:clip")
    parser.add_argument("target", metavar="TARGET", help="the model of the other objective")
    parser.add_argument("--adapter", default="fuse", metavar="NAME", help="which adapter (default: fuse)")
    parser.add_argument(
        "-o", "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the adapter"
    )
    parser.add_argument("--device", default="cpu", help="where it is fitted (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    return _adapt(parser.parse_args(arguments))


def _adapt(arguments: argparse.Namespace) -> int:
    options = dict(named_value(text, "-o", "max_subtokens=3") for text in arguments.option)
    source, target = (_space(reference, arguments.device) for reference in (arguments.source, arguments.target))
    adapter = catalogue().build("adapter", arguments.adapter, {"source": source, "target": target}, **options)
    adapter.fit()
    record = _record(arguments, adapter)
    if arguments.json:
        print(json.dumps(record, indent=2))
    else:
        print("\n".join(_lines(record)))
    return 0


def _space(reference: str, device: str) -> TextSpace:
    """Return the texts of a model, in the first of its loader's roles that reads any.

    Raises:
        AssemblyError: none does.
        InputError: the reference names no model.
    """
    installed = catalogue()
    scheme, colon, name = reference.partition(":")
    if not (scheme and colon and name):
        message = f"{reference!r} is not of the form loader:name: write, for example, miniworld:clip."
        raise InputError(message)
    roles = installed.describe("model", scheme).component.trait("role")
    refusal: AssemblyError | None = None
    for role in roles:
        try:
            space = getattr(installed.load_model(reference, role, device=device), "space", None)
        except AssemblyError as error:
            refusal = error
            continue
        if space is not None:
            found: TextSpace = space
            return found
    message = (
        f"{reference} reads no texts in any of its roles ({', '.join(roles) or 'none'}), so that there are no tokens "
        "to adapt: name a language model, a classifier or a text encoder."
    )
    raise AssemblyError(message) from refusal


def _record(arguments: argparse.Namespace, adapter: Any) -> dict[str, Any]:
    """Return what is printed; adapters of other plugins may not tell how good they are."""
    saved_in = getattr(adapter, "saved_in", None)
    return {
        "adapter": arguments.adapter,
        "source": arguments.source,
        "target": arguments.target,
        "cases": [
            {
                "source_tokens": quality.case[0],
                "target_tokens": quality.case[1],
                "words": quality.n_words,
                "residual": quality.residual,
                "held_out": quality.held_out,
            }
            for quality in getattr(adapter, "quality", ())
        ],
        "saved_in": None if saved_in is None else str(saved_in),
    }


def _lines(record: dict[str, Any]) -> list[str]:
    lines = [f"{record['adapter']}: {record['source']} to {record['target']}"]
    if record["cases"]:
        head = ("source tokens", "target tokens", "words", "residual", "held out")
        rows = [
            (
                str(case["source_tokens"]),
                str(case["target_tokens"]),
                str(case["words"]),
                f"{case['residual']:.3f}",
                "-" if case["held_out"] is None else f"{case['held_out']:.3f}",
            )
            for case in record["cases"]
        ]
        lines += ["", *aligned([head, *rows], right=range(5)), ""]
        lines.append("residual: |map - target| / |target|, on words that were fitted and on words that were held out")
    else:
        lines.append("there was no word to learn from: it passes no gradient")
    lines.append(f"kept in {record['saved_in']}" if record["saved_in"] else "not kept")
    return lines
