"""``preimage generate``: pictures of prompts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from preimage import catalogue
from preimage.cli import Parser, named_value
from preimage.device import resolve_device
from preimage.errors import InputError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out ``preimage generate ARGUMENTS`` and return the exit code.

    Raises:
        PreimageError: the model, an option or the folder cannot be used.
    """
    parser = Parser(
        prog="preimage generate",
        description="Draw prompts, each with every seed, as PNG files beside a metadata.jsonl that tells which is "
        "which. The same prompt, seed, model and options give the same picture.",
    )
    parser.add_argument("prompt", nargs="+", metavar="PROMPT", help="what to draw")
    parser.add_argument(
        "--model", required=True, metavar="LOADER:NAME", help="such as sd:stabilityai/stable-diffusion-2-1"
    )
    parser.add_argument(
        "--seed", type=int, action="append", metavar="N", help="of the noise; may be given several times (default: 0)"
    )
    parser.add_argument("--out", default="pictures", metavar="DIR", help="where to (default: pictures)")
    parser.add_argument("--device", metavar="NAME", help="such as cpu or cuda; the accelerator if there is one")
    parser.add_argument(
        "--dtype", default="float32", metavar="NAME", help="what the model computes in (default: float32)"
    )
    parser.add_argument(
        "-o",
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the model's loader, such as steps=20, guidance=5 or scheduler=ddim",
    )
    return _generate(parser.parse_args(arguments))


def _generate(arguments: argparse.Namespace) -> int:
    options = dict(named_value(text, "-o", "steps=20") for text in arguments.option)
    device = resolve_device(arguments.device)
    model = catalogue().load_model(arguments.model, "image-generator", device=device, dtype=arguments.dtype, **options)
    pairs = [(prompt, seed) for prompt in arguments.prompt for seed in arguments.seed or [0]]
    images = model.generate([prompt for prompt, _ in pairs], [seed for _, seed in pairs])
    folder = Path(arguments.out)
    records = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, ((prompt, seed), image) in enumerate(zip(pairs, images, strict=True)):
            name = f"{number:04d}.png"
            image.save(folder / name)
            records.append({"file_name": name, "text": prompt, "seed": seed, "model": arguments.model} | options)
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")
    except OSError as error:
        message = f"The pictures cannot be written to {str(folder)!r}: {error}. Choose another folder with --out."
        raise InputError(message) from error
    print(f"{len(images)} picture{'s are' if len(images) > 1 else ' is'} in {folder}")
    return 0
