"""The mini world's Stable Diffusion pipeline: its parts put together, saved as ``diffusers`` wants it, and put to use.

The text tower is the trained one of ``clip``, in the form of ``transformers`` and with the same tokenizer.
The type checker sees nothing of ``diffusers``, hence ``Any``: pipeline, autoencoder, denoiser and scheduler are
its ``StableDiffusionPipeline``, ``AutoencoderKL``, ``UNet2DConditionModel`` and ``DDIMScheduler``.
"""

import copy
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage_miniworld.config import MiniworldConfig

if TYPE_CHECKING:
    import numpy as np
    from transformers import CLIPTextModel, CLIPTokenizer

__all__ = [
    "GUIDANCE",
    "STEPS",
    "assembled",
    "generated",
    "new_scheduler",
    "save_pipeline",
    "text_encoder_of",
    "tokenizer_of",
]

STEPS, GUIDANCE = MiniworldConfig().steps, MiniworldConfig().guidance
"""How the pipeline is measured: as its loader draws."""


def text_encoder_of(clip: Path) -> "CLIPTextModel":
    """Load the text tower of a CLIP in ``open_clip`` format as a ``transformers`` model; the same numbers come out.

    Args:
        clip: The folder of the CLIP.
    """
    from safetensors.torch import load_file
    from transformers import CLIPTextConfig, CLIPTextModel

    whole = json.loads((clip / "open_clip_config.json").read_text())["model_cfg"]
    shape, end = whole["text_cfg"], whole["text_cfg"]["vocab_size"] - 1
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=shape["vocab_size"],
            hidden_size=shape["width"],
            intermediate_size=4 * shape["width"],
            projection_dim=whole["embed_dim"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            max_position_embeddings=shape["context_length"],
            hidden_act="gelu",
            bos_token_id=end - 1,
            eos_token_id=end,
            pad_token_id=end,
        )
    )
    weights = {name: value.float() for name, value in load_file(clip / "open_clip_model.safetensors").items()}
    named = {
        "embeddings.token_embedding.weight": weights["token_embedding.weight"],
        "embeddings.position_embedding.weight": weights["positional_embedding"],
        "final_layer_norm.weight": weights["ln_final.weight"],
        "final_layer_norm.bias": weights["ln_final.bias"],
    }
    places = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj"}
    places |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for layer in range(shape["layers"]):
        theirs, ours = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
        for kind in ("weight", "bias"):
            for old, new in places.items():
                named[f"{ours}.{new}.{kind}"] = weights[f"{theirs}.{old}.{kind}"]
            thirds = weights[f"{theirs}.attn.in_proj_{kind}"].chunk(3)
            for part, value in zip(("q_proj", "k_proj", "v_proj"), thirds, strict=True):
                named[f"{ours}.self_attn.{part}.{kind}"] = value
    prefix = next(iter(model.state_dict())).partition("embeddings.")[0]
    model.load_state_dict({prefix + name: value for name, value in named.items()}, strict=True)
    return model.eval().requires_grad_(requires_grad=False)


def tokenizer_of(clip: Path) -> "CLIPTokenizer":
    """Load the tokenizer of a CLIP in ``open_clip`` format."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(clip)


def new_scheduler() -> Any:
    """Build the scheduler that training and pipeline share."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def assembled(autoencoder: Any, denoiser: Any, text_encoder: "CLIPTextModel", tokenizer: Any) -> Any:
    """Put the parts together."""
    from diffusers import StableDiffusionPipeline

    pipeline: Any = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=denoiser,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_pipeline(pipeline: Any, folder: Path) -> None:
    """Save a pipeline in half precision, in place of the one that may lie there; the pipeline stays as it is."""
    whole, former = folder.with_name(folder.name + ".part"), folder.with_name(folder.name + ".former")
    shutil.rmtree(whole, ignore_errors=True)
    shutil.rmtree(former, ignore_errors=True)
    halved = {name: copy.deepcopy(getattr(pipeline, name)).half() for name in ("vae", "unet", "text_encoder")}
    assembled(halved["vae"], halved["unet"], halved["text_encoder"], pipeline.tokenizer).save_pretrained(whole)
    # Its reader computes in single precision unless it is told otherwise.
    config = whole / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "dtype": "float32"}, indent=2) + "\n")
    for weights in whole.rglob("*.safetensors"):
        weights.chmod(0o644)
    if folder.exists():
        folder.rename(former)
    whole.rename(folder)
    shutil.rmtree(former, ignore_errors=True)


def generated(
    pipeline: Any,
    texts: list[str],
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    batch: int = 32,
) -> "np.ndarray":
    """Draw a picture for each text, each from its own noise: the i-th from seed i.

    Returns:
        (N, 64, 64, 3) uint8.
    """
    import numpy as np
    import torch

    made = []
    for start in range(0, len(texts), batch):
        some = texts[start : start + batch]
        sources = [torch.Generator().manual_seed(start + index) for index in range(len(some))]
        pictures = pipeline(some, num_inference_steps=steps, guidance_scale=guidance, generator=sources).images
        made += [np.asarray(picture) for picture in pictures]
    return np.stack(made)
