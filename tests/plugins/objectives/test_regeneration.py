"""Regeneration: pictures made of prompts, compared with targets one by one."""

from __future__ import annotations

import pytest
import torch

from preimage import Budget, Pipeline, Stage, Term, catalogue
from preimage.errors import InputError, OptionError
from preimage_miniworld.data import held_out
from preimage_objectives.config import RegenerationConfig
from preimage_objectives.regeneration import Regeneration

FAST = {"generator": "miniworld:sd", "generator_options": {"steps": 4}}
SCENES = held_out(3, seed=11, objects=1)
PICTURES = [picture for _, picture, _ in SCENES]
CAPTIONS = [caption for _, _, caption in SCENES]


@pytest.fixture(scope="module")
def model():
    """Return the encoder of the mini world."""
    return catalogue().load_model("miniworld:clip", "image-text-encoder")


def ids(model, text):
    """Return the ids of a text, ``(1, L)``."""
    return torch.tensor(model.space.encode([text]))


def test_the_loss_is_the_mean_over_pictures(model):
    """Each candidate's is that of a plain loop over seeds, whatever its neighbours are."""
    config = RegenerationConfig(n_pictures=3, seed=5, **FAST)
    objective = Regeneration(config, model=model, targets=[PICTURES[0], (PICTURES[1], PICTURES[2])])
    (row,) = ids(model, "a big red circle")
    rows = torch.stack([row, row.flip(0), row.roll(1)])
    target = torch.tensor([1, 0, 1])
    generator = catalogue().load_model("miniworld:sd", "image-generator", steps=4)
    vectors = model.encode_images(PICTURES)
    wanted = [vectors[:1], vectors[1:]]

    expected = []
    for text, index in zip(model.space.decode(rows), target.tolist(), strict=True):
        cosines = [
            (model.encode_images(generator.generate([text], [seed])) @ vector).item()
            for seed in (5, 6, 7)
            for vector in wanted[index]
        ]
        expected.append(1 - sum(cosines) / len(cosines))
    assert objective.loss(rows, target).tolist() == pytest.approx(expected, abs=1e-4)


def test_the_true_caption_beats_those_of_other_pictures(model):
    """For each of three pictures."""
    objective = Regeneration(RegenerationConfig(**FAST), model=model, targets=PICTURES)
    losses = [
        [objective.loss(ids(model, caption), torch.tensor([index])).item() for caption in CAPTIONS]
        for index in range(3)
    ]
    assert torch.tensor(losses).argmin(1).tolist() == [0, 1, 2]


def test_captions_are_ranked_by_what_they_make():
    """The best of several captions by regeneration, on the command line's own way."""
    term = Term(objective="regeneration", model="miniworld:clip", options={**FAST, "n_pictures": 1})
    options = {"captioner": "miniworld:blip2", "count": 3, "prefix": "", "min_tokens": 0, "max_tokens": 48}
    stage = Stage(optimizer="blip2", budget=Budget(num_steps=1), options=options)
    (result,) = Pipeline(stages=[stage], terms=[term]).run([PICTURES[0]])

    assert result.spent.candidates == 3
    assert result.loss == pytest.approx(min(point.best_loss for point in result.trajectory))
    assert result.provenance.models.keys() == {"miniworld:clip", "miniworld:blip2", "miniworld:sd"}


def test_bad_input_gets_a_sentence(model):
    """The generator must be named, and there must be something to be like."""
    with pytest.raises(InputError, match="There is no target"):
        Regeneration(RegenerationConfig(**FAST), model=model, targets=[])
    with pytest.raises(OptionError, match="generator"):
        catalogue().build("objective", "regeneration", {"model": model, "targets": PICTURES})
