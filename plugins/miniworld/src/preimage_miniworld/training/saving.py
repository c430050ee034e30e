"""Saves models in the form of ``transformers``, small: half precision on disk, single precision once loaded."""

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["save_model"]


def save_model(model: "PreTrainedModel", tokenizer: Path, folder: Path) -> None:
    """Save a model and the files of its tokenizer.

    Args:
        model: What to save; it stays as it is.
        tokenizer: The folder of the tokenizer.
        folder: Where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).half().save_pretrained(folder)
    # Loaders take the precision to compute in from here and convert what they read.
    config = json.loads((folder / "config.json").read_text())
    config.pop("torch_dtype", None)
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "model.safetensors").chmod(0o644)
    for entry in tokenizer.iterdir():
        (folder / entry.name).write_bytes(entry.read_bytes())
