"""The mini world's CLIP, in the form that ``open_clip`` loads from a local folder.

A small convolutional picture tower and a small causal text tower, trained with the usual
contrastive loss. While it trains, linear classifiers on both embeddings name the attributes of
the scene; they speed learning up and are left out of what is saved.
"""

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from preimage_miniworld.render import IMAGE_SIZE
from preimage_miniworld.training.labels import CLASSES
from preimage_miniworld.training.pool import Pool, load_pool
from preimage_miniworld.training.tokenizer import (
    CONTEXT_LENGTH,
    VOCABULARY_SIZE,
    learn_tokenizer,
    prose_words,
)

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL_CONFIG", "PREPROCESS_CONFIG", "ClipTraining", "export_clip", "train_clip"]

MODEL_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {
        "image_size": IMAGE_SIZE,
        "layers": [1, 1, 1, 1],
        "width": 16,
        "head_width": 64,
    },
    "text_cfg": {
        "context_length": CONTEXT_LENGTH,
        "vocab_size": VOCABULARY_SIZE,
        "hf_tokenizer_name": "miniworld-clip",
        "width": 128,
        "heads": 4,
        "layers": 3,
    },
}
PREPROCESS_CONFIG: dict[str, Any] = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


@frozen
class ClipTraining:
    """The settings of one training run."""

    seed: int = 0
    pictures: int = 40_000
    texts: int = 8
    steps: int = 1_100
    batch: int = 256
    learning_rate: float = 1.5e-3
    warm_up: int = 100
    weight_decay: float = 0.05
    helper_weight: float = 0.5
    save_every: int = 200


def train_clip(folder: Path, build: Path, settings: ClipTraining, also: Path | None = None) -> None:
    """Train the model, or take up a run that was cut off, and save it.

    Args:
        folder: Where the finished model goes.
        build: Where the pool and the checkpoints are kept.
        settings: What to do.
        also: A second folder that gets the model at every checkpoint.
    """
    import open_clip
    import torch

    build.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    tokenizer = learn_tokenizer(build / "tokenizer")
    pool = load_pool(build / "pool", settings.pictures, settings.texts, settings.seed, list(prose_words()))
    tokens = _tokenise(pool, tokenizer)
    # Ids that captions hardly use, to strew among them as optimizers do.
    counts = torch.bincount(tokens.flatten().long(), minlength=VOCABULARY_SIZE)
    junk = torch.arange(VOCABULARY_SIZE - 2)[counts[:-2] < counts.sum() * 2e-4]
    model = open_clip.CLIP(**MODEL_CONFIG).to(memory_format=torch.channels_last)
    helpers = torch.nn.ModuleList(torch.nn.Linear(MODEL_CONFIG["embed_dim"], sum(CLASSES)) for _ in range(2))
    parameters = [*model.parameters(), *helpers.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=settings.weight_decay,
    )
    checkpoint, step = build / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        helpers.load_state_dict(saved["helpers"])
        optimizer.load_state_dict(saved["optimizer"])
        step = saved["step"]
        print(f"clip: going on from step {step}", flush=True)
    model.train()
    began, first = time.monotonic(), step
    while step < settings.steps:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        batch = _draw(pool, tokens, junk, settings.batch, generator)
        loss, parts = _loss(model, helpers, batch, settings.helper_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        step += 1
        if step % 50 == 0:
            pace = (time.monotonic() - began) / (step - first)
            shown = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
            print(f"clip: step {step}/{settings.steps}  {shown}  {pace:.2f} s/step", flush=True)
        if step % settings.save_every == 0 or step == settings.steps:
            state = {
                "model": model.state_dict(),
                "helpers": helpers.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").rename(checkpoint)
            if also is not None:
                export_clip(model, build / "tokenizer", also)
    export_clip(model, build / "tokenizer", folder)


def export_clip(model: "torch.nn.Module", tokenizer: Path, folder: Path) -> None:
    """Save a model as half-precision safetensors with its configuration and tokenizer."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous().clone()
        for name, value in model.state_dict().items()
    }
    # A running variance may lie beyond what half precision holds.
    for name, value in model.state_dict().items():
        if name.endswith(("running_var", "running_mean")):
            weights[name] = value.to(torch.float32).contiguous().clone()
    config = {"model_cfg": MODEL_CONFIG, "preprocess_cfg": PREPROCESS_CONFIG}
    partial = folder / "open_clip_model.part"
    save_file(weights, partial, {"format": "pt"})
    partial.rename(folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    for entry in tokenizer.iterdir():
        (folder / entry.name).write_bytes(entry.read_bytes())


def _schedule(step: int, settings: ClipTraining) -> float:
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    progress = (step - settings.warm_up) / (settings.steps - settings.warm_up)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def _tokenise(pool: Pool, tokenizer: Any) -> "torch.Tensor":
    import numpy as np
    import torch

    rows = [
        tokenizer(
            texts, padding="max_length", truncation=True, max_length=CONTEXT_LENGTH,
            return_tensors="np",
        ).input_ids.astype(np.int16)
        for texts in pool.texts
    ]  # fmt: skip
    return torch.from_numpy(np.stack(rows))


def _draw(
    pool: Pool, tokens: "torch.Tensor", junk: "torch.Tensor", size: int, generator: Any
) -> dict[str, "torch.Tensor"]:
    import torch
    from torch.nn.functional import pad

    pairs = torch.randperm(len(pool.images) // 2, generator=generator)[: size // 2]
    chosen = torch.stack([2 * pairs, 2 * pairs + 1], 1).flatten()
    rows = chosen.numpy()
    pictures = torch.from_numpy(pool.images[rows]).permute(0, 3, 1, 2).float() / 255
    x, y = torch.randint(0, 5, (2,), generator=generator).tolist()
    pictures = pad(pictures, (2, 2, 2, 2), mode="replicate")
    pictures = pictures[..., y : y + IMAGE_SIZE, x : x + IMAGE_SIZE]
    light = 1 + 0.05 * torch.randn(size, 3, 1, 1, generator=generator)
    mean, std = (torch.tensor(PREPROCESS_CONFIG[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    pictures = ((pictures * light).clamp(0, 1) - mean) / std
    variant = torch.randint(0, tokens.shape[1], (size,), generator=generator)
    texts = _strew(tokens[chosen, variant].long(), junk, generator)
    return {
        "pictures": pictures.contiguous(memory_format=torch.channels_last),
        "texts": texts,
        "complete": torch.from_numpy(pool.complete[rows, variant.numpy()]),
        "labels": torch.from_numpy(pool.labels[rows]),
    }


def _strew(texts: "torch.Tensor", junk: "torch.Tensor", generator: Any) -> "torch.Tensor":
    """Insert up to six junk ids at one place of every fifth text, and cut the common padding."""
    import torch

    end = VOCABULARY_SIZE - 1
    for row in torch.nonzero(torch.rand(len(texts), generator=generator) < 0.2).flatten().tolist():
        text = texts[row]
        length = int((text == end).int().argmax())
        count = min(int(torch.randint(1, 7, (), generator=generator)), CONTEXT_LENGTH - 1 - length)
        if count < 1:
            continue
        place = int(torch.randint(1, length + 1, (), generator=generator))
        strewn = junk[torch.randint(0, len(junk), (count,), generator=generator)]
        texts[row] = torch.cat([text[:place], strewn, text[place:-count]])
    longest = int((texts == end).int().argmax(1).max()) + 1
    return texts[:, :longest]


def encode_texts(model: Any, texts: "torch.Tensor") -> "torch.Tensor":
    """Embed token ids (B, L) at their own length, without padding to the context's; (B, D)."""
    length = texts.shape[1]
    hidden = model.token_embedding(texts) + model.positional_embedding[:length]
    hidden = model.transformer(hidden, attn_mask=model.attn_mask[:length, :length])
    last = model.ln_final(hidden)[range(len(texts)), texts.argmax(1)]
    return last @ model.text_projection


def _loss(
    model: Any, helpers: Any, batch: dict[str, "torch.Tensor"], helper_weight: float
) -> tuple["torch.Tensor", dict[str, float]]:
    import torch
    from torch.nn.functional import cross_entropy, normalize

    pictures, texts = model.encode_image(batch["pictures"]), encode_texts(model, batch["texts"])
    logits = model.logit_scale.exp() * normalize(pictures, dim=1) @ normalize(texts, dim=1).T
    truth = torch.arange(len(logits))
    contrast = (cross_entropy(logits, truth) + cross_entropy(logits.T, truth)) / 2
    known = batch["complete"]
    named = zip(
        helpers[0](pictures).split(CLASSES, 1),
        helpers[1](texts[known]).split(CLASSES, 1),
        batch["labels"].T,
        strict=True,
    )
    pairs = [(cross_entropy(p, y), cross_entropy(t, y[known])) for p, t, y in named]
    seen, read = (sum(values) / len(CLASSES) for values in zip(*pairs, strict=True))
    loss = contrast + helper_weight * (seen + read)
    right = (logits.argmax(0) == truth).float().mean()
    parts = {"contrast": contrast, "seen": seen, "read": read, "right": right}
    return loss, {name: float(value.detach()) for name, value in parts.items()}
