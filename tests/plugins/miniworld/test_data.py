"""Ready-made data: held-out examples, demo scenes, image folders."""

import json

import pytest
from PIL import Image

from preimage_miniworld.data import demo_scenes, held_out, write_folder
from preimage_miniworld.parser import parse
from preimage_miniworld.scene import Scene


def test_held_out_examples_are_fixed_distinct_and_true():
    """The same examples come every time, none twice, each with a caption of its scene."""
    examples, longer = held_out(20), held_out(30)

    assert [(scene, text) for scene, _, text in examples] == [(s, t) for s, _, t in longer[:20]]
    assert len({scene for scene, _, _ in longer}) == 30
    for scene, picture, text in examples:
        assert scene.split == "held-out"
        assert parse(text).scene() == scene
        assert picture.size == (64, 64)


def test_the_demo_shows_three_held_out_scenes():
    """There is a face and a pair of objects among them, and the captions are true."""
    examples = demo_scenes()

    assert len(examples) == 3
    assert {scene.split for scene, _, _ in examples} == {"held-out"}
    assert any(scene.mood != "none" for scene, _, _ in examples)
    assert any(len(scene.objects) == 2 for scene, _, _ in examples)
    assert all(parse(text).scene() == scene.canonical() for scene, _, text in examples)


def test_a_folder_holds_pictures_and_their_truth(tmp_path):
    """Every line of the listing names a picture that is there, its text and its scene."""
    pictures = write_folder(tmp_path / "set", 5, "validation", seed=3)
    lines = (tmp_path / "set" / "metadata.jsonl").read_text().splitlines()

    assert len(pictures) == len(lines) == 5
    for line in lines:
        record = json.loads(line)
        scene = Scene.from_dict(record)
        assert scene.split == "validation"
        assert parse(record["text"]).scene() == scene
        with Image.open(tmp_path / "set" / record["file_name"]) as picture:
            assert picture.size == (64, 64)


def test_a_folder_is_not_overwritten(tmp_path):
    """A second set in the same folder is refused, and so is an empty one."""
    write_folder(tmp_path, 1)

    with pytest.raises(FileExistsError, match="already there"):
        write_folder(tmp_path, 1)
    with pytest.raises(ValueError, match="0 pictures"):
        write_folder(tmp_path / "other", 0)
