"""``preimage generate``, typed in."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from preimage.cli import main

from .conftest import folder, loaded


def test_every_prompt_with_every_seed(tmp_path, capsys):
    """Pictures lie beside a file that tells which is which, and are those of the model."""
    out = tmp_path / "drawn"
    model = f"sd:{folder('epsilon')}"
    typed = [
        "generate",
        "a red circle",
        "blue squares",
        "--model",
        model,
        "--seed",
        "3",
        "--seed",
        "5",
        "--out",
        str(out),
    ]
    assert main([*typed, "--device", "cpu", "-o", "steps=3"]) == 0
    assert capsys.readouterr().out == f"4 pictures are in {out}\n"
    records = [json.loads(line) for line in (out / "metadata.jsonl").read_text("utf-8").splitlines()]
    assert [(record["text"], record["seed"]) for record in records] == [
        ("a red circle", 3),
        ("a red circle", 5),
        ("blue squares", 3),
        ("blue squares", 5),
    ]
    assert records[0] == {"file_name": "0000.png", "text": "a red circle", "seed": 3, "model": model, "steps": "3"}
    (expected,) = loaded("epsilon", "image-generator", steps=3).generate(["blue squares"], [3])
    drawn = Image.open(out / "0002.png")
    assert np.abs(np.asarray(drawn, int) - np.asarray(expected, int)).max() <= 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["-o", "steps"], "-o steps is not of the form name=value"),
        (["-o", "stepps=3"], "stepps.*steps"),
        (["--out", "/dev/null/drawn"], "The pictures cannot be written to '/dev/null/drawn'"),
    ],
)
def test_mistakes_are_told_in_a_sentence(more, words, capsys):
    """A mistyped option and a folder that cannot be made end with a message and no traceback."""
    code = main(
        ["generate", "a red circle", "--model", f"sd:{folder('epsilon')}", "--device", "cpu", "-o", "steps=1", *more]
    )
    assert code != 0

    assert re.search(words, " ".join(capsys.readouterr().err.split()))
