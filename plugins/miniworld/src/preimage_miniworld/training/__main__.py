"""Command line: train the mini world's models and print their figures."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve

from preimage_miniworld.training.goals import table

_MODELS = Path(__file__).resolve().parents[1] / "models"
_NAMES = ("clip", "gpt2", "llama", "mood", "clip-judge", "sentence", "blip2", "attributes", "sd")


def main(arguments: list[str] | None = None) -> None:
    """Run ``python -m preimage_miniworld.training``."""
    parser = argparse.ArgumentParser(prog="python -m preimage_miniworld.training")
    parser.add_argument("job", choices=(*_NAMES, "all", "evaluate"), help="what to do")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal models")
    parser.add_argument("--build", type=Path, default=Path("build/miniworld"), help="checkpoints")
    parser.add_argument("--models", type=Path, default=_MODELS, help="where the models go")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--steps", type=int, help="train this many steps instead of the usual")
    parser.add_argument("--also", type=Path, help="a folder that gets the CLIP as it improves")
    options = parser.parse_args(arguments)

    import torch

    torch.set_num_threads(options.threads)
    names = _NAMES if options.job in ("all", "evaluate") else (options.job,)
    if options.job != "evaluate":
        for name in names:
            _train(name, options)
    from preimage_miniworld.training import figures

    measured: dict[str, float] = {}
    there = [name for name in names if _place(name, options).exists()]
    for name in names:
        if name in there:
            measured |= _measure(name, figures)(_place(name, options))
        else:
            print(f"{name}: not there; train it with: python -m preimage_miniworld.training {name}")
    if there == list(_NAMES):
        measured |= figures.storage_figures(options.models)
    if measured:
        print(table(measured))


def _place(name: str, options: argparse.Namespace) -> Path:
    """Return where a model goes: all are folders except the classifier, which is nothing but its weights."""
    place: Path = options.models / name
    return place.with_suffix(".safetensors") if name == "attributes" else place


def _train(name: str, options: argparse.Namespace) -> None:
    folder, build = _place(name, options), options.build / name

    def settings(kind: Callable[..., Any], **own: Any) -> Any:
        chosen = kind(seed=options.seed, **own)
        return evolve(chosen, steps=options.steps) if options.steps else chosen

    if name == "clip":
        from preimage_miniworld.training.clip import ClipTraining, train_clip

        train_clip(folder, build, settings(ClipTraining), options.also)
    elif name == "clip-judge":
        from preimage_miniworld.training.judge import JudgeTraining, train_judge

        train_judge(folder, build, settings(JudgeTraining))
    elif name == "mood":
        from preimage_miniworld.training.mood import MoodTraining, train_mood

        train_mood(folder, build, settings(MoodTraining))
    elif name == "sentence":
        from preimage_miniworld.training.sentence import SentenceTraining, train_sentence

        train_sentence(folder, build, settings(SentenceTraining))
    elif name == "blip2":
        from preimage_miniworld.training.captioner import CaptionerTraining, train_captioner

        train_captioner(folder, build, settings(CaptionerTraining))
    elif name == "attributes":
        from preimage_miniworld.training.attributes import AttributeTraining, train_attributes

        train_attributes(folder, build, settings(AttributeTraining))
    elif name == "sd":
        from preimage_miniworld.training.autoencoder import AutoencoderTraining, DecoderTraining
        from preimage_miniworld.training.diffusion import DiffusionTraining, train_diffusion

        parts = AutoencoderTraining(seed=options.seed), DecoderTraining(seed=options.seed)
        train_diffusion(folder, build, settings(DiffusionTraining), *parts)
    else:
        from preimage_miniworld.training.language import STEPS, LanguageTraining, train_language_model

        train_language_model(name, folder, build, settings(LanguageTraining, steps=STEPS[name]))


def _measure(name: str, figures: Any) -> Callable[[Path], dict[str, float]]:
    if name in ("gpt2", "llama"):
        return lambda folder: figures.language_figures(name, folder)
    measures = {
        "clip": figures.clip_figures,
        "clip-judge": figures.judge_figures,
        "mood": figures.mood_figures,
        "sentence": figures.sentence_figures,
        "attributes": figures.attribute_figures,
        "sd": figures.diffusion_figures,
        "blip2": figures.captioner_figures,
    }
    return measures[name]


if __name__ == "__main__":
    main()
