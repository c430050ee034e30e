"""What all contrastive trainings share: batches of look-alike pairs, altered pictures, the loss."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from preimage_miniworld.labels import CLASSES
from preimage_miniworld.render import IMAGE_SIZE

if TYPE_CHECKING:
    import torch

    from preimage_miniworld.training.pool import Pool

__all__ = ["altered_pictures", "contrastive_loss", "draw_pairs", "helpers_for"]


def draw_pairs(total: int, size: int, generator: "torch.Generator") -> "torch.Tensor":
    """Draw numbers of scenes so that both of a pair, which differ in one attribute, are in; (size,) int64."""
    import torch

    pairs = torch.randperm(total // 2, generator=generator)[: size // 2]
    return torch.stack([2 * pairs, 2 * pairs + 1], 1).flatten()


def altered_pictures(
    pool: "Pool", chosen: "torch.Tensor", mean: Sequence[float], std: Sequence[float], generator: "torch.Generator"
) -> "torch.Tensor":
    """Return pictures of the pool, shifted by up to two pixels, lit a little differently, and normalised.

    Args:
        pool: Where from.
        chosen: Their numbers, (B,).
        mean: Of each colour channel.
        std: Of each colour channel.
        generator: The source of chance.

    Returns:
        (B, 3, 64, 64) float32.
    """
    import torch
    from torch.nn.functional import pad

    pictures = torch.from_numpy(pool.images[chosen.numpy()]).permute(0, 3, 1, 2).float() / 255
    x, y = torch.randint(0, 5, (2,), generator=generator).tolist()
    pictures = pad(pictures, (2, 2, 2, 2), mode="replicate")
    pictures = pictures[..., y : y + IMAGE_SIZE, x : x + IMAGE_SIZE]
    light = 1 + 0.05 * torch.randn(len(chosen), 3, 1, 1, generator=generator)
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return ((pictures * light).clamp(0, 1) - shift) / scale


def helpers_for(width: int) -> "torch.nn.ModuleList":
    """Return linear classifiers of all attributes, one for each of the two embeddings."""
    import torch

    return torch.nn.ModuleList(torch.nn.Linear(width, sum(CLASSES)) for _ in range(2))


def contrastive_loss(
    first: "torch.Tensor",
    second: "torch.Tensor",
    log_scale: "torch.Tensor",
    helpers: Any,
    labels: "torch.Tensor",
    known: "torch.Tensor",
    helper_weight: float,
) -> "tuple[torch.Tensor, dict[str, float]]":
    """Return the symmetric contrastive loss plus that of the attribute classifiers, and what to log.

    Args:
        first: Embeddings (B, D) that show every attribute.
        second: Embeddings (B, D) of what belongs to them.
        log_scale: The logarithm of the learned inverse temperature.
        helpers: See `helpers_for`.
        labels: The attributes' classes, (B, K).
        known: Which of `second` name every attribute, (B,) bool.
        helper_weight: What the classifiers weigh.
    """
    import torch
    from torch.nn.functional import cross_entropy, normalize

    # As in the original, no similarity is scaled up by more than a hundred.
    scale = log_scale.clamp(max=math.log(100)).exp()
    logits = scale * normalize(first, dim=1) @ normalize(second, dim=1).T
    truth = torch.arange(len(logits))
    contrast = (cross_entropy(logits, truth) + cross_entropy(logits.T, truth)) / 2
    named = zip(helpers[0](first).split(CLASSES, 1), helpers[1](second[known]).split(CLASSES, 1), labels.T, strict=True)
    pairs = [(cross_entropy(one, y), cross_entropy(two, y[known])) for one, two, y in named]
    seen, read = (sum(values) / len(CLASSES) for values in zip(*pairs, strict=True))
    loss = contrast + helper_weight * (seen + read)
    right = (logits.argmax(0) == truth).float().mean()
    parts = {"contrast": contrast, "seen": seen, "read": read, "right": right}
    return loss, {name: float(value.detach()) for name, value in parts.items()}
