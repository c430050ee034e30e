"""Small models of open_clip with random weights, in folders as open_clip saves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from preimage_open_clip.config import OpenClipConfig
from preimage_open_clip.encoder import OpenClipEncoder
from preimage_open_clip.loader import load

TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3}
VISION = {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
# Every kind of text tower that open_clip builds itself: what its configuration says besides TEXT.
TOWERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "custom-text": {"custom_text": True},
    "quick-gelu": {"quick_gelu": True},
    "layer-scale": {"text_cfg": {"ls_init_value": 0.7}},
    "projection-with-bias": {"custom_text": True, "text_cfg": {"proj_bias": True}},
    "custom-blocks": {"custom_text": True, "text_cfg": {"qk_norm": True, "scale_heads": True, "scale_fc": True}},
    "pooled-at-eos": {"custom_text": True, "text_cfg": {"pool_type": "eos", "eos_id": 49407}},
    "pooled-first": {"custom_text": True, "text_cfg": {"pool_type": "first"}},
    "causal-pooled-last": {"custom_text": True, "text_cfg": {"pool_type": "last"}},
    "both-directions": {"text_cfg": {"no_causal_mask": True}},
    "siglip-like": {"custom_text": True, "text_cfg": {"no_causal_mask": True, "pool_type": "last"}},
    "coca": {
        "custom_text": True,
        "text_cfg": {"embed_cls": True, "output_tokens": True},
        "vision_cfg": {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
        "multimodal_cfg": TEXT | {"layers": 1},
    },
}


def save_model(folder: Path, *, seed: int = 0, **parts: Any) -> nn.Module:
    """Write a model with random weights in open_clip's format and return open_clip's own model of it."""
    parts = {"embed_dim": 24, **parts}
    parts["text_cfg"] = TEXT | parts.get("text_cfg", {})
    parts["vision_cfg"] = VISION | parts.get("vision_cfg", {})
    folder.mkdir(parents=True, exist_ok=True)
    saved = {"model_cfg": parts, "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.3, 0.2, 0.3]}}
    (folder / "open_clip_config.json").write_text(json.dumps(saved), "utf-8")
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Larger than usual, so that every position and every block matters to the result.
            noise = torch.randn(parameter.shape, generator=generator) * 0.15
            parameter.copy_(noise + 1 if parameter.ndim == 1 and name.endswith("weight") else noise)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return model


@pytest.fixture(scope="session")
def make_tower(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[OpenClipEncoder, nn.Module]]:
    """Return a function from the name of a tower to our encoder and open_clip's model, made once."""
    made: dict[tuple[str, bool], tuple[OpenClipEncoder, nn.Module]] = {}

    def make(tower: str, *, share_prefixes: bool = True) -> tuple[OpenClipEncoder, nn.Module]:
        key = (tower, share_prefixes)
        if key not in made:
            folder = tmp_path_factory.mktemp(tower)
            model = save_model(folder, **TOWERS[tower])
            made[key] = load(OpenClipConfig(share_prefixes=share_prefixes), name=str(folder)), model
        return made[key]

    return make
