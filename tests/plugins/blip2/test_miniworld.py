"""Captions of pictures whose truth is known, alone and as a start."""

from __future__ import annotations

import pytest

from preimage import Budget, Pipeline, Stage, Term, catalogue, invert
from preimage.cli import main
from preimage_blip2 import Blip2, Blip2Config
from preimage_miniworld.data import held_out
from preimage_miniworld.parser import recovered

CAPTIONS = {"captioner": "miniworld:blip2", "count": 6, "beams": 3, "prefix": "", "min_tokens": 0, "max_tokens": 48}
CLIP = Term(objective="clip-similarity", model="miniworld:clip")


@pytest.fixture(scope="module")
def scenes():
    """Held-out scenes of one object."""
    return held_out(8, seed=5, objects=1)


@pytest.fixture(scope="module")
def together(scenes):
    """The results of all pictures in lockstep."""
    return invert([picture for _, picture, _ in scenes], optimizer="blip2", model="miniworld:clip", **CAPTIONS)


def test_prompts_name_what_the_pictures_show(scenes, together):
    """At least nine of ten attributes, from six candidates and one step each."""
    shares = [
        share
        for (scene, _, _), result in zip(scenes, together, strict=True)
        for share in recovered(result.text, scene).values()
    ]

    assert sum(shares) / len(shares) >= 0.9
    assert {result.stop_reason for result in together} == {"done"}
    assert all(1 <= result.spent.candidates <= 6 and len(result.trajectory) == 1 for result in together)


def test_a_picture_in_company_gets_what_it_gets_alone(scenes, together):
    """Captions that are sampled, too; the last digits of a loss are the processor's, which rounds batches otherwise."""
    alone = invert(scenes[3][1], optimizer="blip2", model="miniworld:clip", **CAPTIONS)

    assert alone.text == together[3].text
    assert alone.loss == pytest.approx(together[3].loss, abs=1e-6)


def test_the_captioner_is_in_the_record(together):
    """By its reference, with a hash of its weights."""
    assert set(together[0].provenance.models) == {"miniworld:clip", "miniworld:blip2"}
    assert together[0].provenance.recipe["stages"][0]["options"]["captioner"] == "miniworld:blip2"


def test_gcg_goes_on_from_the_best_caption(scenes):
    """As a recipe of two stages; it ends no worse than it began."""
    picture = scenes[0][1]
    recipe = {
        "stages": [
            {"optimizer": "blip2", "budget": {"num_steps": 1}, "options": CAPTIONS},
            {"optimizer": "gcg", "budget": {"num_steps": 3}, "options": {"search_width": 32}},
        ],
        "terms": [{"objective": "clip-similarity", "model": "miniworld:clip"}],
    }
    (result,) = Pipeline.from_dict(recipe).run([picture])
    first = result.trajectory[0]

    assert [point.stage for point in result.trajectory] == [0, 1, 1, 1]
    assert first.best_text.split()[0] in ("a", "an", "the", "in", "on", "at", "by", "under")
    assert result.loss <= first.best_loss + 1e-6


def test_a_live_captioner_and_a_prompt_of_few_tokens(scenes):
    """It is asked in the place of the one that the options name."""
    model = catalogue().load_model("miniworld:blip2", "captioner")
    optimizer = Blip2(Blip2Config(prompt_length=4), captioner=model)
    stage = Stage(optimizer=optimizer, budget=Budget(num_steps=1))
    (result,) = Pipeline(stages=[stage], terms=[CLIP]).run([scenes[0][1]])

    assert len(result.ids) <= 4
    assert "miniworld:blip2" in result.provenance.models


def test_on_the_command_line(scenes, tmp_path, capsys):
    """Two stages, with options for each."""
    path = tmp_path / "picture.png"
    scenes[1][1].save(path)
    options = [f"blip2.{name}={value}" for name, value in CAPTIONS.items()] + ["gcg.search_width=16"]
    flags = [part for option in options for part in ("-o", option)]

    assert main(["invert", str(path), "--optimizer", "blip2 -> gcg", "--model", "miniworld:clip", *flags,
                 "--num-steps", "1,2", "--quiet", "--json"]) == 0  # fmt: skip
    assert '"stage": 1' in capsys.readouterr().out
