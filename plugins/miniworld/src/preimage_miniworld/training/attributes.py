"""Trains the classifier of pictures.

It judges generated pictures, so it learns from rendered ones only; noise, blur and shifts of brightness
keep it from trusting details that a decoder does not draw.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from preimage_miniworld.attributes import new_classifier, pixels
from preimage_miniworld.labels import CLASSES
from preimage_miniworld.training.pool import load_pool
from preimage_miniworld.training.tokenizer import prose_words
from preimage_miniworld.training.trainer import Schedule, train

if TYPE_CHECKING:
    import torch

__all__ = ["AttributeTraining", "train_attributes"]


@frozen(kw_only=True)
class AttributeTraining(Schedule):
    """Settings of the training; pictures, texts and seed are those of the pool, which is the first CLIP's."""

    pictures: int = 40_000
    texts: int = 8
    steps: int = 700
    batch: int = 64
    learning_rate: float = 2e-3
    warm_up: int = 50


def train_attributes(path: Path, build: Path, settings: AttributeTraining) -> None:
    """Train the classifier, or take up a run that was cut off, and save it.

    Args:
        path: The file that gets the weights.
        build: Where the checkpoint is kept; the pool is the first CLIP's, beside it.
        settings: How to train.
    """
    import torch
    from safetensors.torch import save_file
    from torch.nn.functional import cross_entropy

    pool = load_pool(
        build.parent / "clip" / "pool", settings.pictures, settings.texts, settings.seed, list(prose_words())
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        classifier = new_classifier().to(memory_format=torch.channels_last)

    def loss(generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        chosen = torch.randint(len(pool.images), (settings.batch,), generator=generator).sort().values.numpy()
        labels = torch.from_numpy(pool.labels[chosen])
        answers = classifier(_worn(pixels(pool.images[chosen]), generator)).split(CLASSES, 1)
        value = torch.stack([cross_entropy(said, truth) for said, truth in zip(answers, labels.T, strict=True)]).mean()
        right = torch.stack([said.argmax(1) == truth for said, truth in zip(answers, labels.T, strict=True)])
        return value, {"loss": value.item(), "right": right.float().mean().item()}

    build.mkdir(parents=True, exist_ok=True)
    train("attributes", {"classifier": classifier}, loss, settings, build / "checkpoint.pt")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Running variances may lie beyond half precision, and are few.
    weights = {name: value.half() if value.ndim > 1 else value for name, value in classifier.state_dict().items()}
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    path.chmod(0o644)


def _worn(pictures: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
    """Blur half of the pictures, put noise on them and shift their brightness."""
    import torch
    from torch.nn.functional import interpolate, pad

    count = len(pictures)
    soft = pad(pictures, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1).mean((-1, -2))
    coarse = interpolate(interpolate(pictures, scale_factor=0.5, mode="area"), scale_factor=2, mode="bilinear")
    kind = torch.rand((count, 1, 1, 1), generator=generator)
    pictures = torch.where(kind < 0.25, soft, torch.where(kind < 0.4, coarse, pictures))
    strength = 0.15 * torch.rand((count, 1, 1, 1), generator=generator)
    noise = torch.randn(pictures.shape, generator=generator)
    contrast = 1 + 0.1 * torch.randn((count, 1, 1, 1), generator=generator)
    shift = 0.05 * torch.randn((count, 3, 1, 1), generator=generator)
    return pictures * contrast + shift + strength * noise
