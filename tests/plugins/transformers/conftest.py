"""Small models of transformers with random weights and tokenizers of their own, in folders as users have them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from preimage_transformers.config import TransformersConfig
from preimage_transformers.loader import load

TEXTS = [
    "a small red circle above a blue square",
    "the happy face on a green background",
    "a large striped triangle left of a dotted star, isn't it?",
    "two yellow hearts and a sad purple ring below them",
]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
LABELS = {0: "negative", 1: "neutral", 2: "positive"}


def byte_level(specials: list[str], size: int = 330) -> Tokenizer:
    """Return a byte-level BPE trained on the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def fast(tokenizer: Tokenizer, length: int = 24, **specials: str) -> Any:
    """Return transformers' tokenizer over a Rust one."""
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=length, **specials)


def between(tokenizer: Tokenizer, before: str | None, after: str | None) -> Tokenizer:
    """Make a tokenizer put special tokens around texts."""
    named = [(name, tokenizer.token_to_id(name)) for name in {before, after} - {None}]
    single = " ".join(part for part in (before, "$A", after) if part)
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=named)
    return tokenizer


def clip_tokenizer() -> Any:
    """Return CLIP's own kind of tokenizer: byte-level BPE with word ends, lower case."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.train_from_iterator(
        TEXTS * 3, trainers.BpeTrainer(vocab_size=150, end_of_word_suffix="</w>", show_progress=False)
    )
    saved = json.loads(tokenizer.to_str())["model"]
    vocabulary = {**saved["vocab"]}
    for name in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[name] = len(vocabulary)
    merges = [tuple(merge) for merge in saved["merges"]]
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=20)


def _bert_tokenizer() -> Any:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        TEXTS * 3, trainers.WordPieceTrainer(vocab_size=120, special_tokens=specials, show_progress=False)
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), specials, strict=True))
    return fast(between(tokenizer, "[CLS]", "[SEP]"), **names)


def _llama_tokenizer() -> Any:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    specials = ["<unk>", "<s>", "</s>"]
    tokenizer.train_from_iterator(
        TEXTS * 3,
        trainers.UnigramTrainer(vocab_size=120, special_tokens=specials, unk_token="<unk>", show_progress=False),
    )
    return fast(between(tokenizer, "<s>", None), bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _roberta_tokenizer() -> Any:
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "cls_token": "<s>"}
    tokenizer = byte_level(["<s>", "<pad>", "</s>", "<unk>"])
    return fast(between(tokenizer, "<s>", "</s>"), **names)


def _clip() -> tuple[Any, Any]:
    tokenizer = clip_tokenizer()
    text = SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 20}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vision = SIZES | {"image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text | ends, vision_config=vision, projection_dim=24)
    return transformers.CLIPModel(config), tokenizer


def _siglip() -> tuple[Any, Any]:
    tokenizer = byte_level(["</s>", "<unk>"])
    tokenizer = fast(between(tokenizer, None, "</s>"), eos_token="</s>", pad_token="</s>", unk_token="<unk>")
    text = SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 16, "projection_size": 32}
    vision = SIZES | {"image_size": 16, "patch_size": 8}
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)), tokenizer


def _gpt2(**changes: Any) -> tuple[Any, Any]:
    end = "<|endoftext|>"
    tokenizer = fast(byte_level([end]), bos_token=end, eos_token=end, unk_token=end)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = {"vocab_size": len(tokenizer), "n_positions": 24, "n_embd": 32, "n_layer": 2, "n_head": 4} | ends | changes
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**config)), tokenizer


def _llama(**changes: Any) -> tuple[Any, Any]:
    tokenizer = _llama_tokenizer()
    config = SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 32, "num_key_value_heads": 2} | changes
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)), tokenizer


def _sliding() -> tuple[Any, Any]:
    tokenizer = _llama_tokenizer()
    config = SIZES | {"vocab_size": len(tokenizer), "num_key_value_heads": 2, "sliding_window": 3}
    return transformers.MistralForCausalLM(transformers.MistralConfig(**config)), tokenizer


def _gemma() -> tuple[Any, Any]:
    tokenizer = _llama_tokenizer()
    config = SIZES | {"vocab_size": len(tokenizer), "num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8}
    return transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**config)), tokenizer


def _bert(**changes: Any) -> dict[str, Any]:
    return SIZES | {"max_position_embeddings": 24, "id2label": LABELS} | changes


def _bert_classifier() -> tuple[Any, Any]:
    tokenizer = _bert_tokenizer()
    config = transformers.BertConfig(**_bert(vocab_size=len(tokenizer)))
    return transformers.BertForSequenceClassification(config), tokenizer


def _roberta_classifier() -> tuple[Any, Any]:
    tokenizer = _roberta_tokenizer()
    config = transformers.RobertaConfig(**_bert(vocab_size=len(tokenizer), max_position_embeddings=26))
    return transformers.RobertaForSequenceClassification(config), tokenizer


def _gpt2_classifier() -> tuple[Any, Any]:
    tokenizer = _gpt2()[1]
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_positions=24, n_embd=32, n_layer=2, n_head=4, id2label=LABELS
    )
    return transformers.GPT2ForSequenceClassification(config), tokenizer


def _bert_encoder() -> tuple[Any, Any]:
    tokenizer = _bert_tokenizer()
    return transformers.BertModel(transformers.BertConfig(**_bert(vocab_size=len(tokenizer)))), tokenizer


def _t5() -> tuple[Any, Any]:
    tokenizer = byte_level(["<pad>", "</s>", "<unk>"])
    tokenizer = fast(between(tokenizer, None, "</s>"), eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    config = transformers.T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    return transformers.T5EncoderModel(config), tokenizer


def _vision() -> dict[str, Any]:
    return SIZES | {"image_size": 16, "patch_size": 8}


def _blip2(**changes: Any) -> tuple[Any, Any]:
    language, tokenizer = _gpt2()
    between(tokenizer.backend_tokenizer, "<|endoftext|>", None)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    config = transformers.Blip2Config(
        vision_config=_vision(),
        qformer_config=SIZES | {"encoder_hidden_size": 32, "vocab_size": 1},
        text_config=language.config.to_dict() | {"vocab_size": len(tokenizer)},
        num_query_tokens=3,
        **{"image_token_index": len(tokenizer) - 1} | changes,
    )
    return transformers.Blip2ForConditionalGeneration(config), tokenizer


def _blip() -> tuple[Any, Any]:
    tokenizer = _bert_tokenizer()
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "sep")}
    text = SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 24, "encoder_hidden_size": 32} | ids
    text |= {"bos_token_id": tokenizer.mask_token_id, "eos_token_id": tokenizer.sep_token_id}
    config = transformers.BlipConfig(text_config=text, vision_config=_vision())
    return transformers.BlipForConditionalGeneration(config), tokenizer


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "clip": _clip,
    "siglip": _siglip,
    "gpt2": _gpt2,
    "llama": _llama,
    "sliding": _sliding,
    "gemma": _gemma,
    "bert-classifier": _bert_classifier,
    "roberta-classifier": _roberta_classifier,
    "gpt2-classifier": _gpt2_classifier,
    "bert": _bert_encoder,
    "t5": _t5,
    "blip2": _blip2,
    "blip2-blind": lambda: _blip2(image_token_index=None),
    "blip": _blip,
}


def save(folder: Path, model: Any, tokenizer: Any) -> Any:
    """Write a model whose every weight matters, with its tokenizer, and return it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(noise + 1 if parameter.ndim == 1 and name.endswith("weight") else noise)
    with contextlib.redirect_stderr(io.StringIO()):
        model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if hasattr(model, "get_image_features"):
        size = {"height": 16, "width": 16}
        transformers.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size).save_pretrained(folder)
    if model.config.model_type in ("blip", "blip-2"):
        transformers.BlipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return model


@cache
def made(kind: str) -> tuple[Path, Any, Any]:
    """Return the folder of a model, which is made once, the model and its tokenizer."""
    folder = _root() / kind
    with torch.random.fork_rng(devices=[]):
        model, tokenizer = MODELS[kind]()
    save(folder, model, tokenizer)
    return folder, model, tokenizer


@cache
def _root() -> Path:
    return Path(tempfile.mkdtemp(prefix="preimage-transformers-"))


def pytest_sessionfinish() -> None:
    """Remove the models."""
    if _root.cache_info().currsize:
        shutil.rmtree(_root(), ignore_errors=True)


def loaded(kind: str, role: str, dtype: str | None = None, **options: Any) -> Any:
    """Return a model, loaded as users load it."""
    return load(TransformersConfig(**options), name=str(made(kind)[0]), role=role, dtype=dtype)


def prompts(space: Any, count: int, length: int, seed: int = 0) -> torch.Tensor:
    """Return prompts of allowed tokens, ``(B, L)``."""
    allowed = space.allowed.nonzero().flatten()
    return allowed[torch.randint(len(allowed), (count, length), generator=torch.Generator().manual_seed(seed))]


def slope(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, step: float = 1e-6) -> torch.Tensor:
    """Return the gradient of the sum of a function's values, measured entry by entry."""
    measured = torch.zeros_like(at)
    for place in range(at.numel()):
        moved = [at.clone() for _ in range(2)]
        moved[0].view(-1)[place] += step
        moved[1].view(-1)[place] -= step
        with torch.no_grad():
            measured.view(-1)[place] = (function(moved[0]).sum() - function(moved[1]).sum()) / (2 * step)
    return measured
