"""Where a study's pictures come from."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from preimage.errors import InputError, PluginError, UnknownNameError
from preimage.image import load_image, sha256
from preimage.study.images import collect, find
from preimage.study.store import FILE


@pytest.fixture
def folder(tmp_path):
    """A folder with pictures in two formats, one of them in a folder of its own."""
    (tmp_path / "pictures/more").mkdir(parents=True)
    for index, name in enumerate(["b.png", "a.png", "a.jpg", "more/c.png"]):
        Image.new("RGB", (4, 4), (10 * index, 0, 0)).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures/notes.txt").write_text("not a picture")
    (tmp_path / "pictures/.thumbnails").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "pictures/.thumbnails/a.png")
    return tmp_path / "pictures"


def names(found):
    return [picture.name for picture in found.pictures]


def test_a_folder_of_pictures(folder):
    """Sorted, also from the folders in it; hidden ones and other files are left out."""
    found = find(folder)

    assert names(found) == ["a.jpg", "a.png", "b", "more/c"]
    assert {picture.caption for picture in found.pictures} == {None}


@pytest.mark.parametrize("place", ["", "study"])
def test_the_pictures_of_a_study_in_the_folder_are_left_out(folder, place):
    """A study that is kept beside its pictures, or among them, is found to be the same the next time."""
    study = folder / place
    for name in ("images/b.png", "pictures/gcg/b/0/shared-0.png"):
        (study / name).parent.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(study / name)
    (study / FILE).touch()

    assert names(find(folder)) == ["a.jpg", "a.png", "b", "more/c"]


def test_the_first_so_many(folder):
    """A study can be tried on a few."""
    assert names(find(folder, limit=2)) == ["a.jpg", "a.png"]


def test_a_single_picture(folder):
    """It is a study of one."""
    assert names(find(folder / "b.png")) == ["b"]


@pytest.mark.parametrize("column", ["text", "caption", "prompt"])
def test_an_image_folder_with_captions(folder, column):
    """``metadata.jsonl`` names the pictures and their prompts, and nothing else counts."""
    rows = [{"file_name": "more/c.png", column: "a red circle"}, {"file_name": "b.png"}]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = find(folder)

    assert [(picture.name, picture.caption) for picture in found.pictures] == [("more/c", "a red circle"), ("b", None)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("{", "Line 1 of .* is not of the form"), ('{"file_name": "gone.png"}', "Line 1 of .* names gone.png, which is")],
)
def test_a_listing_that_cannot_be_followed(folder, line, sentence):
    """The message says which line."""
    (folder / "metadata.jsonl").write_text(line)
    with pytest.raises(InputError, match=sentence):
        find(folder)


@pytest.mark.parametrize("splits", [False, True], ids=["dataset", "splits"])
def test_a_dataset_on_disk(tmp_path, splits):
    """As ``datasets`` saves it; the pictures come out as they went in."""
    datasets = pytest.importorskip("datasets")
    pictures = [Image.new("RGB", (4, 4), (index, 50, 0)) for index in range(3)]
    features = datasets.Features({"text": datasets.Value("string"), "image": datasets.Image()})
    dataset = datasets.Dataset.from_dict({"text": ["one", "two", "three"], "image": pictures}, features=features)
    if splits:
        dataset = datasets.DatasetDict({"train": dataset})
    dataset.save_to_disk(tmp_path / "saved")

    found = find(tmp_path / "saved", limit=2)
    images = collect(found.pictures, tmp_path / "study")

    assert [(image.name, image.caption) for image in images] == [("00000", "one"), ("00001", "two")]
    assert [image.sha256 for image in images] == [sha256(picture) for picture in pictures[:2]]


@pytest.mark.parametrize("source", ["miniworld:held-out:3", "miniworld:held-out[:3]"])
def test_what_a_plugin_offers(source, tmp_path):
    """The pictures with their prompts, and what suits them."""
    from preimage_miniworld.data import held_out

    found = find(source)
    images = collect(found.pictures, tmp_path)

    assert [image.caption for image in images] == [caption for _, _, caption in held_out(3)]
    assert [image.sha256 for image in images] == [sha256(load_image(picture)) for _, picture, _ in held_out(3)]
    assert found.measures["held_out"] == "miniworld:clip-judge"
    assert names(find(source, limit=2)) == names(found)[:2]


@pytest.mark.parametrize(
    ("source", "error", "sentence"),
    [
        ("nowhere", InputError, "nowhere is neither a folder nor a picture"),
        ("miniwrld:held-out", UnknownNameError, "no plugins offer pictures under 'miniwrld'. Did you mean 'miniworld'"),
        ("miniworld:heldout", UnknownNameError, "no pictures 'heldout'. Did you mean 'held-out'"),
    ],
)
def test_what_is_not_there(source, error, sentence, tmp_path, monkeypatch):
    """The message names the nearest."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=sentence):
        find(source)


def test_a_folder_without_pictures(tmp_path):
    """It is a mistake, and not a study of nothing."""
    with pytest.raises(InputError, match="holds no picture"):
        find(tmp_path)


def test_a_plugin_that_offers_something_else(site, monkeypatch):
    """The message names the plugin."""
    site.add(
        "acme",
        "def pictures(name, count):\n    return [name, count]\n",
        entry_points="[preimage.pictures]\nacme = acme:pictures\n",
    )
    with pytest.raises(PluginError, match="acme:zoo are a list"):
        find("acme:zoo")


def test_pictures_are_kept_in_the_study(folder, tmp_path):
    """Files as they are, under names that any file system takes and that differ."""
    images = collect(find(folder).pictures, tmp_path / "study/images")

    assert [image.path.name for image in images] == ["a-jpg.jpg", "a-png.png", "b.png", "more-c.png"]
    for image, original in zip(images, ["a.jpg", "a.png", "b.png", "more/c.png"], strict=True):
        assert image.path.read_bytes() == (folder / original).read_bytes()
        assert image.sha256 == sha256(load_image(image.path))


def test_the_pictures_of_a_study_are_good_for_another(tmp_path):
    """With their prompts, where they have some."""
    collect(find("miniworld:held-out:2").pictures, tmp_path / "one")
    first = collect(find(tmp_path / "one").pictures, tmp_path / "two")
    second = collect(find(tmp_path / "two").pictures, tmp_path / "three")

    assert [(image.name, image.sha256, image.caption) for image in first] == [
        (image.name, image.sha256, image.caption) for image in second
    ]
    assert all(image.caption for image in first)


def test_a_picture_that_cannot_be_read(folder, tmp_path):
    """It is said before anything runs."""
    (folder / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="b.png is not a picture"):
        collect(find(folder).pictures, tmp_path / "study")
