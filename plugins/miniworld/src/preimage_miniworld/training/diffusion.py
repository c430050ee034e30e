"""Trains the denoiser of the mini world's Stable Diffusion pipeline, and the autoencoder before it.

The text tower stays as it is. The denoiser learns to predict the velocity (Salimans and Ho,
*Progressive distillation*, 2022) of latents that the autoencoder made once for all pictures. The
noise reaches the end at which nothing of a picture is left (Lin et al., *Common diffusion noise
schedules and sample steps are flawed*, 2024), so that sampling may begin with pure noise.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from preimage_miniworld.attributes import attributes_right, load_attributes
from preimage_miniworld.data import held_out
from preimage_miniworld.training.autoencoder import (
    AutoencoderTraining,
    DecoderTraining,
    encoded,
    train_autoencoder,
    train_decoder,
)
from preimage_miniworld.training.pipeline import (
    assembled,
    generated,
    new_scheduler,
    save_pipeline,
    text_encoder_of,
    tokenizer_of,
)
from preimage_miniworld.training.pool import Pool, load_pool, tokenised
from preimage_miniworld.training.tokenizer import prose_words
from preimage_miniworld.training.trainer import Schedule, train

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["DiffusionTraining", "train_diffusion", "trained_autoencoder", "velocity_weights"]


@frozen(kw_only=True)
class DiffusionTraining(Schedule):
    """Settings of the training; pictures, texts and seed are those of the pool, which is the first CLIP's."""

    pictures: int = 40_000
    texts: int = 8
    steps: int = 8_000
    batch: int = 32
    learning_rate: float = 1.5e-3
    warm_up: int = 100
    weight_decay: float = 0.01
    save_every: int = 300
    average: float = 0.995
    one_object: float = 0.8
    untold: float = 0.1
    watched: int = 32


def new_denoiser(width: int, seed: int) -> Any:
    """Build an untrained denoiser of latents (B, 4, 16, 16) that reads text states (B, L, width)."""
    import torch
    from diffusers import UNet2DConditionModel
    from diffusers.models.resnet import ResnetBlock2D

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        denoiser: Any = UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(48, 96, 128),
            layers_per_block=1,
            attention_head_dim=4,
            cross_attention_dim=width,
            norm_num_groups=16,
        )
    for module in denoiser.modules():
        if isinstance(module, ResnetBlock2D):
            # Blocks that begin as nothing but their short cut, and a first prediction of nothing.
            torch.nn.init.zeros_(module.conv2.weight)
    torch.nn.init.zeros_(denoiser.conv_out.weight)
    return denoiser.to(memory_format=torch.channels_last)


def train_diffusion(
    folder: Path, build: Path, settings: DiffusionTraining, encoding: AutoencoderTraining, decoding: DecoderTraining
) -> None:
    """Train autoencoder and denoiser, or take up a run that was cut off, and save the pipeline.

    Args:
        folder: Where the pipeline goes; ``clip`` and ``attributes.safetensors`` lie beside it.
        build: Where the checkpoints are kept, and after each of them the pipeline as it is then, in ``current``.
        settings: How to train the denoiser.
        encoding: How to train the autoencoder.
        decoding: How its decoder learns on.
    """
    import torch

    autoencoder, pool = trained_autoencoder(build, settings, encoding, decoding)
    latents = _latents(autoencoder, pool.images, build / "latents.safetensors")
    tokenizer, text_encoder = tokenizer_of(folder.parent / "clip"), text_encoder_of(folder.parent / "clip")
    ids = _ids(pool.texts, tokenizer)
    denoiser = new_denoiser(text_encoder.config.hidden_size, settings.seed)
    average = copy.deepcopy(denoiser).eval().requires_grad_(requires_grad=False)
    scheduler = new_scheduler()
    weights = velocity_weights(scheduler)
    focus = _focus(latents, torch.from_numpy(pool.labels[:, 11]))
    single = torch.from_numpy(pool.labels[:, 10] == 0)
    complete = torch.from_numpy(pool.complete)
    kinds = [torch.nonzero(complete.any(1) & chosen).flatten() for chosen in (single, ~single)]

    def loss(generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        ones = round(settings.one_object * settings.batch)
        counts = (ones, settings.batch - ones)
        picked = [
            kind[torch.randint(len(kind), (count,), generator=generator)]
            for kind, count in zip(kinds, counts, strict=True)
        ]
        chosen = torch.cat(picked)
        variant = torch.multinomial(complete[chosen].float(), 1, generator=generator)[:, 0]
        texts = ids[chosen, variant].long()
        texts[torch.rand(settings.batch, generator=generator) < settings.untold] = ids[-1, 0].long()
        with torch.no_grad():
            states = text_encoder(input_ids=texts).last_hidden_state
        clean = latents[chosen].contiguous(memory_format=torch.channels_last)
        noise = torch.randn(clean.shape, generator=generator)
        # One time of each stretch, so that every batch has all of them.
        stretches = torch.randperm(settings.batch, generator=generator)
        share = (stretches + torch.rand(settings.batch, generator=generator)) / settings.batch
        times = (share * len(weights)).long().clamp(max=len(weights) - 1)
        noisy = scheduler.add_noise(clean, noise, times)
        velocity = scheduler.get_velocity(clean, noise, times)
        error = (denoiser(noisy, times, states).sample - velocity).square()
        value = (weights[times] * (focus[chosen] * error).mean((1, 2, 3))).mean()
        return value, {"error": error.mean().item()}

    def on_save() -> None:
        pipeline = assembled(autoencoder, average, text_encoder, tokenizer)
        save_pipeline(pipeline, build / "current")
        examples = held_out(settings.watched, seed=1, objects=1)
        made = generated(pipeline, [text for _, _, text in examples])
        judge = load_attributes(folder.with_name("attributes.safetensors"))
        right = attributes_right(judge, made, [scene for scene, _, _ in examples])
        shown = "  ".join(f"{name} {share:.0f}" for name, share in right.items())
        print(f"sd: of {len(examples)} held-out scenes right, %: {shown}", flush=True)

    train("sd", {"denoiser": denoiser}, loss, settings, build / "checkpoint.pt", on_save, {"denoiser": average})
    save_pipeline(assembled(autoencoder, average, text_encoder, tokenizer), folder)


def trained_autoencoder(
    build: Path, settings: DiffusionTraining, encoding: AutoencoderTraining, decoding: DecoderTraining
) -> tuple[Any, Pool]:
    """Train the autoencoder alone, or take up a run that was cut off; see `train_diffusion`.

    Returns:
        The autoencoder, and the pictures and texts that the denoiser learns from.
    """
    build.mkdir(parents=True, exist_ok=True)
    pool = load_pool(
        build.parent / "clip" / "pool", settings.pictures, settings.texts, settings.seed, list(prose_words())
    )
    autoencoder = train_autoencoder(pool.images, build, encoding)
    train_decoder(autoencoder, pool.images, build, decoding)
    return autoencoder, pool


def velocity_weights(scheduler: Any) -> "torch.Tensor":
    """Return the loss's weight at each of the scheduler's times, (T,).

    Where noise prevails a velocity's square weighs as it is; where the picture does, as little as keeps its weight as
    an error of the picture at 1 + 20 (after Hang et al., *Min-SNR weighting*, 2023, who have 5: textures are settled
    late, and were drawn faintly with that).
    """
    import torch

    kept = scheduler.alphas_cumprod
    ratio = kept / (1 - kept)
    return (torch.clamp(ratio, max=20.0) + 1) / (ratio + 1)


def _latents(autoencoder: Any, images: "np.ndarray", kept: Path) -> "torch.Tensor":
    """Return the latents of all pictures, made once for each autoencoder and kept."""
    import torch
    from safetensors.torch import load_file, save_file

    mark = encoded(autoencoder, images[:2])
    if kept.exists():
        latents = load_file(kept)["latents"].float()
        if len(latents) == len(images) and torch.allclose(latents[:2], mark, atol=1e-2):
            return latents
    latents = encoded(autoencoder, images)
    save_file({"latents": latents.half().contiguous()}, kept)
    return latents.half().float()


def _focus(latents: "torch.Tensor", backgrounds: "torch.Tensor") -> "torch.Tensor":
    """Return the loss's weight at each place, (N, 1, 16, 16), one on average: more where an object stands.

    That is where latents differ from what they are on average over the pictures of the same background.
    """
    import torch
    from torch.nn.functional import avg_pool2d

    means = torch.stack([latents[backgrounds == kind].mean(0) for kind in range(int(backgrounds.max()) + 1)])
    starts = range(0, len(latents), 1_000)
    apart = [
        (latents[at : at + 1_000] - means[backgrounds[at : at + 1_000]]).square().mean(1, keepdim=True) for at in starts
    ]
    weight = 1 + 2 * avg_pool2d(torch.cat(apart), 3, 1, 1).clamp(max=1)
    return weight / weight.mean()


def _ids(texts: list[list[str]], tokenizer: Any) -> "torch.Tensor":
    """Return the ids (N + 1, T, L) of N lists of T texts as the pipeline pads them, and after them of empty texts."""
    from torch.nn.functional import pad

    rows = tokenised([*texts, [""] * len(texts[0])], tokenizer)
    return pad(rows, (0, tokenizer.model_max_length - rows.shape[-1]), value=tokenizer.pad_token_id)
