"""``preimage compare``: a study from the command line."""

from __future__ import annotations

import io
import json
import sqlite3

import pytest
from rich.console import Console

from preimage.cli import compare, main
from preimage.errors import InputError
from preimage.study import store as stores
from preimage.study.record import Key, Record
from preimage.study.store import Store
from preimage.study.study import Progress

RECIPE = """
[[stages]]
optimizer = "random-search"
budget.max_candidates = {candidates}
[[terms]]
objective = "clip-similarity"
model = "miniworld:clip"
"""
BASE = ["miniworld:held-out:1", "--recipes", "few.toml", "many.toml", "--out", "study", "--no-measures"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current folder with two recipes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREIMAGE_DEBUG", "0")
    for name, candidates in (("few", 130), ("many", 260)):
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(candidates=candidates))
    return tmp_path


def test_a_study_and_on_with_it(capsys):
    """A line for each recipe, the report's place, and nothing done twice."""
    assert main(["compare", *BASE, "--progress"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["recipe", "runs", "failed", "loss", "candidates", "passes", "seconds"]
    assert [(line[0], line[1], line[2], line[4]) for line in lines[1:3]] == [
        ("few", "1", "0", "130"),
        ("many", "1", "0", "260"),
    ]
    assert out.splitlines()[3] == "report: study/report.html"
    assert "2 of 2 runs, many on 0000 with seed 0" in err

    before = Store.open("study").records()
    assert main(["compare", "--resume", "study", "--workers", "2", "--quiet"]) == 0
    assert Store.open("study").records() == before
    assert capsys.readouterr() == ("", "")


def test_equal_budgets(capsys):
    """One total for all."""
    assert main(["compare", *BASE, "--equalise", "candidates", "--budget", "150", "--quiet"]) == 0
    assert [record.spent.candidates for record in Store.open("study").records()] == [150, 150]


def test_what_is_measured_can_be_chosen(capsys):
    """Beside what the pictures suggest; the summary has a line for each measure."""
    options = ["--measure-generator", "none", "--measure-held-out", "none", "--measure-distances", "token-f1"]
    assert main(["compare", *BASE[:-1], *options]) == 0
    record, other = Store.open("study").records()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["mean", "few", "many"] in lines
    assert ["Similarity", *(f"{each.measures['similarity']:.4f}" for each in (record, other))] in lines

    assert {"similarity", "text-similarity", "token-f1"} <= set(record.measures)
    assert "held-out-similarity" not in record.measures


def test_no_distance_need_be_measured(capsys):
    """None of them, instead of those that the pictures suggest."""
    options = [f"--measure-{name}=none" for name in ("generator", "held-out", "language-model", "distances")]
    assert main(["compare", *BASE[:-1], *options, "--quiet"]) == 0
    record, _ = Store.open("study").records()

    assert {name for name in record.measures if not name.startswith("truth:")} == {"similarity", "text-similarity"}


def test_a_run_that_fails_is_told(capsys, monkeypatch):
    """The exit code says so, the last line of the traceback what it was, and the third line what to do."""

    def broken(*arguments):
        raise InputError("nobody can say what it is worth")

    monkeypatch.setattr("preimage.study.measuring.measured", broken)
    assert main(["compare", *BASE[:-1], "--measure-generator", "none"]) == 1
    out, err = capsys.readouterr()

    assert out.splitlines()[1].split()[:4] == ["few", "1", "1", "-"]
    assert "few on 0000 with seed 0 failed: preimage.errors.InputError: nobody can say what it is worth" in err
    assert "preimage compare --resume study --retry-failed" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare"], "IMAGES and --recipes and --out must be given, or --resume DIR"),
        (["compare", "--resume", "x", "--seeds", "2"], "so --seeds cannot be given beside it"),
        (["compare", "--resume", "x", "--measure-held-out", "y"], "so --measure-held-out cannot be given beside it"),
        (["compare", "--resume", "x"], "x holds no study"),
        (["compare", *BASE, "--budget", "5"], "--budget 5 does not say of what: add --equalise"),
        (["compare", *BASE, "--seeds", "0"], "--seeds 0 leaves nothing to run"),
        (["compare", *BASE, "--workers", "0"], "There cannot be 0 workers"),
        (["compare", *BASE, "--executor", "dusk"], "no executor 'dusk'. Did you mean 'dask'"),
        (["compare", *BASE, "--measure-held-out", "y"], "--no-measures is given beside --measure-held-out"),
        (["compare", *BASE[:-1], "--measure-held-out", "miniworld:nothing"], "The mini world has no model 'nothing'"),
        (["compare", *BASE[:-1], "--measure-device", "tpu"], "The device 'tpu' cannot be used here"),
        (["compare", "nowhere", *BASE[1:]], "nowhere is neither a folder nor a picture"),
        (["compare", BASE[0], "--recipes", "gone.toml", "--out", "study"], "The recipe gone.toml cannot be read"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments, sentence, capsys):
    """And the exit code of a wrong command line."""
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_another_study_is_not_overwritten(capsys):
    """What was asked for differs from what is there."""
    main(["compare", *BASE, "--quiet"])
    assert main(["compare", *BASE, "--seeds", "2"]) == 2
    assert "study holds another study (seeds: (0,), now (0, 1))" in capsys.readouterr().err


def test_a_full_disk_is_one_sentence(capsys, monkeypatch):
    """With the exit code of something that failed while running."""
    connected = stores._connected

    def small(*arguments, **options):
        connection = connected(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(stores, "_connected", small)
    assert main(["compare", *BASE, "--seeds", "4"]) == 1
    assert "preimage: The study cannot be written to study (database or disk is full)" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(capsys, monkeypatch):
    """What had ended is kept."""

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("preimage.study.study._run_all", interrupted)
    assert main(["compare", *BASE]) == 130
    assert "the runs that had ended are kept: preimage compare --resume study" in capsys.readouterr().err


def test_a_terminal_shows_one_bar():
    """For the runs, with what failed and what ended last."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    record = Record(key=Key("few", "0000", 0), status="failed")
    with compare._View(quiet=False, forced=False, console=console) as view:
        view.show(Progress(3, 0, 8))
        view.show(Progress(4, 1, 8, record))
        view._bar.refresh()
    shown = console.file.getvalue()

    assert "4/8" in shown
    assert "1 failed" in shown
    assert "few on 0000 with seed 0" in shown


def test_the_records_are_plain_json():
    """For whoever reads the file without Preimage."""
    main(["compare", *BASE, "--quiet"])
    rows = [json.loads(data) for (data,) in sqlite3.connect("study/study.sqlite").execute("SELECT data FROM records")]
    assert [row["key"]["recipe"] for row in rows] == ["few", "many"]
