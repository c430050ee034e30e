"""``miniworld:…`` references: the bundled models by name, through the loaders of their formats."""

import pytest

import preimage
from preimage.errors import MissingDependencyError, UnknownNameError
from preimage_miniworld import loader
from preimage_miniworld.config import MiniworldConfig
from preimage_miniworld.data import held_out

torch = pytest.importorskip("torch")

ROLES = {
    "clip-judge": "image-text-encoder",
    "gpt2": "language-model",
    "llama": "language-model",
    "mood": "classifier",
    "sentence": "text-encoder",
    "sd": "denoiser",
}


@pytest.mark.parametrize(("name", "role"), ROLES.items())
def test_models_play_their_roles(name, role):
    """They come by name, call themselves by it, and read a caption and write it again."""
    pytest.importorskip("preimage_diffusers" if name == "sd" else "preimage_transformers")
    model = preimage.catalogue().load_model(f"miniworld:{name}", role)

    assert model.reference == model.space.name == f"miniworld:{name}"
    text = "a tiny striped azure ball under the stars"
    assert model.space.decode(torch.tensor(model.space.encode([text]))) == [text]


def test_the_captioner_comes_by_name():
    """It says what a picture shows, and has no texts of its own to be searched."""
    pytest.importorskip("preimage_transformers")
    from preimage.api import Decoding
    from preimage_miniworld.parser import recovered

    model = preimage.catalogue().load_model("miniworld:blip2", "captioner")
    ((scene, picture, _),) = held_out(1, objects=1)
    ((text,),) = model.captions([picture], Decoding())

    assert (model.reference, hasattr(model, "space")) == ("miniworld:blip2", False)
    assert set(recovered(text, scene).values()) == {1.0}


def test_an_unknown_model_is_named_with_the_nearest():
    """The message lists what there is."""
    with pytest.raises(UnknownNameError, match="no model 'gpt3'. Did you mean 'gpt2'"):
        loader.load(MiniworldConfig(), name="gpt3", role="language-model")


def test_a_format_without_its_plugin_says_what_to_install(monkeypatch):
    """Models whose loader is missing name its distribution."""
    monkeypatch.setitem(loader.MODELS, "gpt2", "absent")
    monkeypatch.setitem(loader._DISTRIBUTIONS, "absent", "preimage-absent")

    with pytest.raises(MissingDependencyError, match="'absent', which is not installed: install preimage-absent"):
        loader.load(MiniworldConfig(), name="gpt2", role="language-model")


def test_every_bundled_model_is_there():
    """Each name has its folder, and each folder its name."""
    assert {entry.name for entry in loader._FOLDER.iterdir() if entry.is_dir()} == set(loader.MODELS)
    assert set(loader.MODELS.values()) <= set(loader._DISTRIBUTIONS)
