"""A small CLIP with random weights in double precision, and open_clip's own model of it."""

from __future__ import annotations

import json

import attrs
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from preimage_open_clip.config import OpenClipConfig
from preimage_open_clip.encoder import OpenClipEncoder
from preimage_open_clip.loader import load

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VISION = {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}


@attrs.frozen
class Clip:
    """An encoder and, to compare with, open_clip's model with the same weights."""

    encoder: OpenClipEncoder
    model: nn.Module

    def text_vectors(self, texts):
        """Return open_clip's own unit vectors of padded texts."""
        tokens = open_clip.tokenizer.SimpleTokenizer(context_length=16)(texts)
        with torch.no_grad():
            return functional.normalize(self.model.encode_text(tokens), dim=-1)

    def image_vectors(self, images):
        """Return open_clip's own unit vectors of pictures."""
        configuration = open_clip.transform.PreprocessCfg(**self.model.visual.preprocess_cfg)
        transform = open_clip.transform.image_transform_v2(configuration, is_train=False)
        with torch.no_grad():
            pixels = torch.stack([transform(image) for image in images]).double()
            return functional.normalize(self.model.encode_image(pixels), dim=-1)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Return the encoder and open_clip's model, both in double precision."""
    folder = tmp_path_factory.mktemp("clip")
    saved = {"model_cfg": {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(saved), "utf-8")
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(noise + 1 if parameter.ndim == 1 and name.endswith("weight") else noise)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    encoder = load(OpenClipConfig(), name=str(folder), dtype=torch.float64)
    return Clip(encoder, model.double())
