"""References to models: hub names and folders through one code path."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import open_clip
import torch
from open_clip.factory import load_checkpoint
from open_clip.transform import PreprocessCfg, image_transform_v2

from preimage.errors import AssemblyError, InputError, UnknownNameError, first_line, nearest
from preimage.weights import floating_type, local_folder, weights_in
from preimage_open_clip.encoder import OpenClipEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from preimage_open_clip.config import OpenClipConfig

__all__ = ["Source", "load", "source_of"]

_ROLES = ("image-text-encoder", "text-encoder")
_CONFIG = "open_clip_config.json"
_SAFE_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
_FORMAT = "a model in open_clip's format: save it with open_clip's `push_to_hf_hub.save_for_hf`"
# open_clip's names: normalisation layers stay in single precision.
_PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16"}


@attrs.frozen
class Source:
    """Where a model comes from.

    Attributes:
        model_name: open_clip's name for it, with its scheme (``local-dir:``, ``hf-hub:``) if it has one.
        tag: which pretrained weights of an architecture, for names without a scheme.
        folder: the folder, if it is one.
    """

    model_name: str
    tag: str | None = None
    folder: Path | None = None


def load(
    config: OpenClipConfig,
    *,
    name: str,
    role: str = "image-text-encoder",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> OpenClipEncoder:
    """Load a model.

    Arguments:
        config: how.
        name: ``architecture/tag``, ``hf-hub:owner/name``, or a folder in open_clip's format.
        role: what it is wanted for; the encoder plays both of its roles.
        device: where it lives; the CPU unless given.
        dtype: what it computes in, single precision unless given.

    Raises:
        AssemblyError: it cannot play the role, or its text tower cannot be searched.
        InputError: the folder or its files cannot be used, or a download failed.
        OptionError: the dtype is none.
        UnknownNameError: open_clip has no such architecture or weights.
    """
    reference = f"open_clip:{name}"
    if role not in _ROLES:
        message = (
            f"{reference} was asked for as {role!r}, but models of open_clip are {' and '.join(_ROLES)}: use a "
            "loader of that role (`preimage plugins` lists them)."
        )
        raise AssemblyError(message)
    source = source_of(name)
    place = torch.device("cpu" if device is None else device)
    kind = floating_type(dtype)
    # open_clip draws initial weights from the global generator before it reads the real ones.
    with _unconfigured_logging(), torch.random.fork_rng(devices=[]):
        if source.folder is not None:
            model = _from_folder(source.folder, source.model_name, config, kind)
        else:
            model = _from_hub(source, reference, config, kind)
        try:
            tokenizer = open_clip.get_tokenizer(source.model_name, cache_dir=config.cache_dir)
        except (OSError, ValueError) as error:
            message = (
                f"The tokenizer of {reference} could not be loaded: {first_line(error)} Put its files "
                "(tokenizer.json, tokenizer_config.json) beside the model, or connect to the network once."
            )
            raise InputError(message) from error
    model = model.to(place) if kind in _PRECISIONS else model.to(place, kind)
    preprocess = image_transform_v2(PreprocessCfg(**open_clip.model.get_model_preprocess_cfg(model)), is_train=False)
    return OpenClipEncoder(
        model,
        tokenizer,
        preprocess,
        reference=reference,
        image_batch=config.image_batch,
        share_prefixes=config.share_prefixes,
    )


def source_of(name: str) -> Source:
    """Return what a reference's name stands for.

    Raises:
        InputError: it is the path of a folder that does not exist or is none of open_clip's.
        UnknownNameError: open_clip has no such architecture or weights.

    >>> source_of("ViT-B-32/laion2b_s34b_b79k")
    Source(model_name='ViT-B-32', tag='laion2b_s34b_b79k', folder=None)
    >>> source_of("hf-hub:timm/vit_base_patch32_clip_224.openai").model_name
    'hf-hub:timm/vit_base_patch32_clip_224.openai'
    """
    if name.startswith("hf-hub:"):
        return Source(name)
    path = name.removeprefix("local-dir:")
    folder = local_folder(path if path == name else str(Path(path).expanduser().absolute()), _CONFIG, _FORMAT)
    if folder is not None:
        return Source(f"local-dir:{folder}", folder=folder)
    architectures = open_clip.list_models()
    architecture, _, tag = name.rpartition("/")
    architecture = architecture.replace("/", "-")
    if architecture in architectures:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        if tag in tags:
            return Source(architecture, tag)
        message = (
            f"open_clip has no weights {tag!r} for {architecture}.{nearest(tag, tags)} "
            f"There are: {', '.join(tags) or 'none'}."
        )
        raise UnknownNameError(message)
    whole = name.replace("/", "-")
    if whole in architectures:
        tags = open_clip.list_pretrained_tags_by_model(whole)
        message = (
            f"open_clip:{name} names an architecture without weights, which would answer at random: add a tag, "
            f"for example open_clip:{whole}/{tags[0] if tags else 'TAG'}."
        )
        raise UnknownNameError(message)
    known = sorted({entry for entry, _ in open_clip.list_pretrained()})
    message = (
        f"open_clip has no architecture {architecture or name!r}.{nearest(architecture or name, known)} Names are "
        "architecture/tag, for example ViT-B-32/laion2b_s34b_b79k; a folder is written ./folder or /path/to/folder."
    )
    raise UnknownNameError(message)


def _from_folder(folder: Path, model_name: str, config: OpenClipConfig, dtype: torch.dtype) -> nn.Module:
    weights = _preferred(weights_in(folder, trust_pickle=config.trust_pickle))
    try:
        # The weights are loaded in a second step, because open_clip would prefer some pickles to safetensors.
        model = open_clip.create_model(
            model_name, precision=_PRECISIONS.get(dtype, "fp32"), load_weights=False, pretrained_text=False
        )
        load_checkpoint(model, str(weights))
    except Exception as error:
        message = (
            f"The model in {str(folder)!r} could not be loaded: {first_line(error)} Check that {_CONFIG} "
            f"describes the weights in {weights.name}."
        )
        raise InputError(message) from error
    return model


def _preferred(files: list[Path]) -> Path:
    """Return the file with the weights, which stands first where none has one of the names that open_clip writes."""
    found = {path.name: path for path in files}
    return next((found[name] for name in _SAFE_NAMES if name in found), files[0])


def _from_hub(source: Source, reference: str, config: OpenClipConfig, dtype: torch.dtype) -> nn.Module:
    try:
        return open_clip.create_model(
            source.model_name,
            pretrained=source.tag,
            precision=_PRECISIONS.get(dtype, "fp32"),
            cache_dir=config.cache_dir,
            require_pretrained=True,
            # Many names have no safetensors; of a pickle nothing but weights is read.
            weights_only=True,
        )
    except Exception as error:
        message = (
            f"The weights of {reference} could not be fetched or loaded: {first_line(error)} Check the name and "
            "the network (a model is downloaded once and then kept), or load a folder: open_clip:/path/to/folder."
        )
        raise InputError(message) from error


@contextmanager
def _unconfigured_logging() -> Iterator[None]:
    """Keep open_clip's calls of ``logging.info`` from configuring the root logger of the whole process.

    Nor does it say that there are no weights where they are loaded in a second step.
    """
    root, silence = logging.getLogger(), logging.NullHandler()
    root.addHandler(silence)
    root.addFilter(_is_no_false_alarm)
    try:
        yield
    finally:
        root.removeFilter(_is_no_false_alarm)
        root.removeHandler(silence)


def _is_no_false_alarm(record: logging.LogRecord) -> bool:
    return not any(alarm in record.getMessage() for alarm in ("Model initialized randomly", "no CLIP weights found"))
