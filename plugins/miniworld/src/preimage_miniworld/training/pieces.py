"""The other models' tokenizers: byte-level pairs, unigrams and word pieces, each learned from captions and prose.

No two models that judge each other share one. As with the CLIP's, half of what they learn from is
English prose, so that there are words to search among that captions never use.
"""

import itertools
import json
import random
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from preimage_miniworld.captions import caption
from preimage_miniworld.scene import sample_scenes
from preimage_miniworld.training.tokenizer import prose_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["CONTEXT_LENGTH", "byte_level", "unigram", "word_pieces"]

CONTEXT_LENGTH = 64

_CAPTIONS = 700
_MARKS = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
_SPECIALS = _UNKNOWN, _PADDING, _BEGIN, _END = "<unk>", "<pad>", "<s>", "</s>"


def byte_level(folder: Path, size: int, seed: int = 0) -> "PreTrainedTokenizerBase":
    """Learn GPT-2's kind: pairs of bytes, a space belongs to the word behind it, nothing is unknown.

    Args:
        folder: Where the tokenizer is kept.
        size: How many pieces.
        seed: Draws the captions.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Tokenizer

    end = "<|endoftext|>"
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=[end], show_progress=False)
    learner.train_from_iterator(_corpus(seed), trainer)
    learned = json.loads(learner.to_str())["model"]
    # Pairs are what the class takes; it declares texts.
    merges: Any = [tuple(pair) for pair in learned["merges"]]
    tokenizer = GPT2Tokenizer(
        vocab=learned["vocab"], merges=merges, unk_token=end, bos_token=end, eos_token=end, pad_token=end,
        model_max_length=CONTEXT_LENGTH,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    return tokenizer


def unigram(folder: Path, size: int, seed: int = 0, *, ended: bool = False) -> "PreTrainedTokenizerBase":
    """Learn SentencePiece's kind: the likeliest pieces, ``▁`` for a space, bytes for what is unknown.

    Args:
        folder: Where the tokenizer is kept.
        size: How many pieces, the 256 of bytes included.
        seed: Draws the captions.
        ended: Whether each text gets a mark of its end, besides that of its beginning.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size - 256 - len(_SPECIALS) + 1, unk_token=_UNKNOWN, special_tokens=[_UNKNOWN], show_progress=False
    )
    learner.train_from_iterator(_corpus(seed), trainer)
    learned = [(piece, round(score, 9)) for piece, score in json.loads(learner.to_str())["model"]["vocab"]]
    # What it learns is the same each time, up to the last digits and the order of equals.
    learned = sorted((pair for pair in learned if pair[0] != _UNKNOWN), key=lambda pair: (-pair[1], pair[0]))
    # Far below any learned piece, so that bytes stand only where no other piece fits.
    spelled = [(f"<0x{byte:02X}>", -100.0) for byte in range(256)]
    vocabulary = [*((mark, 0.0) for mark in _SPECIALS), *spelled, *learned]
    inner = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.post_processor = processors.TemplateProcessing(
        single=f"{_BEGIN} $A {_END}" if ended else f"{_BEGIN} $A",
        special_tokens=[(mark, index) for index, mark in enumerate(_SPECIALS)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token=_UNKNOWN, bos_token=_BEGIN, eos_token=_END, pad_token=_PADDING,
        model_max_length=CONTEXT_LENGTH, clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    return tokenizer


def word_pieces(folder: Path, size: int, seed: int = 0) -> "PreTrainedTokenizerBase":
    """Learn BERT's kind: lower-cased words, ``##`` before the pieces inside a word.

    Args:
        folder: Where the tokenizer is kept.
        size: How many pieces.
        seed: Draws the captions.
    """
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    learner = BertWordPieceTokenizer(lowercase=True)
    printable = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    # It takes letters inside words in an order of its own, another one each time, and then pairs of them that are
    # equally frequent. What is named as special comes first and as it is named.
    inside = ["##" + letter for letter in ascii_lowercase]
    learner.train_from_iterator(
        _corpus(seed), vocab_size=size, min_frequency=2, initial_alphabet=printable, show_progress=False,
        special_tokens=[*_MARKS, *inside],
    )  # fmt: skip
    tokenizer = BertTokenizer(vocab=learner.get_vocab(), do_lower_case=True, model_max_length=CONTEXT_LENGTH)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _corpus(seed: int) -> list[str]:
    rng = random.Random(seed)
    scenes = itertools.islice(sample_scenes("train", seed), _CAPTIONS)
    captions = [caption(scene, rng) for scene in scenes]
    # A word after a word, so that encodings that keep spaces learn it with the space before it.
    return [*captions, *(" ".join([word] * (count + 1)) for word, count in prose_words().items())]
