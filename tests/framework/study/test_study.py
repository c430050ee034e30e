"""Studies carried out: here, in processes and on Dask, undisturbed and killed, with the same records."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import attrs
import pytest
from PIL import Image

from preimage import Budget, Pipeline, Stage, Study, Term, catalogue
from preimage.errors import InputError, OptionError, StorageError, UnknownNameError, WorkerError
from preimage.executors import InProcess, Processes
from preimage.study import store as stores
from preimage.study.store import FILE, Store
from preimage.study.study import go_on
from preimage.study.work import run_unit

TERM = Term(objective="clip-similarity", model="miniworld:clip")
RECIPES = {
    "random-search": Pipeline(stages=[Stage(optimizer="random-search", budget=Budget(num_steps=2))], terms=[TERM]),
    "random -> gcg": Pipeline(
        stages=[
            Stage(optimizer="random-search", budget=Budget(max_candidates=100)),
            Stage(optimizer="gcg", budget=Budget(num_steps=9), options={"search_width": 64}),
        ],
        terms=[TERM],
    ),
}
MEASURES = {"text_encoder": None, "language_model": None, "generator": None, "distances": ["token-f1"]}
TOTAL = 300


def study(**changes):
    options = {"seeds": 2, "measures": MEASURES, "equalise": "candidates", "budget": TOTAL, **changes}
    return Study("miniworld:held-out:3", RECIPES, **options)


def timeless(records):
    return [record.timeless() for record in records]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The records of the study that nothing happened to."""
    return study().run(tmp_path_factory.mktemp("undisturbed") / "study")


@pytest.fixture(scope="module")
def executors():
    """Both kinds of workers, started once for all tests."""
    processes = Processes(2)
    dask = catalogue().build("executor", "dask", workers=2)
    yield {"processes": processes, "dask": dask}
    processes.shutdown()
    dask.shutdown()


def test_every_run_has_a_record_with_all_there_is_to_know(undisturbed):
    """Found, measured, and at the cost that all recipes have in common."""
    assert [str(record.key) for record in undisturbed] == [
        f"{recipe} on {image} with seed {seed}"
        for seed in (0, 1)
        for image in ("0000", "0001", "0002")
        for recipe in RECIPES
    ]
    for record in undisturbed:
        assert record.status == "ok", record.traceback
        assert record.spent.candidates == record.trajectory[-1].candidates == TOTAL
        assert record.loss == pytest.approx(1 - record.measures["similarity"], abs=1e-5)
        assert len(record.tokens) == len(record.ids) > 0
        assert {"held-out-similarity", "token-f1"} <= set(record.measures)
        assert record.models.keys() == {"miniworld:clip"}


@pytest.mark.parametrize("name", ["processes", "dask"])
def test_the_executor_makes_no_difference(undisturbed, executors, tmp_path, name):
    """Two workers find the same, to the last bit."""
    found = study().run(tmp_path / "study", executor=executors[name])

    assert timeless(found) == timeless(undisturbed)


@pytest.mark.parametrize("name", ["processes", "dask"])
def test_a_worker_that_is_killed_makes_no_difference(undisturbed, executors, tmp_path, name):
    """Its run is done again by another."""
    killed = []

    def kill(progress):
        if progress.done in (2, 5):
            killed.append(executors[name].process_ids[0])
            os.kill(killed[-1], signal.SIGKILL)

    found = study().run(tmp_path / "study", executor=executors[name], listener=kill)

    assert len(killed) == 2
    assert timeless(found) == timeless(undisturbed)


def test_a_study_that_is_killed_goes_on(undisturbed, tmp_path):
    """What had ended is kept, exactly once, and nothing of it is done again."""
    script = "from test_study import study\nif __name__ == '__main__':\n    study().run('study', workers=2)\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment) as process:
        while process.poll() is None and _count(tmp_path / "study") < 3:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    with Store.open(tmp_path / "study") as store:
        before = store.records()
    found = study().run(tmp_path / "study")

    assert 3 <= len(before) < len(undisturbed)
    assert [record for record in found if record in before] == before
    assert timeless(found) == timeless(undisturbed)


def _count(folder):
    if not Store.exists(folder):
        return 0
    with Store.open(folder) as store:
        return len(store.done())


def test_an_error_with_one_picture_fails_its_runs_alone(undisturbed, tmp_path, executors):
    """The traceback is in their records; after mending it only they are run again."""
    folder = tmp_path / "study"
    original = []

    def damage(progress):
        if progress.record is None:
            original.append((folder / "images/0002.png").read_bytes())
            (folder / "images/0002.png").write_bytes(original[0][:60])

    found = study().run(folder, listener=damage, executor=executors["processes"])
    failed = [record for record in found if record.status == "failed"]
    assert {record.key.image for record in failed} == {"0002"}
    assert len(failed) == 4
    assert all("Traceback" in record.traceback and "0002.png is" in record.traceback for record in failed)
    assert timeless(record for record in found if record.status == "ok") == timeless(
        record for record in undisturbed if record.key.image != "0002"
    )

    (folder / "images/0002.png").write_bytes(original[0])
    assert go_on(folder) == found
    heard = []
    assert timeless(go_on(folder, retry_failed=True, listener=heard.append)) == timeless(undisturbed)
    assert [(progress.done, progress.failed) for progress in (heard[0], heard[-1])] == [(8, 0), (12, 0)]


def test_what_failed_is_kept_until_it_is_run_again(tmp_path, monkeypatch):
    """An executor that is not there, or that is lost at once, costs no record."""
    monkeypatch.setattr("preimage.study.measuring.measured", broken)
    found = study(seeds=1, limit=1).run(tmp_path / "study")
    monkeypatch.undo()
    assert {record.status for record in found} == {"failed"}

    with pytest.raises(UnknownNameError, match="no executor 'dusk'"):
        go_on(tmp_path / "study", retry_failed=True, executor="dusk")
    with pytest.raises(ConnectionError):
        go_on(tmp_path / "study", retry_failed=True, executor=Lost())
    assert go_on(tmp_path / "study") == found
    assert {record.status for record in go_on(tmp_path / "study", retry_failed=True)} == {"ok"}


def broken(*arguments):
    raise ArithmeticError("no number")


def test_what_was_found_is_kept_where_it_cannot_be_measured(tmp_path, monkeypatch):
    """The search has been paid for."""
    monkeypatch.setattr("preimage.study.measuring.measured", broken)
    record, _ = study(seeds=1, limit=1).run(tmp_path / "study")

    assert record.status == "failed"
    assert "ArithmeticError: no number" in record.traceback
    assert record.text
    assert record.loss is not None


def test_a_full_disk_stops_the_study_and_loses_nothing(undisturbed, tmp_path, monkeypatch):
    """One sentence; with more room, the same call does the rest."""
    connected = stores._connected

    def small(*arguments, **options):
        connection = connected(*arguments, **options)
        # SQLite takes the present size where the limit is below it.
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(stores, "_connected", small)
    with pytest.raises(StorageError, match=r"cannot be written to .*full\): make room there"):
        study().run(tmp_path / "study")
    monkeypatch.undo()
    kept = _count(tmp_path / "study")

    assert 0 < kept < len(undisturbed)
    assert timeless(study().run(tmp_path / "study")) == timeless(undisturbed)


@pytest.mark.parametrize("error", [WorkerError, BrokenProcessPool])
def test_work_that_kills_its_workers_fails_alone(tmp_path, error):
    """Whoever gave it up says so in the record, whatever an executor calls it."""

    class Deadly:
        def submit(self, function, /, *arguments):
            return self if function is run_unit else InProcess().submit(function, *arguments)

        def done(self):
            return True

        def cancel(self):
            return False

        def result(self):
            raise error("5 processes died of the same work")

    (record,) = study(seeds=1, limit=1).run(tmp_path / "study", executor=Deadly())[:1]

    assert record.status == "failed"
    assert f"{error.__name__}: 5 processes died" in record.traceback


class Lost:
    """An executor that takes no work."""

    def submit(self, function, /, *arguments):
        raise ConnectionError("the scheduler is gone")


def test_an_executor_that_fails_stops_the_study(tmp_path):
    """That is no fault of the runs, so none of them is said to have failed."""
    with pytest.raises(ConnectionError):
        study().run(tmp_path / "study", executor=Lost())
    assert _count(tmp_path / "study") == 0


def test_another_study_is_refused(undisturbed, tmp_path):
    """The message names what differs, and how to go on with the one that is there."""
    study(seeds=1).run(tmp_path / "study")
    with pytest.raises(InputError, match=r"holds another study \(seeds: \(0,\), now \(0, 1\)\).*compare --resume"):
        study().run(tmp_path / "study")
    with pytest.raises(InputError, match="equalised: 'max_candidates=300', now 'max_candidates=200'"):
        study(seeds=1, budget=200).run(tmp_path / "study")


def test_a_finished_study_runs_nothing(tmp_path):
    """The second call reads what the first has found."""
    records = study(seeds=1, limit=1).run(tmp_path / "study")

    class Nobody:
        def submit(self, function, /, *arguments):
            raise AssertionError

    assert study(seeds=1, limit=1).run(tmp_path / "study", executor=Nobody()) == records


def test_the_progress_is_told(tmp_path):
    """Once at the beginning and once for each run."""
    heard = []
    study(seeds=1, limit=1).run(tmp_path / "study", listener=heard.append)

    assert [(progress.done, progress.failed, progress.total) for progress in heard] == [(0, 0, 2), (1, 0, 2), (2, 0, 2)]
    assert [progress.record and progress.record.key.recipe for progress in heard] == [None, *RECIPES]


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"seeds": 0}, InputError, "distinct seeds"),
        ({"seeds": [1, 1]}, InputError, "distinct seeds"),
        ({"threads": 0}, InputError, "a thread"),
        ({"limit": 0}, InputError, "allow at least 1"),
        ({"equalise": None}, InputError, "A budget of 300 is given, but not of what"),
        ({"measures": {"helt_out": "miniworld:clip"}}, OptionError, "Did you mean 'held_out'"),
        ({"measures": {"held_out": "miniwrld:clip"}}, UnknownNameError, "no model 'miniwrld'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(tmp_path, changes, error, sentence):
    """A mistake costs no search."""
    with pytest.raises(error, match=sentence):
        study(**changes).run(tmp_path / "study")
    assert not Store.exists(tmp_path / "study")


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"held_out": "miniworld:nothing"}, UnknownNameError, "has no model 'nothing'"),
        ({"device": "tpu"}, InputError, "device 'tpu' cannot be used"),
    ],
)
@pytest.mark.parametrize("name", ["here", "processes"])
def test_a_model_that_is_not_there_costs_no_search(tmp_path, executors, name, changes, error, sentence):
    """Whoever is to run it says so at once, and the same folder takes the study with the slip mended."""
    executor = executors.get(name, name)
    with pytest.raises(error, match=sentence):
        study(seeds=1, limit=1, measures={**MEASURES, **changes}).run(tmp_path / "study", executor=executor)
    assert _count(tmp_path / "study") == 0
    with pytest.raises(error, match=sentence):
        go_on(tmp_path / "study", executor=executor)

    found = study(seeds=1, limit=1).run(tmp_path / "study", executor=executor)
    assert {record.status for record in found} == {"ok"}
    assert go_on(tmp_path / "study") == found


def test_a_recipes_model_that_is_not_there_costs_no_search(tmp_path):
    """Not even those of the other recipes."""
    lost = attrs.evolve(RECIPES["random-search"], terms=[attrs.evolve(TERM, model="miniworld:nothing")])
    with pytest.raises(UnknownNameError, match="has no model 'nothing'"):
        Study("miniworld:held-out:1", {**RECIPES, "lost": lost}, measures=None).run(tmp_path / "study")
    assert _count(tmp_path / "study") == 0


def test_recipes_are_told_apart(tmp_path):
    """By the stems of their files."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "gcg.toml").write_text("")
    with pytest.raises(InputError, match="Two recipes are named 'gcg'"):
        Study("miniworld:held-out:1", [tmp_path / "one/gcg.toml", tmp_path / "two/gcg.toml"])
    with pytest.raises(InputError, match="has no recipe"):
        Study("miniworld:held-out:1", [])


def test_pictures_can_be_handed_over(tmp_path):
    """Files and images, for those who have them at hand."""
    from preimage_miniworld.data import demo_scenes

    (_, first, _), (_, second, _), _ = demo_scenes()
    first.save(tmp_path / "first.png")
    recipes = {"random-search": RECIPES["random-search"].to_dict()}
    records = Study([tmp_path / "first.png", second], recipes, measures=None).run(tmp_path / "study")

    assert [(record.key.image, record.status, dict(record.measures)) for record in records] == [
        ("first", "ok", {}),
        ("0001", "ok", {}),
    ]


def test_pictures_of_one_name_are_refused(tmp_path):
    """Two folders may each have a 0.png; of a list of both, one would never be run and the other told of twice."""
    for name, colour in (("one", "red"), ("two", "blue")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), colour).save(tmp_path / name / "0.png")
    with pytest.raises(InputError, match="The list of pictures has several pictures of the name '0': rename"):
        Study([tmp_path / "one", tmp_path / "two"], RECIPES, measures=None)
    assert Study([tmp_path / "one", tmp_path / "two"], RECIPES, measures=None, limit=1)


def test_the_records_are_in_one_sqlite_file(undisturbed, tmp_path):
    """Other tools can read them."""
    records = study(seeds=1, limit=1).run(tmp_path / "study")
    rows = sqlite3.connect(tmp_path / "study" / FILE).execute("SELECT recipe, text, loss FROM records").fetchall()

    assert sorted(rows) == sorted((record.key.recipe, record.text, record.loss) for record in records)
