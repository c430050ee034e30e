"""A study as tables: every run, every method's numbers, and what predicts the truth, as CSV and Parquet.

The CSV files need nothing installed. Parquet files are written beside them where pandas and pyarrow are there.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage.errors import StorageError
from preimage.study.statistics import Interval
from preimage.study.summary import Summary, summarise

if TYPE_CHECKING:
    from preimage.study.store import Store

__all__ = ["NO_PARQUET", "rows_of", "write"]

NO_PARQUET = 'Parquet files need pandas and pyarrow, which are not both installed: pip install "preimage[parquet]".'

FOLDER = "tables"


def write(store: Store, summary: Summary | None = None) -> list[Path]:
    """Write ``runs``, ``methods`` and ``predictors`` into the study's folder ``tables``, and return the files.

    Arguments:
        store: the study.
        summary: its numbers; made anew without it.

    Raises:
        StorageError: there is no room, or the folder cannot be written to.
    """
    tables = rows_of(summarise(store) if summary is None else summary)
    folder = Path(store.folder) / FOLDER
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            written.append(_write_csv(folder / f"{name}.csv", rows))
            if rows and _has_parquet():
                written.append(_write_parquet(folder / f"{name}.parquet", rows))
    except OSError as error:
        message = f"The tables cannot be written to {folder} ({error.strerror or error}): make room there, and go on."
        raise StorageError(message) from error
    return written


def rows_of(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table.

    ``runs`` has one a run, failed ones included; ``methods`` one for each measure and recipe, with the interval over
    pictures, the difference from the best method and its p-value, corrected for as many pairs of methods;
    ``predictors`` one for each measure, with its rank correlation with the similarity of regenerated pictures; below
    them stands the objective among the runs of each recipe alone.
    """
    return {"runs": _runs(summary), "methods": _methods(summary), "predictors": _predictors(summary)}


def _runs(summary: Summary) -> list[dict[str, Any]]:
    captions = {image.name: image.caption for image in summary.spec.images}
    names = sorted({name for record in summary.records for name in record.measures})
    rows = []
    for record in (*summary.records, *summary.failed):
        spent = record.spent
        rows.append(
            {
                "recipe": record.key.recipe,
                "kind": summary.kinds.get(record.key.recipe, ""),
                "image": record.key.image,
                "seed": record.key.seed,
                "status": record.status,
                "text": record.text,
                "true_prompt": captions.get(record.key.image),
                "loss": record.loss,
                "changed_tokens": len(record.unstable),
                "stop_reason": record.stop_reason,
                "candidates": spent.candidates,
                "forward": spent.forward,
                "backward": spent.backward,
                "seconds": spent.seconds,
                "measuring_seconds": record.measuring_seconds,
                **{name: record.measures.get(name) for name in names},
            }
        )
    return rows


def _methods(summary: Summary) -> list[dict[str, Any]]:
    rows = []
    for measure in summary.measures:
        for recipe, cell in summary.cells[measure.name].items():
            difference = cell.difference
            rows.append(
                {
                    "measure": measure.name,
                    "higher_is_better": measure.higher_is_better,
                    "recipe": recipe,
                    "pictures": cell.interval.count,
                    "mean": cell.interval.value,
                    "low": cell.interval.low,
                    "high": cell.interval.high,
                    "best": cell.best,
                    "difference": None if difference is None else difference.value,
                    "difference_low": None if difference is None else difference.low,
                    "difference_high": None if difference is None else difference.high,
                    "p_value": cell.p_value,
                }
            )
    return rows


def _predictors(summary: Summary) -> list[dict[str, Any]]:
    truth = summary.truth.name if summary.truth else ""
    rows: list[tuple[str, str, Interval | None, Interval]] = [
        (correlation.measure.name, "", correlation.within, correlation.pooled) for correlation in summary.correlations
    ]
    objective = summary.objective.name if summary.objective else ""
    rows += [(objective, recipe, None, interval) for recipe, interval in summary.of_methods.items()]
    return [
        {
            "measure": measure,
            "truth": truth,
            "recipe": recipe,
            **_ends("within_picture", within),
            **_ends("pooled", pooled),
        }
        for measure, recipe, within, pooled in rows
    ]


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    parts = {"": "value", "_low": "low", "_high": "high"}
    return {f"{name}{end}": None if interval is None else getattr(interval, part) for end, part in parts.items()}


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["empty"])
        writer.writeheader()
        writer.writerows(rows)
    return temporary.replace(path)


def _has_parquet() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("pandas", "pyarrow"))


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    import pandas as pd

    temporary = path.with_name(f".{path.name}")
    pd.DataFrame(list(rows)).to_parquet(temporary, index=False)
    return temporary.replace(path)
