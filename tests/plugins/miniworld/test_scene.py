"""Scenes: validation, canonical form, sampling, splits."""

import itertools
import json
import random
import subprocess
import sys

import pytest

from preimage_miniworld.scene import SPLITS, Scene, SceneObject, sample_scene, sample_scenes

RED = SceneObject("red", "circle", "striped", "small")
BLUE = SceneObject("blue", "star", "dotted", "large")


def test_equal_arrangements_have_one_canonical_form():
    """A right of B is the same scene as B left of A, with the same key and split."""
    one = Scene([RED, BLUE], "right of", "night")
    other = Scene([BLUE, RED], "left of", "night")

    assert one.canonical() == other.canonical() == other
    assert (one.key, one.split) == (other.key, other.split)


def test_the_object_with_a_face_stays_first():
    """A scene with a face is canonical as it is and cannot be told the other way round."""
    scene = Scene([RED, BLUE], "right of", "night", "happy")

    assert scene.canonical() == scene
    with pytest.raises(ValueError, match="face stays with the first object"):
        scene.reversed()


def test_a_scene_survives_json():
    """A scene comes back from JSON as it was."""
    for seed in range(50):
        scene = sample_scene(random.Random(seed))
        assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


@pytest.mark.parametrize(
    ("build", "part"),
    [
        (lambda: SceneObject("mauve", "circle", "solid", "small"), "'mauve'"),
        (lambda: Scene([]), "0 objects"),
        (lambda: Scene([RED], "above"), "two objects"),
        (lambda: Scene([RED, BLUE], "inside"), "'inside'"),
        (lambda: Scene([RED], None, "moon"), "'moon'"),
        (lambda: sample_scenes("test", 0), "'test'"),
    ],
)
def test_what_the_world_lacks_is_refused(build, part):
    """A value outside the world is an error that shows it."""
    with pytest.raises(ValueError, match=part):
        build()


def test_sampling_follows_the_seed():
    """Equal seeds give equal scenes; other seeds give others."""
    first, again, other = (list(itertools.islice(sample_scenes("train", seed), 30)) for seed in (1, 1, 2))

    assert first == again != other


def test_splits_share_no_scene():
    """A scene belongs to one split, and the splits have about the shares they should."""
    counts = dict.fromkeys(SPLITS, 0)
    for seed in range(2000):
        counts[sample_scene(random.Random(seed)).split] += 1

    drawn = [set(itertools.islice(sample_scenes(split, 0, None, True), 300)) for split in SPLITS]
    assert len(set.union(*drawn)) == 900
    assert 0.75 < counts["train"] / 2000 < 0.85
    assert 0.07 < counts["held-out"] / 2000 < 0.13


def test_splits_are_stable():
    """The split of a scene never changes: models on disk were trained by it."""
    assert Scene([RED]).split == "train"
    assert Scene([RED, BLUE], "left of", "night").split == "train"
    assert Scene([SceneObject("purple", "flower", "solid", "large")], None, "night", "happy").split == ("held-out")


def test_distinct_scenes_do_not_repeat():
    """With distinct=True no scene comes twice."""
    scenes = list(itertools.islice(sample_scenes("held-out", 0, 1, distinct=True), 300))

    assert len(set(scenes)) == 300


def test_words_need_no_numbers():
    """Scenes, captions and parser import neither numpy nor PIL nor torch."""
    program = (
        "import sys, preimage_miniworld.parser, preimage_miniworld.captions, preimage_miniworld.data\n"
        "print(sorted({'numpy', 'PIL', 'torch'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"
