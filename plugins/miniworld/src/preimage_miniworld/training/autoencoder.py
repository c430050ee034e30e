"""Trains the autoencoder of the Stable Diffusion pipeline: 64 x 64 pixels become 16 x 16 latents and pixels again.

The pictures are clean and few in kind, so a narrow network does, and plain distances in pixels
instead of the perceptual and adversarial losses that photographs need. ``autoencoder`` is always
an ``AutoencoderKL`` of ``diffusers``, of which the type checker sees nothing.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from preimage_miniworld.attributes import pixels
from preimage_miniworld.training.trainer import Schedule, train

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["AutoencoderTraining", "DecoderTraining", "encoded", "train_autoencoder", "train_decoder"]


@frozen(kw_only=True)
class AutoencoderTraining(Schedule):
    """Settings of the training, which are part of the product: the same seed gives the same model."""

    steps: int = 5_000
    batch: int = 8
    learning_rate: float = 3e-3
    warm_up: int = 30
    weight_decay: float = 0.0
    save_every: int = 200
    divergence: float = 1e-6


@frozen(kw_only=True)
class DecoderTraining(Schedule):
    """Settings of the second part, in which only the decoder learns."""

    steps: int = 1_000
    batch: int = 8
    learning_rate: float = 2e-3
    warm_up: int = 30
    weight_decay: float = 0.0
    save_every: int = 150
    noise: float = 0.3
    object_weight: float = 4.0


def new_autoencoder(seed: int) -> Any:
    """Build an untrained autoencoder whose pictures are 64 x 64 and whose latents are 4 x 16 x 16."""
    import torch
    from diffusers import AutoencoderKL
    from diffusers.models.resnet import ResnetBlock2D

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        autoencoder: Any = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(16, 32, 64),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
            sample_size=64,
            mid_block_add_attention=False,
        )
    for module in autoencoder.modules():
        if isinstance(module, ResnetBlock2D):
            # Blocks that begin as nothing but their short cut let the first steps reach every layer.
            torch.nn.init.zeros_(module.conv2.weight)
    return autoencoder.to(memory_format=torch.channels_last)


def train_autoencoder(images: "np.ndarray", build: Path, settings: AutoencoderTraining) -> Any:
    """Train an autoencoder, or take up a run that was cut off.

    Args:
        images: (N, 64, 64, 3) uint8.
        build: Where the checkpoint is kept.
        settings: How to train.

    Returns:
        The autoencoder, ready for use; each channel of its latents has mean zero and unit variance.
    """
    import torch
    from torch.nn import functional

    autoencoder = new_autoencoder(settings.seed)

    def loss(generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        chosen = torch.randint(len(images), (settings.batch,), generator=generator)
        target = pixels(images[chosen.sort().values.numpy()])
        latents = autoencoder.encode(target).latent_dist
        made = autoencoder.decode(latents.sample(generator)).sample
        square, distance = functional.mse_loss(made, target), functional.l1_loss(made, target)
        divergence = latents.kl().mean()
        value = 2 * square + 0.3 * distance + settings.divergence * divergence
        # Pictures are between -1 and 1, so the largest difference is 2.
        decibels = 10 * math.log10(4 / square.item())
        return value, {"distance": distance.item(), "decibels": decibels, "divergence": divergence.item()}

    build.mkdir(parents=True, exist_ok=True)
    train("sd autoencoder", {"autoencoder": autoencoder}, loss, settings, build / "autoencoder.pt")
    autoencoder.eval().requires_grad_(requires_grad=False)
    _standardise(autoencoder, encoded(autoencoder, images[:2_000]))
    return autoencoder


def train_decoder(autoencoder: Any, images: "np.ndarray", build: Path, settings: DecoderTraining) -> None:
    """Let the decoder alone learn on, in place, or take up a run that was cut off.

    The latents stay what they are, so that a denoiser may learn them before, after or meanwhile. They come with
    some noise, because a denoiser's are not perfect either, and objects count for more than their surroundings.

    Args:
        autoencoder: What `train_autoencoder` gave.
        images: (N, 64, 64, 3) uint8.
        build: Where the checkpoint is kept.
        settings: How to train.
    """
    import torch

    learning = {"decoder": autoencoder.decoder, "entrance": autoencoder.post_quant_conv}
    for module in learning.values():
        module.requires_grad_()

    def loss(generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        chosen = torch.randint(len(images), (settings.batch,), generator=generator)
        target = pixels(images[chosen.sort().values.numpy()])
        with torch.no_grad():
            latents = autoencoder.encode(target).latent_dist.mode()
            strength = settings.noise * torch.rand((settings.batch, 1, 1, 1), generator=generator)
            latents = latents + strength * torch.randn(latents.shape, generator=generator)
            weight = 1 + settings.object_weight * _unlike_its_row(target)
            weight = weight / weight.mean()
        made = autoencoder.decode(latents).sample
        square, distance = (weight * (made - target).square()).mean(), (weight * (made - target).abs()).mean()
        across, down = ((made - target).diff(dim=side).abs().mean() for side in (-1, -2))
        value = 2 * square + 0.3 * distance + 0.3 * (across + down)
        return value, {"distance": distance.item(), "edges": (across + down).item()}

    train("sd decoder", learning, loss, settings, build / "decoder.pt")
    for module in learning.values():
        module.eval().requires_grad_(requires_grad=False)


def _unlike_its_row(pictures: "torch.Tensor") -> "torch.Tensor":
    """Return where pictures (B, 3, H, W) differ from the left and right end of their row, (B, 1, H, W) of 0 and 1.

    All backgrounds are alike along a row, up to small marks, so that this is where the objects are.
    """
    ends = pictures[..., [0, 1, -2, -1]].median(-1, keepdim=True).values
    return ((pictures - ends).abs().amax(1, keepdim=True) > 0.25).float()


def _standardise(autoencoder: Any, latents: "torch.Tensor") -> None:
    """Let the last layer before the latents and the first after them shift and scale, in place.

    Noise then drowns all channels alike; one factor for all of them, which the format has room for, would not do.

    Args:
        autoencoder: Its pictures stay what they are.
        latents: What it gives so far, (N, C, H, W).
    """
    import torch

    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    before, after = autoencoder.quant_conv, autoencoder.post_quant_conv
    shift, scale = torch.cat([mean, 2 * spread.log()]), torch.cat([spread, torch.ones_like(spread)])
    with torch.no_grad():
        after.bias += after.weight[:, :, 0, 0] @ mean
        after.weight *= spread[:, None, None]
        before.weight /= scale[:, None, None, None]
        before.bias.sub_(shift).div_(scale)
    autoencoder.register_to_config(scaling_factor=1.0)


def encoded(autoencoder: Any, images: "np.ndarray", batch: int = 50) -> "torch.Tensor":
    """Encode pictures (N, 64, 64, 3) uint8 as the means of their latents (N, 4, 16, 16), not scaled."""
    import torch

    with torch.no_grad():
        starts = range(0, len(images), batch)
        return torch.cat([autoencoder.encode(pixels(images[at : at + batch])).latent_dist.mode() for at in starts])
