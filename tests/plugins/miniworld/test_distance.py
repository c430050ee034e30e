"""The distances by attributes: what a text leaves unsaid of a scene, and a picture does not show."""

from __future__ import annotations

import itertools
import random

import pytest

from preimage_miniworld.captions import canonical_caption, caption
from preimage_miniworld.config import PictureAttributesConfig, SceneAttributesConfig
from preimage_miniworld.data import held_out
from preimage_miniworld.distance import PictureAttributes, SceneAttributes
from preimage_miniworld.parser import recovered
from preimage_miniworld.render import render
from preimage_miniworld.scene import Scene, SceneObject, sample_scenes


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


class TestPictures:
    """What a picture does not show of another, by the classifier of attributes."""

    @pytest.fixture
    def pictures(self):
        return PictureAttributes(PictureAttributesConfig())

    def test_another_picture_of_the_scene_shows_everything(self, pictures):
        """However the scene was drawn, and in whatever size."""
        scenes = [scene for scene, _, _ in held_out(12, seed=2, objects=1)]
        drawn, again = ([render(scene, seed) for scene in scenes] for seed in (1, 2))
        larger = [picture.resize((128, 128)) for picture in again]

        assert pictures(drawn, again).mean() <= 0.02
        assert pictures(drawn, larger).mean() <= 0.05

    def test_one_attribute_is_one_share(self, pictures):
        """A seventh of what a scene with one object shows."""
        scene = Scene([SceneObject("red", "star", "solid", "large")], None, "meadow", "happy")
        other = Scene([SceneObject("blue", "star", "solid", "large")], None, "meadow", "happy")

        assert pictures([render(other, 0)], [render(scene, 0)]).item() == pytest.approx(1 / 7)

    def test_a_missing_object_is_missed_with_all_its_attributes(self, pictures):
        """Five of twelve shares, and how the two stand."""
        (both, picture, _) = next(one for one in held_out(40, seed=3, objects=2) if one[0].relation == "left of")
        left = Scene([both.objects[0]], None, both.background, both.mood)
        alone = render(left, 0)

        assert pictures([alone], [picture]).item() >= 5 / 12
