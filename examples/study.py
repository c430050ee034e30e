"""Does it pay to begin with a random search? Two recipes at equal cost on unseen pictures, in several processes."""

from __future__ import annotations

import argparse
from pathlib import Path

from preimage import Budget, Pipeline, Stage, Study, Term
from preimage.study.study import Progress

GCG = Stage(optimizer="gcg", budget=Budget(num_steps=1000), options={"search_width": 64, "topk": 16})
RANDOM = Stage(optimizer="random-search", budget=Budget(max_candidates=500))
TERM = Term(objective="clip-similarity", model="miniworld:clip")
RECIPES = {
    "gcg": Pipeline(stages=[GCG], terms=[TERM]),
    "random-search -> gcg": Pipeline(stages=[RANDOM, GCG], terms=[TERM]),
}


def main() -> None:
    """Run the study, or what is left of it, and print the mean of each measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/example-study"))
    parser.add_argument("--pictures", type=int, default=5)
    parser.add_argument("--max-candidates", type=float, default=2000, help="of each run, all stages together")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()

    study = Study(
        f"miniworld:held-out:{arguments.pictures}",
        RECIPES,
        equalise="candidates",
        budget=arguments.max_candidates,
        measures={"generator": None},
    )
    records = study.run(arguments.folder, workers=arguments.workers, listener=show)
    for recipe in RECIPES:
        own = [record.measures for record in records if record.key.recipe == recipe and record.status == "ok"]
        means = {name: sum(values[name] for values in own) / len(own) for name in own[0]}
        print(recipe, *(f"{name} {value:.3f}" for name, value in means.items()), sep="\n  ")
    print(f"more of it: {arguments.folder / 'report.html'}")


def show(progress: Progress) -> None:
    """Print how far the study is."""
    print(f"{progress.done} of {progress.total} runs, {progress.failed} failed")


if __name__ == "__main__":
    main()
