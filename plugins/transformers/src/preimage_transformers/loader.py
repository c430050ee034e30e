"""What a model is built as: that depends on the role it is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
)

from preimage.errors import AssemblyError, InputError
from preimage.weights import floating_type
from preimage_transformers.captioner import CAPTIONERS, TransformersCaptioner
from preimage_transformers.classifier import TransformersClassifier
from preimage_transformers.clip import TransformersClip
from preimage_transformers.language_model import TransformersLanguageModel
from preimage_transformers.sentence_encoder import SentenceEncoder, pooling_in
from preimage_transformers.source import Source, source_of

if TYPE_CHECKING:
    from preimage_transformers.config import TransformersConfig

__all__ = ["load"]

_Loaded = (
    TransformersClip | SentenceEncoder | TransformersLanguageModel | TransformersClassifier | TransformersCaptioner
)

_ROLES = ("image-text-encoder", "text-encoder", "language-model", "classifier", "captioner")


def load(
    config: TransformersConfig,
    *,
    name: str,
    role: str,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> _Loaded:
    """Load a model for a role.

    Arguments:
        config: how.
        name: a repository of the Hugging Face hub, or a folder that `save_pretrained` has written.
        role: what it is wanted for.
        device: where it lives; the CPU unless given.
        dtype: what it computes in, single precision unless given.

    Raises:
        AssemblyError: it cannot play the role.
        InputError: the folder or its files cannot be used, or a download failed.
        OptionError: the dtype is none.
    """
    if role not in _ROLES:
        message = (
            f"hf:{name} was asked for as {role!r}, but this loader's models are {', '.join(_ROLES)}: use a loader of "
            "that role (`preimage plugins` lists them)."
        )
        raise AssemblyError(message)
    kind = floating_type(dtype)
    source = source_of(name, config)
    described = source.config()
    place = torch.device("cpu" if device is None else device)
    if role == "language-model":
        model = _model(source, described, role, AutoModelForCausalLM, transformers.MODEL_FOR_CAUSAL_LM_MAPPING, kind)
        return TransformersLanguageModel(
            model.to(place), source.tokenizer(), reference=source.reference, share_prefixes=config.share_prefixes
        )
    if role == "classifier":
        mapping = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
        model = _model(source, described, role, AutoModelForSequenceClassification, mapping, kind)
        return TransformersClassifier(model.to(place), source.tokenizer(), reference=source.reference)
    if role == "captioner":
        if described.model_type not in CAPTIONERS:
            raise AssemblyError(_wrong_role(source, described, role))
        return TransformersCaptioner(
            source.model(AutoModelForImageTextToText, kind).to(place),
            source.tokenizer(),
            source.read(AutoImageProcessor.from_pretrained, "image processor"),
            reference=source.reference,
            image_batch=config.image_batch,
        )
    if _is_clip(described):
        return TransformersClip(
            source.model(AutoModel, kind).to(place),
            source.tokenizer(),
            source.read(AutoImageProcessor.from_pretrained, "image processor") if _has_pictures(source, role) else None,
            reference=source.reference,
            image_batch=config.image_batch,
        )
    if role == "image-text-encoder":
        raise AssemblyError(_wrong_role(source, described, role))
    return _sentence_encoder(source, described, kind, place)


def _model(source: Source, described: Any, role: str, loader: Any, mapping: Any, kind: torch.dtype) -> Any:
    if type(described) not in mapping:
        raise AssemblyError(_wrong_role(source, described, role))
    return source.model(loader, kind)


def _sentence_encoder(source: Source, described: Any, kind: torch.dtype, place: torch.device) -> SentenceEncoder:
    if type(described) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING:
        loader: Any = AutoModelForTextEncoding
    elif type(described) in transformers.MODEL_MAPPING and not described.is_encoder_decoder:
        loader = AutoModel
    else:
        raise AssemblyError(_wrong_role(source, described, "text-encoder"))
    _check_modules(source)
    # Sentences are pooled from the states; the pooler on top of some models is never used, and often not saved.
    model = source.model(loader, kind, unused=("pooler.",))
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return SentenceEncoder(
        model.to(place),
        source.tokenizer(),
        reference=source.reference,
        poolings=pooling_in(source.file("1_Pooling/config.json"), source.reference),
        max_length=_length_in(source.file("sentence_bert_config.json")),
    )


def _is_clip(described: Any) -> bool:
    """Tell whether a model of this configuration has vectors for texts and for pictures."""
    if type(described) not in transformers.MODEL_MAPPING:
        return False
    model = transformers.MODEL_MAPPING[type(described)]
    return hasattr(model, "get_text_features") and hasattr(model, "get_image_features")


def _has_pictures(source: Source, role: str) -> bool:
    """Tell whether there is an image processor, or has to be one."""
    if role == "image-text-encoder":
        return True
    return any(source.file(name) for name in ("preprocessor_config.json", "processor_config.json"))


def _check_modules(source: Source) -> None:
    """Raise if a model of sentence-transformers does more than pool and normalise."""
    path = source.file("modules.json")
    if path is None:
        return
    names = [str(module.get("type", "")).rpartition(".")[2] for module in _json(path, source)]
    others = [name for name in names if name not in ("Transformer", "Pooling", "Normalize")]
    if others:
        message = (
            f"{source.reference} is a model of sentence-transformers with a {others[0]} layer behind its pooling, "
            "which this loader does not know: use a model that pools and normalises only."
        )
        raise AssemblyError(message)


def _length_in(path: Path | None) -> int | None:
    """Return the greatest number of tokens that sentence-transformers gives a model."""
    if path is None:
        return None
    try:
        length = json.loads(path.read_text("utf-8")).get("max_seq_length")
    except (OSError, ValueError, AttributeError):
        # It only narrows what the positions allow.
        return None
    return length if isinstance(length, int) and length > 0 else None


def _json(path: Path, source: Source) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        message = f"{path.name} of {source.reference} could not be read: {error}. Save the model again."
        raise InputError(message) from error


def _wrong_role(source: Source, described: Any, role: str) -> str:
    can = [
        name
        for name, fits in (
            ("image-text-encoder", _is_clip(described)),
            ("language-model", type(described) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING),
            ("classifier", type(described) in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING),
            ("captioner", described.model_type in CAPTIONERS),
            ("text-encoder", type(described) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING),
        )
        if fits
    ]
    return (
        f"{source.reference} is a model of the type {described.model_type!r}, which transformers cannot build as "
        f"{role!r} (but as {' or '.join(can)}): use a model of that role."
        if can
        else f"{source.reference} is a model of the type {described.model_type!r}, which transformers cannot build as "
        f"{role!r} or any other role: use another model."
    )
