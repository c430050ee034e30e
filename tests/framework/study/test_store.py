"""Records that survive whatever happens to the process that wrote them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import attrs
import pytest
from PIL import Image

from preimage.api.events import Spent
from preimage.errors import InputError, StorageError
from preimage.study.images import collect, find
from preimage.study.record import Key, Mark, Record
from preimage.study.spec import Spec
from preimage.study.store import FILE, Store


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("one", "two"):
        Image.new("RGB", (4, 4)).save(tmp_path / "pictures" / f"{name}.png")
    images = collect(find(tmp_path / "pictures").pictures, tmp_path / "study/images")
    return Spec(images=tuple(images), recipes={"a": {"stages": [1]}, "b": {}}, seeds=(0, 5), measures={"k": ["v"]})


@pytest.fixture
def store(spec, tmp_path):
    with Store.create(tmp_path / "study", spec) as store:
        yield store


def record(recipe="a", image="one", seed=0, **fields):
    return Record(key=Key(recipe, image, seed), status="ok", **fields)


FULL = Record(
    key=Key("b", "two", 5),
    status="failed",
    traceback="Traceback …",
    text="ein roter Kreis ●",
    ids=(3, 4),
    tokens=("ein", "roter"),
    unstable=(1,),
    loss=0.1 + 0.2,
    terms={"clip": 0.3},
    spent=Spent(1, 2, 3, 0.5),
    trajectory=(Mark(1, 2, 0.1, 0.9), Mark(2, 3, 0.2, 0.3)),
    stop_reason="done",
    versions={"torch": "2"},
    models={"m": "hash"},
    measures={"f1": 0.5},
    pictures={"shared": ("pictures/b/two/5/shared-0.png",)},
    measuring_seconds=0.25,
)


def test_what_goes_in_comes_out(store, spec):
    """Records to the last bit, in the order of the study; another process may read meanwhile."""
    assert store.add(FULL, {"pictures/b/two/5/shared-0.png": b"png"})
    assert store.add(record())

    with Store.open(store.folder) as reader:
        assert reader.records() == [record(), FULL]
        assert reader.spec == spec
        assert reader.done() == {FULL.key, record().key}
    assert (store.folder / "pictures/b/two/5/shared-0.png").read_bytes() == b"png"


def test_each_run_has_one_record(store):
    """The first one counts, whoever else comes with another."""
    assert store.add(record(text="first"))
    assert not store.add(record(text="second"), {"pictures/late.png": b""})

    assert [kept.text for kept in store.records()] == ["first"]
    assert not (store.folder / "pictures/late.png").exists()


def test_a_study_can_be_moved(store, tmp_path):
    """Paths are relative to its folder."""
    store.add(FULL)
    store.close()
    store.folder.rename(tmp_path / "elsewhere")

    with Store.open(tmp_path / "elsewhere") as moved:
        assert moved.spec.images[0].path == tmp_path / "elsewhere/images/one.png"
        assert moved.spec.images[0].path.is_file()


def test_what_failed_makes_room_for_the_next_try(store):
    """It stays until there is one, and is told apart from what came to something."""
    store.add(record())
    store.add(FULL)

    assert store.done(failed=False) == {record().key}
    assert store.done() == {record().key, FULL.key}
    assert store.add(attrs.evolve(FULL, status="ok", text="second"))
    assert not store.add(attrs.evolve(FULL, text="third"))
    assert [kept.text for kept in store.records()] == ["", "second"]


def test_one_process_writes(store, spec):
    """A second one is told, and one that has ended is no obstacle."""
    with pytest.raises(InputError, match="Another process is running the study"):
        Store.open(store.folder, readonly=False)
    store.close()
    Store.open(store.folder, readonly=False).close()


def test_a_folder_has_one_study(store, spec):
    """A second one would overwrite it."""
    store.close()
    with pytest.raises(InputError, match="holds a study already"):
        Store.create(store.folder, spec)


def test_where_there_is_no_study(tmp_path):
    """The message says what to give."""
    with pytest.raises(InputError, match="holds no study: give the folder"):
        Store.open(tmp_path)


def test_another_version_is_not_read(store):
    """It might mean something else."""
    store.close()
    sqlite3.connect(store.folder / FILE).execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="tables of version 99, and this version of Preimage reads 1"):
        Store.open(store.folder)


def test_a_damaged_file_is_a_sentence(store):
    """And not a traceback of SQLite."""
    store.close()
    for path in store.folder.glob(f"{FILE}*"):
        path.write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match="is not a study"):
        Store.open(store.folder)


def test_a_full_disk_is_one_sentence_and_costs_nothing(store, monkeypatch):
    """Whether the pictures do not fit or the record; what was there before stays."""
    store.add(record())
    big = {f"pictures/{index}.png": bytes(100_000) for index in range(3)}
    monkeypatch.setattr("preimage.study.store._write", full)
    with pytest.raises(StorageError, match=r"cannot be written to .* \(No space left on device\): make room there"):
        store.add(FULL, big)
    monkeypatch.undo()

    assert store.records() == [record()]
    assert store.add(FULL)


def full(path, data):
    raise OSError(28, "No space left on device")


CHILD = """
import resource, signal, sys
from preimage.errors import StorageError
from preimage.study.record import Key, Record
from preimage.study.store import Store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Store.open(sys.argv[1], readonly=False) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
    for number in range(100):
        key = Key("ab"[number % 2], "one", number)
        try:
            store.add(Record(key=key, status="ok", text="x" * 10_000))
        except StorageError as error:
            print(number, error)
            break
"""


def test_a_file_that_cannot_grow_keeps_every_record(store):
    """SQLite itself finds no room: nothing that was announced is lost."""
    folder = store.folder
    store.close()
    done = subprocess.run([sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True, check=True)
    number, _, sentence = done.stdout.partition(" ")

    assert 0 < int(number) < 100
    assert sentence.startswith(f"The study cannot be written to {folder} (")
    with Store.open(folder, readonly=False) as again:
        assert len(again.done()) == int(number)
        assert again.add(record("b", "two", 5))


def test_differences_are_named(spec):
    """What has changed, by name."""
    image = attrs.evolve(spec.images[0], sha256="other")
    other = attrs.evolve(
        spec, images=(image,), recipes={"a": {"stages": [2]}, "c": {}}, seeds=(0,), measures={"k": ("v",)}, threads=2
    )

    assert spec.differences(spec) == []
    assert spec.differences(other) == [
        "the picture 'two' is gone",
        "the picture 'one' has changed",
        "the recipe 'b' is gone",
        "the recipe 'c' is new",
        "the recipe 'a' has changed",
        "seeds: (0, 5), now (0,)",
        "threads: 1, now 2",
    ]
