"""Distances between all targets and all pictures of a method, from the files of a study."""

from __future__ import annotations

import attrs
import pytest
from PIL import Image

from preimage import catalogue
from preimage.study import report
from preimage.study.set_distances import set_distances

MEASURES = {
    "image_encoder": "miniworld:clip-judge",
    "generator": "sd:none",
    "distances": ["kid", "fid"],
    "device": "cpu",
}


def test_they_are_the_plugins_own_on_the_studys_files(planted):
    """Each method's pictures on shared seeds against its targets, errors by leaving targets out."""
    store = planted.store(n_images=4, seeds=(0,), measures=MEASURES)
    found = {(each.recipe, each.name): each for each in set_distances(store)}
    assert len(found) == 8
    targets = [Image.open(image.path) for image in store.spec.images]
    files = [path for record in store.records() if record.key.recipe == "gcg" for path in record.pictures["shared"]]
    made = [Image.open(store.folder / file) for file in files]
    encoder = catalogue().load_model("miniworld:clip-judge", "image-text-encoder", device="cpu")
    kid, fid = (catalogue().build("distance", name, {"model": encoder}) for name in ("kid", "fid"))
    groups = [image.name for image in store.spec.images]
    expected = kid.estimate(targets, made, (groups, [group for group in groups for _ in range(2)]))
    assert found["gcg", "kid"].value == pytest.approx(expected.value, abs=1e-7)
    assert found["gcg", "kid"].standard_error == pytest.approx(expected.standard_error, rel=1e-4)
    assert found["gcg", "fid"].value == pytest.approx(fid([targets], [made]).item(), rel=1e-4)
    assert found["gcg", "fid"].standard_error is None
    assert (found["gcg", "kid"].targets, found["gcg", "kid"].pictures) == (4, 8)


def test_failed_runs_take_their_targets_with_them(planted):
    """A method that came to nothing on a target is compared with the others' targets only."""

    def change(record):
        failed = record.key.recipe == "gcg" and record.key.image == "02"
        return attrs.evolve(record, status="failed", traceback="E: x", pictures={}) if failed else record

    store = planted.store(n_images=4, seeds=(0,), measures=MEASURES, change=change)
    found = {(each.recipe, each.name): each for each in set_distances(store)}
    assert (found["gcg", "kid"].targets, found["caption", "kid"].targets) == (3, 4)


def test_too_few_targets(planted):
    """Of two targets no error can be told, so nothing is."""
    assert set_distances(planted.store(n_images=2, measures=MEASURES)) == ()


def test_the_report_has_them(planted):
    """With a word of warning about FID."""
    page = report.write(planted.store(n_images=4, seeds=(0,), measures=MEASURES)).read_text(encoding="utf-8")
    assert "All pictures together" in page
    assert "With 8 pictures a Fréchet distance (FID) is far too large" in page
