"""The mood classifier: says of a text whether the face in it is happy, sad, or not there.

Of BERT's kind, over word pieces. It learns from captions, from captions among junk, from short
prompts and from junk alone, so that it heeds the words for faces wherever they stand.
"""

import random
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from preimage_miniworld.parser import parse
from preimage_miniworld.training import pieces
from preimage_miniworld.training.pool import load_pool, tokenised
from preimage_miniworld.training.saving import save_model
from preimage_miniworld.training.tokenizer import prose_words
from preimage_miniworld.training.trainer import Schedule, train

if TYPE_CHECKING:
    import torch

__all__ = ["LABELS", "MoodTraining", "mood_of", "train_mood"]

LABELS = ("negative", "neutral", "positive")


@frozen(kw_only=True)
class MoodTraining(Schedule):
    """The settings of one training run."""

    pictures: int = 40_000
    texts: int = 8
    scenes: int = 15_000
    junk_texts: int = 2_000
    vocabulary: int = 700
    width: int = 64
    layers: int = 2
    heads: int = 4
    steps: int = 400
    batch: int = 128
    learning_rate: float = 2e-3
    warm_up: int = 50


def mood_of(text: str) -> int:
    """Return the index in `LABELS` of the mood that a text names; naming both or none is neutral.

    Example:
        >>> LABELS[mood_of("zz smiling star")]
        'positive'
    """
    named = parse(text).names()
    return 1 + (("mood", "happy") in named) - (("mood", "sad") in named)


def train_mood(folder: Path, build: Path, settings: MoodTraining) -> None:
    """Train the model, or take up a run that was cut off, and save it.

    Args:
        folder: Where the finished model goes.
        build: Where the checkpoints are kept; the texts are the first CLIP's, beside it.
        settings: What to do.
    """
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import BertConfig, BertForSequenceClassification

    build.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    tokenizer = pieces.word_pieces(build / "tokenizer", settings.vocabulary, settings.seed)
    junk = list(prose_words())
    pool = load_pool(build.parent / "clip" / "pool", settings.pictures, settings.texts, settings.seed, junk)
    rng = random.Random(f"mood/{settings.seed}")
    texts = [said[0] for said in pool.texts[: settings.scenes]]
    texts += [" ".join(rng.choices(junk, k=rng.randint(1, 16))) for _ in range(settings.junk_texts)]
    rows = tokenised([[text] for text in texts], tokenizer)[:, 0]
    labels = torch.tensor([mood_of(text) for text in texts])
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=settings.width, num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads, intermediate_size=2 * settings.width,
        max_position_embeddings=pieces.CONTEXT_LENGTH, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id, id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )  # fmt: skip
    model = BertForSequenceClassification(config)

    def loss(generator: "torch.Generator") -> "tuple[torch.Tensor, dict[str, float]]":
        chosen = torch.randint(0, len(rows), (settings.batch,), generator=generator)
        ids, wanted = rows[chosen].long(), labels[chosen]
        present = ids != tokenizer.pad_token_id
        longest = int(present.sum(1).max())
        logits = model(input_ids=ids[:, :longest], attention_mask=present[:, :longest].long()).logits
        value = cross_entropy(logits, wanted)
        right = (logits.argmax(1) == wanted).float().mean()
        return value, {"loss": float(value.detach()), "right": float(right)}

    train("mood", {"model": model}, loss, settings, build / "checkpoint.pt")
    save_model(model, build / "tokenizer", folder)
