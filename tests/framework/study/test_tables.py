"""The tables hold every run and every number, and read back as they were written."""

from __future__ import annotations

import csv

import attrs
import pandas as pd
import pytest

from preimage.errors import StorageError
from preimage.study import tables
from preimage.study.summary import summarise

HOSTILE = 'he said "red, blue"\nand <b>left</b>; \N{SNOWMAN}'


def fails_once(record):
    if (record.key.recipe, record.key.image, record.key.seed) == ("gcg", "01", 1):
        return attrs.evolve(record, status="failed", traceback="ValueError: no", measures={}, pictures={}, loss=None)
    return attrs.evolve(record, text=HOSTILE)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_runs(planted):
    """One row a run, failed ones too, whatever the prompts hold."""
    store = planted.store(change=fails_once)
    summary = summarise(store)
    tables.write(store, summary)
    rows = read(store.folder / "tables" / "runs.csv")
    assert len(rows) == 4 * 8 * 2
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert (failed["recipe"], failed["image"], failed["seed"], failed["loss"]) == ("gcg", "01", "1", "")
    assert {row["text"] for row in rows if row["status"] == "ok"} == {HOSTILE}
    found = {(row["recipe"], row["image"], int(row["seed"])): row for row in rows}
    for record in summary.records:
        row = found[record.key.recipe, record.key.image, record.key.seed]
        assert float(row["similarity"]) == record.measures["similarity"]
        assert row["true_prompt"].endswith("star")


def test_methods_and_predictors(planted):
    """They are the summary's numbers."""
    store = planted.store()
    summary = summarise(store)
    tables.write(store, summary)
    rows = {(row["measure"], row["recipe"]): row for row in read(store.folder / "tables" / "methods.csv")}
    cell = summary.cells["similarity"]["random"]
    row = rows["similarity", "random"]
    assert [float(row[name]) for name in ("mean", "low", "high", "p_value", "difference_high")] == [
        cell.interval.value,
        cell.interval.low,
        cell.interval.high,
        cell.p_value,
        cell.difference.high,
    ]
    assert rows["similarity", "gcg"]["best"] == "True"
    assert rows["similarity", "gcg"]["difference"] == ""
    written = read(store.folder / "tables" / "predictors.csv")
    predictors = {row["measure"]: row for row in written if not row["recipe"]}
    assert {row["recipe"]: float(row["pooled"]) for row in written if row["recipe"]} == {
        recipe: interval.value for recipe, interval in summary.of_methods.items()
    }
    assert float(predictors["loss"]["within_picture"]) == next(
        each.within.value for each in summary.correlations if each.measure.name == "loss"
    )


def test_parquet_is_the_same(planted):
    """Each CSV file has a twin with types."""
    store = planted.store(change=fails_once)
    files = tables.write(store)
    assert {file.name for file in files} == {
        f"{name}.{kind}" for name in ("runs", "methods", "predictors") for kind in ("csv", "parquet")
    }
    for name in ("runs", "methods", "predictors"):
        parquet = pd.read_parquet(store.folder / "tables" / f"{name}.parquet")
        assert [str(value) for value in parquet.iloc[0]] == [
            str(value) for value in pd.DataFrame(tables.rows_of(summarise(store))[name]).iloc[0]
        ]
    runs = pd.read_parquet(store.folder / "tables" / "runs.parquet")
    assert runs["candidates"].dtype.kind == "i"
    assert runs["loss"].isna().sum() == 1


def test_without_pandas(planted, monkeypatch):
    """CSV needs nothing."""
    monkeypatch.setattr(tables, "_has_parquet", lambda: False)
    files = tables.write(planted.store())
    assert [file.suffix for file in files] == [".csv"] * 3


def test_study_that_has_just_begun(planted):
    """A study with no record has tables without rows."""
    store = planted.store(seeds=())
    files = tables.write(store)
    assert [len(read(file)) for file in files if file.suffix == ".csv"] == [0, 0, 0]


def test_no_room(planted):
    """What is in the way is said in a sentence."""
    store = planted.store(n_images=2)
    (store.folder / "tables").write_text("a file")
    with pytest.raises(StorageError, match="The tables cannot be written to .*tables .*make room"):
        tables.write(store)
