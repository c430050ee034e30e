"""The distance by attributes: what a text leaves unsaid of a scene."""

from __future__ import annotations

import itertools
import random

import pytest

from preimage_miniworld.captions import canonical_caption, caption
from preimage_miniworld.config import SceneAttributesConfig
from preimage_miniworld.distance import SceneAttributes
from preimage_miniworld.parser import recovered
from preimage_miniworld.scene import sample_scenes


@pytest.fixture
def distance():
    return SceneAttributes(SceneAttributesConfig())


def test_any_caption_of_the_scene_says_everything(distance):
    """Whatever words a caption chooses, it is at distance zero from the plainest one, and back."""
    rng = random.Random(0)
    for scene in itertools.islice(sample_scenes("train", 3), 60):
        said, plain = caption(scene, rng), canonical_caption(scene)
        assert distance([said, plain], [plain, said]).tolist() == [0, 0]


def test_it_is_the_mean_over_kinds(distance):
    """It is one less the mean share of `recovered`."""
    scenes = list(itertools.islice(sample_scenes("train", 4), 20))
    for scene, other in itertools.pairwise(scenes):
        said = canonical_caption(other)
        scores = recovered(said, scene)
        expected = 1 - sum(scores.values()) / len(scores)
        assert distance([said], [canonical_caption(scene)]).item() == pytest.approx(expected)


def test_saying_more_costs_nothing_and_saying_less_does(distance):
    """The truth decides what counts, so that the two directions differ."""
    little, much = "a red star", "a small striped red star in a meadow"
    assert distance([much], [little]).item() == 0
    assert distance([little], [much]).item() == pytest.approx(3 / 5)


def test_caption_without_attributes(distance):
    """Of a truth that names nothing, nothing can be left unsaid."""
    assert distance(["a red star", ""], ["some abstract art", ""]).tolist() == [0, 0]
