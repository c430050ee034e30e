"""The second CLIP: of transformers' kind, with patches and unigrams, to judge what the first one was searched for.

Its picture tower is a small vision transformer, its tokenizer another kind than the first one's,
its start another; the pictures and texts it learns from are the same.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from preimage_miniworld.render import IMAGE_SIZE
from preimage_miniworld.training import pieces
from preimage_miniworld.training.contrast import altered_pictures, contrastive_loss, draw_pairs, helpers_for
from preimage_miniworld.training.pool import load_pool, tokenised
from preimage_miniworld.training.saving import save_model
from preimage_miniworld.training.tokenizer import prose_words
from preimage_miniworld.training.trainer import Schedule, train

if TYPE_CHECKING:
    import torch
    from transformers import CLIPModel, PreTrainedTokenizerBase

__all__ = ["JudgeTraining", "train_judge", "waves"]

_MEAN, _STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]
_PATCH = 8


@frozen(kw_only=True)
class JudgeTraining(Schedule):
    """The settings of one training run; the seed is that of the pool and not of the model's start."""

    pictures: int = 40_000
    texts: int = 8
    vocabulary: int = 900
    width: int = 128
    vision_layers: int = 3
    text_layers: int = 2
    heads: int = 4
    steps: int = 750
    batch: int = 128
    learning_rate: float = 1.5e-3
    helper_weight: float = 1.0


def train_judge(folder: Path, build: Path, settings: JudgeTraining) -> None:
    """Train the model, or take up a run that was cut off, and save it.

    Args:
        folder: Where the finished model goes.
        build: Where the checkpoints are kept; the pool is the first CLIP's, beside it.
        settings: What to do.
    """
    import torch
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPProcessor

    build.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed + 1)
    tokenizer = pieces.unigram(build / "tokenizer", settings.vocabulary, settings.seed + 1, ended=True)
    pool = load_pool(
        build.parent / "clip" / "pool", settings.pictures, settings.texts, settings.seed, list(prose_words())
    )
    rows = tokenised(pool.texts, tokenizer)
    model = _model(settings, tokenizer)
    helpers = helpers_for(settings.width)

    def loss(generator: "torch.Generator") -> "tuple[torch.Tensor, dict[str, float]]":
        chosen = draw_pairs(len(pool.images), settings.batch, generator)
        pictures = altered_pictures(pool, chosen, _MEAN, _STD, generator)
        variant = torch.randint(0, rows.shape[1], (settings.batch,), generator=generator)
        texts = rows[chosen, variant].long()
        texts = texts[:, : int((texts != tokenizer.pad_token_id).sum(1).max())]
        seen = model.visual_projection(model.vision_model(pixel_values=pictures).pooler_output)
        read = model.text_projection(model.text_model(input_ids=texts).pooler_output)
        known = torch.from_numpy(pool.complete[chosen.numpy(), variant.numpy()])
        labels = torch.from_numpy(pool.labels[chosen.numpy()])
        return contrastive_loss(seen, read, model.logit_scale, helpers, labels, known, settings.helper_weight)

    train("clip-judge", {"model": model, "helpers": helpers}, loss, settings, build / "checkpoint.pt")
    pictures = CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=_MEAN, image_std=_STD,
    )  # fmt: skip
    CLIPProcessor(pictures, AutoTokenizer.from_pretrained(build / "tokenizer")).save_pretrained(folder)
    save_model(model, build / "tokenizer", folder)


def _model(settings: JudgeTraining, tokenizer: "PreTrainedTokenizerBase") -> "CLIPModel":
    import torch
    from transformers import CLIPConfig, CLIPModel

    tower = {
        "hidden_size": settings.width,
        "intermediate_size": 2 * settings.width,
        "num_attention_heads": settings.heads,
        "projection_dim": settings.width,
    }
    text = {
        **tower,
        "num_hidden_layers": settings.text_layers,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": pieces.CONTEXT_LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        **tower,
        "num_hidden_layers": settings.vision_layers,
        "image_size": IMAGE_SIZE,
        "patch_size": _PATCH,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=settings.width))
    # Waves in both directions tell the patches apart from the first step; noise would have to learn to.
    with torch.no_grad():
        places = model.vision_model.embeddings.position_embedding.weight
        places[1:] = 0.2 * waves(IMAGE_SIZE // _PATCH, settings.width)
    return model


def waves(side: int, width: int) -> "torch.Tensor":
    """Return sines and cosines of row and column of each patch, (side * side, width)."""
    import torch

    frequencies = math.pi / side * torch.arange(1, width // 4 + 1) / (width // 4) * side / 2
    angles = torch.arange(side)[:, None] * frequencies
    wave = torch.cat([angles.sin(), angles.cos()], 1)
    return torch.cat([wave.repeat_interleave(side, 0), wave.repeat(side, 1)], 1)
