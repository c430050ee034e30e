"""The entropy of scenes and captions: computed, and compared with counts of what is drawn."""

import itertools
import math
import random

import pytest

from preimage_miniworld import captions
from preimage_miniworld.scene import sample_scene, sample_scenes
from preimage_miniworld.training.entropy import caption_entropy, scene_entropy, scene_log_probability


def test_the_world_s_entropy_is_that_of_drawn_scenes():
    """The mean of minus the logarithm over drawn scenes comes to what is computed."""
    rng = random.Random(0)
    drawn = [-scene_log_probability(sample_scene(rng)) for _ in range(20_000)]

    mean = sum(drawn) / len(drawn)
    error = math.sqrt(sum((value - mean) ** 2 for value in drawn)) / len(drawn)
    assert abs(scene_entropy() - mean) < 4 * error


def test_scenes_are_drawn_as_often_as_they_are_probable():
    """Of one-object scenes, each kind of mood comes as often as its probabilities add up to."""
    rng = random.Random(1)
    drawn = [sample_scene(rng) for _ in range(20_000)]

    for objects, mood in itertools.product((1, 2), ("none", "happy", "sad")):
        alike = [scene for scene in drawn if len(scene.objects) == objects and scene.mood == mood]
        # Scenes of a kind are equally probable: their share over their number is each one's probability.
        number = math.exp(-scene_log_probability(alike[0])) * len(alike) / len(drawn)
        counted = 384 * 4 if objects == 1 else 145_152 * 16 / (2 if mood == "none" else 1)
        assert number == pytest.approx(counted, rel=0.06)


def test_the_splits_and_their_choice_make_up_the_world():
    """Entropy adds up: that of the choice of a split and that within the splits."""
    shares = {"train": 0.8, "validation": 0.1, "held-out": 0.1}
    choice = -sum(share * math.log(share) for share in shares.values())
    within = sum(share * scene_entropy(split) for split, share in shares.items())

    assert choice + within == pytest.approx(scene_entropy(), abs=0.02)


def test_the_captions_entropy_is_the_mean_over_scenes():
    """As the grammar gives it for each scene."""
    scenes = list(itertools.islice(sample_scenes("held-out", 3), 5))

    expected = sum(captions.entropy(scene) for scene in scenes) / 5
    assert caption_entropy("held-out", 5, seed=3) == pytest.approx(expected)


def test_an_unknown_split_is_named():
    """The message lists the splits."""
    with pytest.raises(ValueError, match="no split 'test'; use one of train, validation, held-out"):
        scene_entropy("test")
