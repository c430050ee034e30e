"""The mini world's CLIP, in the form that ``open_clip`` loads from a local folder.

A small convolutional picture tower and a small causal text tower, trained with the usual
contrastive loss. While it trains, linear classifiers on both embeddings name the attributes of
the scene; they speed learning up and are left out of what is saved.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from preimage_miniworld.render import IMAGE_SIZE
from preimage_miniworld.training.contrast import altered_pictures, contrastive_loss, draw_pairs, helpers_for
from preimage_miniworld.training.pool import Pool, load_pool
from preimage_miniworld.training.tokenizer import (
    CONTEXT_LENGTH,
    VOCABULARY_SIZE,
    learn_tokenizer,
    prose_words,
)
from preimage_miniworld.training.trainer import Schedule, train

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


@frozen(kw_only=True)
class ClipTraining(Schedule):
    """The settings of one training run."""

    pictures: int = 40_000
    texts: int = 8
    steps: int = 1_100
    batch: int = 256
    learning_rate: float = 1.5e-3
    helper_weight: float = 0.5


def train_clip(folder: Path, build: Path, settings: ClipTraining) -> None:
    """Train the model, or take up a run that was cut off, and save it.

    Args:
        folder: Where the finished model goes.
        build: Where the pool and the checkpoints are kept. The model as it is so far goes to ``current`` in it.
        settings: What to do.
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
    helpers = helpers_for(MODEL_CONFIG["embed_dim"])
    mean, std = PREPROCESS_CONFIG["mean"], PREPROCESS_CONFIG["std"]

    def loss(generator: "torch.Generator") -> "tuple[torch.Tensor, dict[str, float]]":
        chosen = draw_pairs(len(pool.images), settings.batch, generator)
        pictures = altered_pictures(pool, chosen, mean, std, generator)
        seen = model.encode_image(pictures.contiguous(memory_format=torch.channels_last))
        variant = torch.randint(0, tokens.shape[1], (settings.batch,), generator=generator)
        read = encode_texts(model, _strew(tokens[chosen, variant].long(), junk, generator))
        known = torch.from_numpy(pool.complete[chosen.numpy(), variant.numpy()])
        labels = torch.from_numpy(pool.labels[chosen.numpy()])
        return contrastive_loss(seen, read, model.logit_scale, helpers, labels, known, settings.helper_weight)

    def on_save() -> None:
        export_clip(model, build / "tokenizer", build / "current")

    modules = {"model": model, "helpers": helpers}
    train("clip", modules, loss, settings, build / "checkpoint.pt", on_save)
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
