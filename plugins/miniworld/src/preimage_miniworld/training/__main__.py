"""Command line: train the mini world's models and print their figures."""

import argparse
import os
import time
from pathlib import Path

from preimage_miniworld.training import figures
from preimage_miniworld.training.goals import table
from preimage_miniworld.training.jobs import JOBS, MODELS, make_pool, place_of, train_one
from preimage_miniworld.training.side_by_side import carry_out

_FOLDER = Path(__file__).resolve().parents[1] / "models"


def main(arguments: list[str] | None = None) -> None:
    """Run ``python -m preimage_miniworld.training``."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(prog="python -m preimage_miniworld.training")
    parser.add_argument("job", choices=(*JOBS, "all", "evaluate"), help="what to do")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal models")
    parser.add_argument("--build", type=Path, help="checkpoints; build/miniworld/SEED unless it is given")
    parser.add_argument("--models", type=Path, default=_FOLDER, help="where the models go")
    parser.add_argument("--workers", type=int, default=min(2, cores), help="trainings side by side, of all")
    parser.add_argument("--threads", type=int, help="CPU threads of each training")
    parser.add_argument("--steps", type=int, help="train this many steps instead of the usual")
    options = parser.parse_args(arguments)

    began = time.monotonic()
    workers = max(1, options.workers) if options.job == "all" else 1
    build = options.build or Path("build/miniworld") / str(options.seed)
    work = options.models, build, options.seed, options.threads or max(1, cores // workers), options.steps
    if options.job == "all":
        make_pool(build, options.seed)
        carry_out({name: job.needs for name, job in JOBS.items()}, workers, train_one, *work)
    elif options.job != "evaluate":
        train_one(options.job, *work)
    hours = (time.monotonic() - began) / 3_600

    measured: dict[str, float] = {}
    names = MODELS if options.job in ("all", "evaluate") else (options.job,)
    for name in names:
        measure, place = JOBS[name].measure, place_of(name, options.models)
        if measure is not None and place.exists():
            measured |= measure(place)
        elif measure is not None:
            print(f"{name}: not there; train it with: python -m preimage_miniworld.training {name}")
    if all(place_of(name, options.models).exists() for name in names) and names == MODELS:
        measured |= figures.storage_figures(options.models)
    if options.job == "all":
        measured |= figures.training_figures(build) | {"all models: hours of this command": hours}
    if measured:
        print(table(measured))


if __name__ == "__main__":
    main()
