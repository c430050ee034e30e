"""``preimage generate``, typed in."""

from __future__ import annotations

import html
import json
import re

import numpy as np
import pytest
from PIL import Image

from preimage.cli import main
from preimage.testing.toy_models import toy_pictures

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


def test_recovered_prompts_are_drawn_beside_their_pictures(tmp_path, capsys):
    """``preimage invert --regenerate`` puts what the generator makes of each prompt on the page."""
    picture, page = tmp_path / "picture.png", tmp_path / "page.html"
    toy_pictures(1)[0].save(picture)
    search = ["invert", str(picture), "--model", "miniworld:clip", "--num-steps", "1", "-o", "prompt_length=1"]
    search += ["--device", "cpu", "--quiet", "--html", str(page)]
    assert main([*search, "--regenerate", f"sd:{folder('epsilon')}"]) == 0
    prompt = capsys.readouterr().out.splitlines()[1]
    assert f'alt="drawn: {html.escape(prompt)}"' in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--regenerate", "miniworld:sd"], "add --html FILE, or use `preimage generate`"),
        (["--regenerate", "hf:gpt2", "--html", "page.html"], "hf:gpt2 is loaded by hf, which draws no pictures"),
    ],
)
def test_what_cannot_be_drawn_is_told_before_the_search(more, words, tmp_path, capsys):
    """A page has to be asked for, and a generator to be named."""
    picture = tmp_path / "picture.png"
    toy_pictures(1)[0].save(picture)
    assert main(["invert", str(picture), "--model", "miniworld:clip", *more]) == 2
    assert words in capsys.readouterr().err
