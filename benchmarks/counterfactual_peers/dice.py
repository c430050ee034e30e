"""DiCE (pip install dice-ml) on a job of the benchmark: ``python dice.py JOB.json``."""

from __future__ import annotations

import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import dice_ml
import pandas as pd
from remote import Remote, run

warnings.simplefilter("ignore")


def main(path):
    """Explain the job's queries with DiCE's defaults, one counterfactual each."""
    job = json.loads(Path(path).read_text())
    folder = Path(path).parent
    train, queries = pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "queries.csv")
    numbers = [name for name in job["columns"] if name not in job["nominal"]]
    data = dice_ml.Data(dataframe=train, continuous_features=numbers, outcome_name="label")
    remote = Remote(job)
    explainer = dice_ml.Dice(data, dice_ml.Model(model=remote, backend="sklearn"), method=job["method"])
    vary = [name for name in job["columns"] if name not in job["immutable"]]
    seeded = {"random_seed": 0} if job["method"] == "random" else {}

    def explain(position):
        result = explainer.generate_counterfactuals(
            queries.iloc[position : position + 1],
            total_CFs=1,
            desired_class=int(job["wanted"][position]),
            features_to_vary=vary if job["immutable"] else "all",
            **seeded,
        )
        found = result.cf_examples_list[0].final_cfs_df
        return None if found is None or not len(found) else found[job["columns"]].iloc[0].tolist()

    run(job, folder, explain, remote, f"DiCE {version('dice-ml')}")


main(sys.argv[1])
