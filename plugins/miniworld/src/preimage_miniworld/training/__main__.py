"""Command line: train the mini world's models and print their figures."""

import argparse
import os
from pathlib import Path

from attrs import evolve

_MODELS = Path(__file__).resolve().parents[1] / "models"


def main(arguments: list[str] | None = None) -> None:
    """Run ``python -m preimage_miniworld.training``."""
    parser = argparse.ArgumentParser(prog="python -m preimage_miniworld.training")
    parser.add_argument("job", choices=("clip", "all", "evaluate"), help="what to do")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal models")
    parser.add_argument("--build", type=Path, default=Path("build/miniworld"), help="checkpoints")
    parser.add_argument("--models", type=Path, default=_MODELS, help="where the models go")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--steps", type=int, help="train this many steps instead of the usual")
    parser.add_argument("--also", type=Path, help="a folder that gets the model as it improves")
    options = parser.parse_args(arguments)

    import torch

    torch.set_num_threads(options.threads)
    if options.job in ("clip", "all"):
        from preimage_miniworld.training.clip import ClipTraining, train_clip

        settings = ClipTraining(seed=options.seed)
        if options.steps:
            settings = evolve(settings, steps=options.steps)
        train_clip(options.models / "clip", options.build / "clip", settings, options.also)
    from preimage_miniworld.training.figures import clip_figures, table

    print(table(clip_figures(options.models / "clip")))


if __name__ == "__main__":
    main()
