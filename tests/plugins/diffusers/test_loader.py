"""Pipelines from folders: what is read, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from preimage import catalogue
from preimage.errors import AssemblyError, InputError, OptionError
from preimage_diffusers.config import DiffusersConfig
from preimage_diffusers.loader import load
from preimage_diffusers.source import source_of

from .conftest import folder, loaded

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a folder of a pipeline of one's own."""
    return Path(shutil.copytree(folder("epsilon"), tmp_path / "model"))


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file."""
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def no_index(model: Path) -> None:
    (model / "model_index.json").unlink()


def no_unet(model: Path) -> None:
    shutil.rmtree(model / "unet")


def no_weights(model: Path) -> None:
    (model / UNET).unlink()


def pickled(model: Path) -> None:
    weights = load_file(model / UNET)
    (model / UNET).unlink()
    torch.save(weights, model / "unet/diffusion_pytorch_model.bin")


def one_weight_missing(model: Path) -> None:
    weights = load_file(model / UNET)
    del weights["conv_in.weight"]
    save_file(weights, model / UNET)


def cut_off(model: Path) -> None:
    (model / UNET).write_bytes((model / UNET).read_bytes()[:1000])


def pipeline_of_its_own(model: Path) -> None:
    rewrite(model / "model_index.json", lambda index: index.update(_class_name=["pipeline", "TheirPipeline"]))


def part_of_its_own(model: Path) -> None:
    rewrite(model / "model_index.json", lambda index: index.update(unet=["my_unet", "MyUNet"]))


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (no_index, InputError, "holds no model_index.json, so it is not a pipeline in the format of diffusers"),
        (no_unet, InputError, "has no folder 'unet', which its model_index.json names"),
        (no_weights, InputError, "holds no weights, so the model would answer at random"),
        (pickled, InputError, "only as a pickle .*convert it to safetensors, or set trust_pickle=true"),
        (one_weight_missing, AssemblyError, "The unet of .* holds no weights for 'conv_in.weight' of a UNet2DCond"),
        (cut_off, InputError, r"The weights \(unet\) of .* could not be read"),
        (pipeline_of_its_own, AssemblyError, "which diffusers .* does not have, so that code from the model's repos"),
        (part_of_its_own, AssemblyError, "The unet of .* is a MyUNet of 'my_unet', which is neither diffusers nor"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_trusted_is_refused(copied, damage, error, words):
    """Each kind of damage, and whatever would run code of others, is told in a sentence."""
    damage(copied)
    with pytest.raises(error, match=words):
        load(DiffusersConfig(), name=str(copied), role="denoiser")


def test_pickles_are_read_when_they_are_trusted(copied):
    """With ``trust_pickle`` the same weights come from a pickle."""
    pickled(copied)
    trusted = load(DiffusersConfig(trust_pickle=True), name=str(copied), role="denoiser")
    assert trusted.fingerprint == loaded("epsilon", "denoiser").fingerprint


def test_folders_and_names_are_told_apart(tmp_path):
    """A path that leads nowhere is not looked up on the hub."""
    with pytest.raises(InputError, match="There is no folder"):
        load(DiffusersConfig(), name=str(tmp_path / "nowhere"), role="denoiser")
    hub = source_of("stabilityai/stable-diffusion-2-1", DiffusersConfig(revision="fp16", cache_dir="there"))
    assert hub.folder is None
    assert hub.options == {"local_files_only": False, "cache_dir": "there", "revision": "fp16"}
    local = source_of(str(folder("epsilon")), DiffusersConfig(revision="fp16"))
    assert local.options == {"local_files_only": True, "cache_dir": None}


def test_other_roles_are_refused():
    """The roles that there are are named."""
    with pytest.raises(AssemblyError, match="was asked for as 'classifier', but this loader's models are image-gen"):
        loaded("epsilon", "classifier")
    with pytest.raises(OptionError, match="no floating-point type"):
        loaded("epsilon", "denoiser", "int8")


def test_both_roles_share_their_networks():
    """Weights are in memory once, as long as one of the roles is in use, and again in another precision."""
    generator = loaded("epsilon", "image-generator", steps=3)
    denoiser, other = loaded("epsilon", "denoiser"), loaded("epsilon", "denoiser", "float64")
    assert denoiser._unet is generator._pipeline.unet
    assert other._unet is not denoiser._unet
    assert denoiser.fingerprint == generator.fingerprint
    assert denoiser.space.embedding.dtype == torch.float32
    assert other.space.embedding.dtype == torch.float64


def test_the_catalogue_finds_it():
    """By reference, with options, in either role."""
    reference = f"sd:{folder('v')}"
    model = catalogue().load_model(reference, "image-generator", steps="3", guidance="1")
    assert model.reference == reference
    assert model.steps == 3
    assert catalogue().load_model(reference, "denoiser").n_timesteps == 1000
