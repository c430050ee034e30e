"""Small Stable Diffusion pipelines with random weights, one for each kind of prediction, in users' format."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from tokenizers import pre_tokenizers

from preimage_diffusers.config import DiffusersConfig
from preimage_diffusers.loader import load
from preimage_diffusers.quiet import quietly

CONTEXT = 16
WORDS = "a red circle on the hill blue squares over an old painter small yellow star above two green dots dark sky"

_VP: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "num_train_timesteps": 1000,
}
SCHEDULERS: dict[str, Callable[[], Any]] = {
    "epsilon": lambda: DDIMScheduler(**_VP, clip_sample=False, set_alpha_to_one=False),
    "v": lambda: DPMSolverMultistepScheduler(**_VP, prediction_type="v_prediction"),
    "sample": lambda: DDIMScheduler(**_VP, clip_sample=False, prediction_type="sample"),
    "pndm": lambda: PNDMScheduler(**_VP, skip_prk_steps=True),
    "euler": lambda: EulerDiscreteScheduler(**_VP),
    "flow": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow-unipc": lambda: UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0, steps_offset=1
    ),
}


def tokenizer(length: int = CONTEXT) -> Any:
    """Return CLIP's kind of tokenizer, as Stable Diffusion has it; each of the words is a token.

    None is trained, because training breaks ties by chance.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys([*alphabet, *(letter + "</w>" for letter in alphabet)])
    merges = []
    for word in WORDS.split():
        first, *rest = [*word[:-1], word[-1] + "</w>"]
        for letter in rest:
            if (first, letter) not in merges:
                merges.append((first, letter))
            first += letter
            pieces[first] = None
    vocabulary = {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def text_encoder(words: Any, **changes: Any) -> Any:
    """Return a text encoder for a tokenizer."""
    config = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
    }
    return transformers.CLIPTextModel(transformers.CLIPTextConfig(**(config | changes)))


def unet(**changes: Any) -> Any:
    """Return a UNet of two levels, which is told of prompts at the lower."""
    config = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    return UNet2DConditionModel(**(config | changes))


def vae() -> Any:
    """Return an autoencoder which halves the size of pictures."""
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )


def pipeline(kind: str, **parts: Any) -> Any:
    """Return a pipeline whose every weight matters."""
    words = tokenizer()
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = StableDiffusionPipeline(
            **(
                {
                    "vae": vae(),
                    "text_encoder": text_encoder(words),
                    "tokenizer": words,
                    "unet": unet(),
                    "scheduler": SCHEDULERS[kind](),
                    "safety_checker": None,
                    "feature_extractor": None,
                    "requires_safety_checker": False,
                }
                | parts
            )
        )
    generator = torch.Generator().manual_seed(2)
    for network in (made.vae, made.text_encoder, made.unet):
        network.eval().requires_grad_(False)
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * (0.4 if network is made.text_encoder else 0.2)
            parameter.copy_(noise + 1 if parameter.ndim == 1 and name.endswith("weight") else noise)
    return made


@cache
def folder(kind: str) -> Path:
    """Return the folder of a pipeline, which is made once."""
    path = _root() / kind
    with quietly():
        pipeline(kind).save_pretrained(path)
    return path


@cache
def _root() -> Path:
    return Path(tempfile.mkdtemp(prefix="preimage-diffusers-"))


def pytest_sessionfinish() -> None:
    """Remove the models."""
    if _root.cache_info().currsize:
        shutil.rmtree(_root(), ignore_errors=True)


def loaded(kind: str, role: str, dtype: str | None = None, **options: Any) -> Any:
    """Return a model, loaded as users load it."""
    return load(DiffusersConfig(**options), name=str(folder(kind)), role=role, dtype=dtype)


def xl_pipeline() -> Any:
    """Return a pipeline with two text encoders, as Stable Diffusion XL has them."""
    words = tokenizer()
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first = text_encoder(words)
        second = transformers.CLIPTextModelWithProjection(first.config)
        told = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
        made = StableDiffusionXLPipeline(
            vae=vae(),
            text_encoder=first,
            text_encoder_2=second,
            tokenizer=words,
            tokenizer_2=tokenizer(),
            unet=unet(**told, projection_class_embeddings_input_dim=512 + 24, cross_attention_dim=32),
            scheduler=EulerDiscreteScheduler(**_VP),
            add_watermarker=False,
        )
    for network in (made.vae, made.text_encoder, made.text_encoder_2, made.unet):
        network.eval().requires_grad_(False)
    return made
