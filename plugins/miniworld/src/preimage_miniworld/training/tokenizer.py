"""The CLIP's tokenizer: a byte-pair encoding learned from captions and ordinary English.

Half of what it learns from is English prose, so that there is a real vocabulary to search in
and many of the captions' words are written in two or more pieces. The result is saved in the
form of the ``transformers`` CLIP tokenizer: lower-cased, ``</w>`` ends a word, and
``<|startoftext|>`` and ``<|endoftext|>`` are the two highest ids.
"""

import itertools
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage_miniworld.captions import caption
from preimage_miniworld.scene import sample_scenes

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

__all__ = ["CONTEXT_LENGTH", "VOCABULARY_SIZE", "learn_tokenizer", "prose_words"]

VOCABULARY_SIZE = 1200
CONTEXT_LENGTH = 40

_START, _END = "<|startoftext|>", "<|endoftext|>"
# How many running words of each kind the encoding is learned from.
_CAPTIONS = 700
_PROSE_WORDS = 40_000


def prose_words() -> Counter[str]:
    """Count the words of the Python language reference, which every Python carries.

    Returns:
        Lower-case words of two letters or more with their counts.
    """
    from pydoc_data.topics import topics

    counts = Counter(word for text in topics.values() for word in re.findall(r"[a-z]{2,}", text.lower()))
    total = sum(counts.values())
    # Square roots flatten the counts, so that plain words are not drowned by the language's own.
    flat = {word: round((count * _PROSE_WORDS / total) ** 0.5 * 4) for word, count in counts.items()}
    return Counter({word: count for word, count in sorted(flat.items()) if count})


def learn_tokenizer(folder: Path, seed: int = 0) -> "CLIPTokenizer":
    """Learn the encoding and save it.

    Args:
        folder: Where the tokenizer files go.
        seed: Draws the captions.
    """
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import CLIPTokenizer

    alphabet = _byte_alphabet()
    learner = Tokenizer(BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    n_merges = VOCABULARY_SIZE - 2 * len(alphabet) - 2
    trainer = BpeTrainer(vocab_size=VOCABULARY_SIZE * 2, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator(_corpus(seed), trainer)
    learned = _merges_of(learner)[:n_merges]
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    pieces += ["".join(pair) for pair in learned]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, _START, _END])}
    # Pairs are what the class takes; it declares texts.
    merges: Any = learned
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT_LENGTH)
    tokenizer.save_pretrained(folder)
    # Readers older than tokenizer.json want these two.
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in learned)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return tokenizer


def _corpus(seed: int) -> list[str]:
    rng = random.Random(seed)
    scenes = itertools.islice(sample_scenes("train", seed), _CAPTIONS)
    captions = [caption(scene, rng) for scene in scenes]
    return [*captions, *(" ".join([word] * count) for word, count in prose_words().items())]


def _merges_of(learner: Any) -> list[tuple[str, str]]:
    model = json.loads(learner.to_str())["model"]
    return [tuple(pair) if isinstance(pair, list) else tuple(pair.split()) for pair in model["merges"]]


def _byte_alphabet() -> list[str]:
    """The 256 characters that stand for bytes, in the order of the original CLIP."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + index) for index in range(len(hidden))]
