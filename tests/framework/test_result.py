"""Results kept, read again, and looked at as tables."""

import math

import attrs
import pytest

from preimage.api import Spent
from preimage.errors import InputError
from preimage.result import Provenance, Result, TargetRecord, to_frame
from preimage.track import Point

RESULT = Result(
    text="a red <b>circle</b> ünter",
    ids=(3, 1, 4),
    loss=0.25,
    terms={"clip-similarity(miniworld:clip)": 0.25},
    target=TargetRecord("image", "picture.png", "ab12"),
    stop_reason="num_steps",
    best_step=2,
    spent=Spent(20, 19, 2, 0.5),
    trajectory=(
        Point(0, 1, 0.5, 0.5, "red", Spent(10, 9, 1, 0.25)),
        Point(0, 2, 0.25, 0.25, "a red <b>circle</b> ünter", Spent(20, 19, 2, 0.5)),
    ),
    provenance=Provenance({"stages": [{"optimizer": "gcg"}]}, 7, {"preimage": "0.1.0"}, {"miniworld:clip": "ff"}),
)


def test_a_result_survives_json(tmp_path):
    """With everything that made it."""
    RESULT.save(tmp_path / "result.json")
    assert Result.load(tmp_path / "result.json") == RESULT
    assert Result.from_json(RESULT.to_json(indent=2)) == RESULT


def test_a_file_name_that_is_not_utf_8_survives_json(tmp_path):
    """As JSON's own escape, since no letter stands for it."""
    result = attrs.evolve(RESULT, target=TargetRecord("image", "caf\udce9.png", "ab12"))
    result.save(tmp_path / "result.json")
    assert b'"caf\\udce9.png"' in (tmp_path / "result.json").read_bytes()
    assert Result.load(tmp_path / "result.json") == result


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("[{}, {}]", "These data are a list, .* give each item to Result.from_dict"), ("stages: []", "is not JSON")],
)
def test_a_file_that_holds_no_result_is_a_sentence(tmp_path, content, sentence):
    """Also the list that the command writes for several pictures."""
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=sentence):
        Result.load(tmp_path / "results.json")


def test_other_json_is_not_taken_for_a_result():
    """The message says what to give."""
    with pytest.raises(InputError, match="have the format None, not 'preimage-result-1'"):
        Result.from_dict({"text": "a red circle"})


def test_the_trajectory_is_a_table():
    """One row a step, with its cost."""
    frame = RESULT.to_frame()
    assert frame["best_loss"].tolist() == [0.5, 0.25]
    assert frame["candidates"].tolist() == [10, 20]


def test_results_are_a_table():
    """One row a result, with each term."""
    frame = to_frame([RESULT, RESULT])
    assert len(frame) == 2
    assert math.isclose(frame.loc[0, "term:clip-similarity(miniworld:clip)"], 0.25)
    assert frame.loc[1, "seed"] == 7
