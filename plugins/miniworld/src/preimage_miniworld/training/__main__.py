"""Command line: train the mini world's models and print their figures."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from preimage_miniworld.training import figures
from preimage_miniworld.training.attributes import AttributeTraining, train_attributes
from preimage_miniworld.training.autoencoder import AutoencoderTraining, DecoderTraining
from preimage_miniworld.training.captioner import CaptionerTraining, train_captioner
from preimage_miniworld.training.clip import ClipTraining, train_clip
from preimage_miniworld.training.diffusion import DiffusionTraining, train_diffusion
from preimage_miniworld.training.goals import table
from preimage_miniworld.training.judge import JudgeTraining, train_judge
from preimage_miniworld.training.language import STEPS, LanguageTraining, train_language_model
from preimage_miniworld.training.mood import MoodTraining, train_mood
from preimage_miniworld.training.sentence import SentenceTraining, train_sentence

_MODELS = Path(__file__).resolve().parents[1] / "models"


@frozen
class _Job:
    """How a model is trained, into a folder with its checkpoints in another, and how it is measured."""

    settings: Callable[..., Any]
    train: Callable[[Path, Path, Any], None]
    measure: Callable[[Path], dict[str, float]]


def _train_diffusion(folder: Path, build: Path, settings: DiffusionTraining) -> None:
    parts = AutoencoderTraining(seed=settings.seed), DecoderTraining(seed=settings.seed)
    train_diffusion(folder, build, settings, *parts)


def _language(name: str) -> _Job:
    return _Job(
        partial(LanguageTraining, steps=STEPS[name]),
        partial(train_language_model, name),
        partial(figures.language_figures, name),
    )


# In an order in which each finds beside it what it begins with.
_JOBS = {
    "clip": _Job(ClipTraining, train_clip, figures.clip_figures),
    "gpt2": _language("gpt2"),
    "llama": _language("llama"),
    "mood": _Job(MoodTraining, train_mood, figures.mood_figures),
    "clip-judge": _Job(JudgeTraining, train_judge, figures.judge_figures),
    "sentence": _Job(SentenceTraining, train_sentence, figures.sentence_figures),
    "blip2": _Job(CaptionerTraining, train_captioner, figures.captioner_figures),
    "attributes": _Job(AttributeTraining, train_attributes, figures.attribute_figures),
    "sd": _Job(DiffusionTraining, _train_diffusion, figures.diffusion_figures),
}


def main(arguments: list[str] | None = None) -> None:
    """Run ``python -m preimage_miniworld.training``."""
    parser = argparse.ArgumentParser(prog="python -m preimage_miniworld.training")
    parser.add_argument("job", choices=(*_JOBS, "all", "evaluate"), help="what to do")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal models")
    parser.add_argument("--build", type=Path, default=Path("build/miniworld"), help="checkpoints")
    parser.add_argument("--models", type=Path, default=_MODELS, help="where the models go")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--steps", type=int, help="train this many steps instead of the usual")
    options = parser.parse_args(arguments)

    import torch

    torch.set_num_threads(options.threads)
    names = tuple(_JOBS) if options.job in ("all", "evaluate") else (options.job,)
    if options.job != "evaluate":
        for name in names:
            job, own = _JOBS[name], {"steps": options.steps} if options.steps else {}
            settings = evolve(job.settings(seed=options.seed), **own)
            job.train(_place(name, options.models), options.build / name, settings)

    measured: dict[str, float] = {}
    there = [name for name in names if _place(name, options.models).exists()]
    for name in names:
        if name in there:
            measured |= _JOBS[name].measure(_place(name, options.models))
        else:
            print(f"{name}: not there; train it with: python -m preimage_miniworld.training {name}")
    if there == list(_JOBS):
        measured |= figures.storage_figures(options.models)
    if options.job == "all":
        measured |= figures.training_figures(options.build)
    if measured:
        print(table(measured))


def _place(name: str, models: Path) -> Path:
    """Return where a model goes: all are folders except the classifier, which is nothing but its weights."""
    place = models / name
    return place.with_suffix(".safetensors") if name == "attributes" else place


if __name__ == "__main__":
    main()
