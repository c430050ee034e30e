"""What there is to train, what each training needs to be there, and how what comes of it is measured."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from preimage_miniworld.training import figures
from preimage_miniworld.training.attributes import AttributeTraining, train_attributes
from preimage_miniworld.training.autoencoder import AutoencoderTraining, DecoderTraining
from preimage_miniworld.training.captioner import CaptionerTraining, train_captioner
from preimage_miniworld.training.clip import ClipTraining, train_clip
from preimage_miniworld.training.diffusion import DiffusionTraining, train_diffusion, trained_autoencoder
from preimage_miniworld.training.judge import JudgeTraining, train_judge
from preimage_miniworld.training.language import STEPS, LanguageTraining, train_language_model
from preimage_miniworld.training.mood import MoodTraining, train_mood
from preimage_miniworld.training.pool import load_pool
from preimage_miniworld.training.sentence import SentenceTraining, train_sentence
from preimage_miniworld.training.tokenizer import prose_words

__all__ = ["JOBS", "MODELS", "Job", "make_pool", "place_of", "train_one"]


@frozen
class Job:
    """How a model is trained, into a folder with its checkpoints in another, and how it is measured.

    Attributes:
        settings: Builds the settings from a seed.
        train: Gets the model's folder, that of its checkpoints, and the settings.
        measure: Returns figures of the folder; None for what is a part of another model.
        needs: The jobs that have to be done before.
    """

    settings: Callable[..., Any]
    train: Callable[[Path, Path, Any], None]
    measure: Callable[[Path], dict[str, float]] | None
    needs: tuple[str, ...] = ()


def _train_autoencoder(_: Path, build: Path, settings: AutoencoderTraining) -> None:
    denoising, decoding = DiffusionTraining(seed=settings.seed), DecoderTraining(seed=settings.seed)
    trained_autoencoder(build.with_name("sd"), denoising, settings, decoding)


def _train_diffusion(folder: Path, build: Path, settings: DiffusionTraining) -> None:
    parts = AutoencoderTraining(seed=settings.seed), DecoderTraining(seed=settings.seed)
    train_diffusion(folder, build, settings, *parts)


def _language(name: str, needs: tuple[str, ...] = ()) -> Job:
    return Job(
        partial(LanguageTraining, steps=STEPS[name]),
        partial(train_language_model, name),
        partial(figures.language_figures, name),
        needs,
    )


JOBS: Mapping[str, Job] = {
    "clip": Job(ClipTraining, train_clip, figures.clip_figures),
    "autoencoder": Job(AutoencoderTraining, _train_autoencoder, None),
    "attributes": Job(AttributeTraining, train_attributes, figures.attribute_figures),
    "sd": Job(DiffusionTraining, _train_diffusion, figures.diffusion_figures, ("clip", "autoencoder", "attributes")),
    "gpt2": _language("gpt2"),
    "blip2": Job(CaptionerTraining, train_captioner, figures.captioner_figures, ("gpt2",)),
    "clip-judge": Job(JudgeTraining, train_judge, figures.judge_figures),
    # It reads the captions that were drawn for the first language model.
    "llama": _language("llama", ("gpt2",)),
    "sentence": Job(SentenceTraining, train_sentence, figures.sentence_figures),
    "mood": Job(MoodTraining, train_mood, figures.mood_figures),
}
"""By name, the longest way to the end first."""

MODELS = tuple(name for name, job in JOBS.items() if job.measure is not None)
"""The jobs that give a model of their own."""


def make_pool(build: Path, seed: int) -> None:
    """Make what most trainings learn from, which takes processes of its own.

    Args:
        build: Where the checkpoints of all models lie, each in a folder of its own.
        seed: The seed of the trainings.
    """
    settings = ClipTraining(seed=seed)
    load_pool(build / "clip" / "pool", settings.pictures, settings.texts, seed, list(prose_words()))


def train_one(name: str, models: Path, build: Path, seed: int, threads: int, steps: int | None = None) -> None:
    """Train a model, or take up a run that was cut off.

    Args:
        name: One of `JOBS`.
        models: The folder that all models lie in.
        build: Where their checkpoints lie.
        seed: Equal seeds give equal models.
        threads: How many threads it computes with; other numbers round otherwise.
        steps: How many, instead of the usual.
    """
    import torch

    torch.set_num_threads(threads)
    job = JOBS[name]
    settings = job.settings(seed=seed)
    job.train(place_of(name, models), build / name, settings if steps is None else evolve(settings, steps=steps))


def place_of(name: str, models: Path) -> Path:
    """Return where a model goes: all are folders except the classifier, which is nothing but its weights."""
    place = models / name
    return place.with_suffix(".safetensors") if name == "attributes" else place
