"""The renderer: deterministic, varied, and every attribute visible."""

import random

import pytest
from attrs import evolve
from PIL import ImageChops

from preimage_miniworld import scene as world
from preimage_miniworld.render import IMAGE_SIZE, render
from preimage_miniworld.scene import Scene, SceneObject, sample_scene

SCENE = Scene([SceneObject("red", "circle", "solid", "small")])


def difference(left, right):
    """Mean absolute difference of two pictures, in grey levels."""
    histogram = ImageChops.difference(left, right).convert("L").histogram()
    return sum(level * count for level, count in enumerate(histogram)) / IMAGE_SIZE**2


def test_a_seed_decides_the_picture():
    """The same scene and seed give the same pixels; another seed moves things."""
    for seed in range(10):
        scene = sample_scene(random.Random(seed))
        one, again, other = render(scene, 5), render(scene, 5), render(scene, 6)
        assert (one.mode, one.size) == ("RGB", (64, 64))
        assert one.tobytes() == again.tobytes() != other.tobytes()


def test_equal_scenes_look_equal():
    """A scene and its reversed telling have the same picture."""
    pair = [SCENE.objects[0], SceneObject("blue", "star", "dotted", "large")]
    scene = Scene(pair, "left of")

    assert difference(render(scene, 1), render(scene.reversed(), 1)) == 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("colour", world.COLOURS),
        ("shape", world.SHAPES),
        ("texture", world.TEXTURES),
        ("size", world.SIZES),
    ],
)
def test_object_attributes_can_be_seen(name, values):
    """Any two values of an attribute give clearly different pictures, even of a small object."""
    pictures = [render(Scene([evolve(SCENE.objects[0], **{name: value})]), 0) for value in values]

    for index, picture in enumerate(pictures):
        for other in pictures[:index]:
            assert difference(picture, other) > 0.5


@pytest.mark.parametrize(("name", "values"), [("background", world.BACKGROUNDS), ("mood", world.MOODS)])
def test_scene_attributes_can_be_seen(name, values):
    """Any two backgrounds or moods give clearly different pictures."""
    pictures = [render(evolve(SCENE, **{name: value}), 0) for value in values]

    for index, picture in enumerate(pictures):
        for other in pictures[:index]:
            assert difference(picture, other) > 0.5
