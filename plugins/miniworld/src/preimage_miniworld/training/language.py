"""The two language models: of GPT-2's kind over bytes, and of Llama's kind over unigrams.

Both learn the captions of training scenes, as they are: what they should give is the probability
that the grammar gives. A fifth of the texts begins without the mark of a beginning, since who
scores a prompt may leave it out.
"""

import itertools
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from preimage_miniworld.captions import caption
from preimage_miniworld.scene import sample_scenes
from preimage_miniworld.training import pieces
from preimage_miniworld.training.saving import save_model
from preimage_miniworld.training.trainer import Schedule, train

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["STEPS", "LanguageTraining", "train_language_model"]

STEPS = {"gpt2": 450, "llama": 300}
"""How many steps each of the two needs."""

_IGNORED = -100
_BARE = 0.2


@frozen(kw_only=True)
class LanguageTraining(Schedule):
    """The settings of one training run."""

    captions: int = 60_000
    vocabulary: int = 800
    width: int = 96
    layers: int = 3
    heads: int = 4
    steps: int = 450
    batch: int = 128
    learning_rate: float = 4e-3
    warm_up: int = 50


def train_language_model(kind: str, folder: Path, build: Path, settings: LanguageTraining) -> None:
    """Train a model, or take up a run that was cut off, and save it.

    Args:
        kind: "gpt2" or "llama".
        folder: Where the finished model goes.
        build: Where the checkpoints are kept; the captions are kept beside it, for both models.
        settings: What to do.
    """
    import torch
    from torch.nn.functional import cross_entropy

    build.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    learn = {"gpt2": pieces.byte_level, "llama": pieces.unigram}[kind]
    tokenizer = learn(build / "tokenizer", settings.vocabulary, settings.seed)
    texts = _load_captions(build.parent / "captions.json", settings.captions, settings.seed)
    rows = _rows(texts, tokenizer)
    model = {"gpt2": _gpt2, "llama": _llama}[kind](settings, tokenizer)

    def loss(generator: "torch.Generator") -> "tuple[torch.Tensor, dict[str, float]]":
        chosen = rows[torch.randint(0, len(rows), (settings.batch,), generator=generator)].long()
        longest = int((chosen != _IGNORED).sum(1).max())
        chosen = chosen[:, :longest]
        bare = torch.rand(settings.batch, 1, generator=generator) < _BARE
        chosen = torch.where(bare, torch.nn.functional.pad(chosen[:, 1:], (0, 1), value=_IGNORED), chosen)
        logits = model(input_ids=chosen[:, :-1].clamp(min=0)).logits
        wanted = chosen[:, 1:]
        value = cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=_IGNORED)
        return value, {"nats a token": float(value.detach())}

    train(kind, {"model": model}, loss, settings, build / "checkpoint.pt")
    save_model(model, build / "tokenizer", folder)


def _gpt2(settings: LanguageTraining, tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=pieces.CONTEXT_LENGTH, n_embd=settings.width,
        n_layer=settings.layers, n_head=settings.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def _llama(settings: LanguageTraining, tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=pieces.CONTEXT_LENGTH, hidden_size=settings.width,
        intermediate_size=settings.width * 8 // 3, num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads, num_key_value_heads=settings.heads, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def _load_captions(file: Path, count: int, seed: int) -> list[str]:
    """Load the captions of training scenes, or draw and keep them."""
    recipe = {"count": count, "seed": seed}
    if not (file.exists() and json.loads(file.read_text())["recipe"] == recipe):
        rng = random.Random(f"captions/{seed}")
        scenes = itertools.islice(sample_scenes("train", seed), count)
        record = {"recipe": recipe, "texts": [caption(scene, rng) for scene in scenes]}
        file.with_suffix(".part").write_text(json.dumps(record))
        file.with_suffix(".part").rename(file)
    return json.loads(file.read_text())["texts"]


def _rows(texts: list[str], tokenizer: "PreTrainedTokenizerBase") -> "torch.Tensor":
    """Return ids between the marks of beginning and end, (N, L), filled up with what the loss ignores."""
    import torch

    said = tokenizer(texts, add_special_tokens=False).input_ids
    rows = torch.full((len(texts), 2 + max(map(len, said))), _IGNORED, dtype=torch.int16)
    for row, ids in zip(rows, said, strict=True):
        row[: len(ids) + 2] = torch.tensor([tokenizer.bos_token_id, *ids, tokenizer.eos_token_id], dtype=torch.int16)
    return rows
