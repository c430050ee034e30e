"""NICE (pip install NICEx) on a job of the benchmark: ``python nice.py JOB.json``."""

from __future__ import annotations

import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

# This file would otherwise be what "import nice" finds.
sys.path.append(sys.path.pop(0))

import pandas as pd
from nice import NICE
from remote import Remote, run

warnings.simplefilter("ignore")


def main(path):
    """Explain the job's queries with NICE's defaults."""
    job = json.loads(Path(path).read_text())
    folder = Path(path).parent
    train, queries = pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "queries.csv")
    codes = {name: sorted(train[name].unique()) for name in job["nominal"]}
    nominal = [job["columns"].index(name) for name in job["nominal"]]
    remote = Remote(job)

    def coded(frame):
        frame = frame[job["columns"]].copy()
        for name, levels in codes.items():
            frame[name] = [levels.index(value) for value in frame[name]]
        # What pandas hands out may be read-only, and NICE writes into it.
        return frame.to_numpy(dtype=float, copy=True)

    def decoded(rows):
        table = [list(map(float, row)) for row in rows]
        for row in table:
            for place, levels in zip(nominal, codes.values(), strict=True):
                row[place] = levels[round(row[place])]
        return table

    explainer = NICE(
        X_train=coded(train),
        y_train=train["label"].to_numpy(copy=True),
        predict_fn=lambda rows: remote.predict_proba(pd.DataFrame(decoded(rows), columns=job["columns"])),
        cat_feat=nominal,
        num_feat=[place for place in range(len(job["columns"])) if place not in nominal],
        optimization=job["method"],
    )
    rows = coded(queries)

    def explain(position):
        found = explainer.explain(rows[position : position + 1], target_class=[int(job["wanted"][position])])
        return decoded(found)[0]

    run(job, folder, explain, remote, f"NICE {version('NICEx')}")


main(sys.argv[1])
