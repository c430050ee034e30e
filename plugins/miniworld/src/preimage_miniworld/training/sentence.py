"""The text encoder for similarity of sentences: two captions of one scene lie close together.

Of BERT's kind; a text's embedding is the mean of its tokens' last states. It learns by contrast
between two captions of the same scene and captions of other scenes, look-alikes among them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from preimage_miniworld.training import pieces
from preimage_miniworld.training.contrast import contrastive_loss, draw_pairs, helpers_for
from preimage_miniworld.training.pool import load_pool, tokenised
from preimage_miniworld.training.saving import save_model
from preimage_miniworld.training.tokenizer import prose_words
from preimage_miniworld.training.trainer import Schedule, train

if TYPE_CHECKING:
    import torch

__all__ = ["SentenceTraining", "embed", "train_sentence"]


@frozen(kw_only=True)
class SentenceTraining(Schedule):
    """The settings of one training run."""

    pictures: int = 40_000
    texts: int = 8
    vocabulary: int = 750
    width: int = 96
    layers: int = 2
    heads: int = 4
    steps: int = 500
    batch: int = 128
    learning_rate: float = 2e-3
    helper_weight: float = 1.0


def embed(model: Any, ids: "torch.Tensor", present: "torch.Tensor") -> "torch.Tensor":
    """Return the mean of the last states over a text's tokens, marks included.

    Args:
        model: A transformers model that gives ``last_hidden_state``.
        ids: Token ids (B, L).
        present: Where they are not padding, (B, L).

    Returns:
        (B, D).
    """
    states = model(input_ids=ids, attention_mask=present.long()).last_hidden_state
    weights = present.to(states.dtype)[..., None]
    return (states * weights).sum(1) / weights.sum(1)


def train_sentence(folder: Path, build: Path, settings: SentenceTraining) -> None:
    """Train the model, or take up a run that was cut off, and save it.

    Args:
        folder: Where the finished model goes.
        build: Where the checkpoints are kept; the texts are the first CLIP's, beside it.
        settings: What to do.
    """
    import numpy as np
    import torch
    from transformers import BertConfig, BertModel

    build.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    tokenizer = pieces.word_pieces(build / "tokenizer", settings.vocabulary, settings.seed + 1)
    junk = list(prose_words())
    pool = load_pool(build.parent / "clip" / "pool", settings.pictures, settings.texts, settings.seed, junk)
    rows = tokenised(pool.texts, tokenizer)
    # Only texts that name every attribute say the same; of eight, five or six do.
    complete = [np.flatnonzero(flags) for flags in pool.complete]
    enough = torch.tensor([len(numbers) > 1 for numbers in complete])
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=settings.width, num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads, intermediate_size=2 * settings.width,
        max_position_embeddings=pieces.CONTEXT_LENGTH, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    helpers = helpers_for(settings.width)
    scale = torch.nn.ParameterDict({"log": torch.nn.Parameter(torch.tensor(2.66))})

    def loss(generator: "torch.Generator") -> "tuple[torch.Tensor, dict[str, float]]":
        chosen = draw_pairs(len(rows), settings.batch, generator)
        chosen = chosen[enough[chosen]]
        shares = torch.rand(len(chosen), generator=generator).tolist()
        couples = [
            (numbers[int(share * len(numbers))], numbers[int(share * len(numbers)) - 1])
            for share, numbers in zip(shares, (complete[row] for row in chosen.tolist()), strict=True)
        ]
        one, two = torch.from_numpy(np.array(couples)).T
        ids = torch.cat([rows[chosen, one], rows[chosen, two]]).long()
        present = ids != tokenizer.pad_token_id
        longest = int(present.sum(1).max())
        first, second = embed(model, ids[:, :longest], present[:, :longest]).chunk(2)
        labels = torch.from_numpy(pool.labels[chosen.numpy()])
        known = torch.ones(len(chosen), dtype=torch.bool)
        return contrastive_loss(first, second, scale["log"], helpers, labels, known, settings.helper_weight)

    modules = {"model": model, "helpers": helpers, "scale": scale}
    train("sentence", modules, loss, settings, build / "checkpoint.pt")
    save_model(model, build / "tokenizer", folder)
