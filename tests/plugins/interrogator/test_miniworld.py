"""Both on pictures whose truth is known."""

from __future__ import annotations

import itertools

import pytest

from preimage import Budget, Pipeline, Stage, Term, invert
from preimage_miniworld.data import held_out
from preimage_miniworld.scene import COLOURS, SHAPES, SIZES, TEXTURES
from preimage_miniworld.words import BACKGROUND_PHRASES

THINGS = tuple(map(" ".join, itertools.product(SIZES, TEXTURES, COLOURS, SHAPES)))
PLACES = tuple(phrases[0] for phrases in BACKGROUND_PHRASES.values())


@pytest.fixture(scope="module")
def scenes():
    """Held-out scenes of one object."""
    return held_out(10, seed=3, objects=1)


@pytest.fixture
def things(tmp_path):
    """A word list of every object there is."""
    path = tmp_path / "things.txt"
    path.write_text("\n".join(THINGS), encoding="utf-8")
    return str(path)


def attributes(scene):
    (thing,) = scene.objects
    return f"{thing.size} {thing.texture} {thing.colour} {thing.shape}", BACKGROUND_PHRASES[scene.background][0]


def test_the_chain_names_what_the_picture_shows(scenes, things):
    """The object of 384, and the place of 4, of every scene."""
    results = invert(
        [picture for _, picture, _ in scenes],
        optimizer="interrogator",
        model="miniworld:clip",
        lists=[things],
        phrases=PLACES,
        min_phrases=0,
        num_steps=20,
    )
    for (scene, _, _), result in zip(scenes, results, strict=True):
        thing, place = attributes(scene)
        assert result.text.startswith(thing)
        assert place in result.text
        assert result.stop_reason == "done"


def test_with_the_weight_reversed_it_names_what_the_picture_does_not_show(scenes, things):
    """The result is a negative prompt where the loss is the similarity."""
    pipeline = Pipeline(
        stages=[Stage(optimizer="interrogator", options={"lists": [things]}, budget=Budget(num_steps=1))],
        terms=[Term(objective="clip-similarity", model="miniworld:clip", weight=-1.0)],
    )
    for (scene, _, _), result in zip(scenes, pipeline.run([picture for _, picture, _ in scenes]), strict=True):
        thing = attributes(scene)[0].split()
        assert len(set(result.text.split()) & set(thing)) <= 1
        assert not {scene.objects[0].colour, scene.objects[0].shape} <= set(result.text.split())


def test_a_caption_is_pruned_of_words_that_harm(scenes):
    """Wrong words go, and the loss falls."""
    for scene, picture, _ in scenes[:4]:
        text = " ".join(attributes(scene))
        wrong = next(colour for colour in COLOURS if colour not in text)
        options = {"optimizer": "prune", "model": "miniworld:clip", "optim_str_init": f"{wrong} {text} {wrong}"}
        spoilt = invert(picture, max_candidates=1, **options)
        pruned = invert(picture, num_steps=40, **options)

        assert wrong in spoilt.text.split()
        assert wrong not in pruned.text.split()
        assert set(pruned.text.split()) <= set(text.split())
        assert pruned.loss < spoilt.loss
        assert pruned.stop_reason == "done"


def test_pruning_is_a_stage(scenes):
    """It works on the prompt of the stage before it, and never makes it worse."""
    first = Stage(optimizer="interrogator", options={"max_phrases": 8}, budget=Budget(max_candidates=3000))
    second = Stage(optimizer="prune", budget=Budget(max_candidates=200))
    terms = [Term(objective="clip-similarity", model="miniworld:clip")]
    pictures = [picture for _, picture, _ in scenes[:3]]
    chained = Pipeline(stages=[first], terms=terms).run(pictures)
    pruned = Pipeline(stages=[first, second], terms=terms).run(pictures)

    for before, after in zip(chained, pruned, strict=True):
        assert after.loss <= before.loss
        assert set(after.text.split()) <= set(before.text.split())
        assert after.stop_reason == "done"
