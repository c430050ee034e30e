"""References, folders, roles, and what is refused in a sentence."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

from preimage.errors import AssemblyError, InputError, OptionError
from preimage_transformers import plugin
from preimage_transformers.config import TransformersConfig
from preimage_transformers.loader import load
from preimage_transformers.source import source_of

from .conftest import made, save


def copied(tmp_path: Path, kind: str) -> Path:
    """Return a folder of its own with a model."""
    save(tmp_path, made(kind)[1], made(kind)[2])
    return tmp_path


class TestReferences:
    def test_hub_names(self) -> None:
        """A name that is no folder is a repository, at the revision that was asked for."""
        source = source_of("owner/name", TransformersConfig(revision="v2"))

        assert (source.path, source.folder, source.options["revision"]) == ("owner/name", None, "v2")

    @pytest.mark.parametrize("written", ["{}", "./folder", "folder"])
    def test_folders(self, tmp_path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
        """A folder may be written absolutely or relatively, and needs no network."""
        copied(tmp_path / "folder", "gpt2")
        monkeypatch.chdir(tmp_path)
        name = written.format(tmp_path / "folder")
        model = load(TransformersConfig(), name=name, role="language-model")

        assert model.reference == model.space.name == f"hf:{name}"

    def test_neither_code_nor_pickles(self) -> None:
        """Nothing that could run code is read unless the user says so."""
        source = source_of("owner/name", TransformersConfig())

        assert source.options["trust_remote_code"] is False
        assert source.use_safetensors is True

    def test_same_fingerprint_as_in_another_role(self) -> None:
        """A fingerprint is that of the weights: the same at every load, another for another model."""
        prints = [
            load(TransformersConfig(), name=str(made(kind)[0]), role="language-model").fingerprint
            for kind in ("gpt2", "gpt2", "llama")
        ]

        assert prints[0] == prints[1] != prints[2]


class TestFolders:
    def test_missing(self, tmp_path) -> None:
        """A folder that is not there."""
        with pytest.raises(InputError, match="There is no folder '.*nowhere' to load a model from: check the path"):
            load(TransformersConfig(), name=str(tmp_path / "nowhere"), role="classifier")

    def test_without_config(self, tmp_path) -> None:
        """A folder of something else."""
        with pytest.raises(InputError, match=r"holds no config\.json, so it is not a model in the format of transform"):
            load(TransformersConfig(), name=str(tmp_path), role="classifier")

    @pytest.mark.parametrize("content", ["{", '{"model_type": "nonsense"}', "{}"])
    def test_broken_config(self, tmp_path, content: str) -> None:
        """A configuration that cannot be read, or of a kind that nobody knows."""
        copied(tmp_path, "gpt2")
        (tmp_path / "config.json").write_text(content, "utf-8")
        with pytest.raises(InputError, match="The configuration of hf:.* could not be read: .*Check that the files in"):
            load(TransformersConfig(), name=str(tmp_path), role="language-model")

    def test_without_weights(self, tmp_path) -> None:
        """A configuration alone would answer at random."""
        (copied(tmp_path, "gpt2") / "model.safetensors").unlink()
        with pytest.raises(InputError, match="holds no weights, so the model would answer at random"):
            load(TransformersConfig(), name=str(tmp_path), role="language-model")

    def test_pickles_only_if_trusted(self, tmp_path) -> None:
        """A pickle is refused by default and read when its author is trusted."""
        copied(tmp_path, "gpt2")
        safe = load(TransformersConfig(), name=str(tmp_path), role="language-model").fingerprint
        (tmp_path / "model.safetensors").unlink()
        torch.save(made("gpt2")[1].state_dict(), tmp_path / "pytorch_model.bin")

        with pytest.raises(InputError, match=r"only as a pickle \(pytorch_model\.bin\), which may run any code"):
            load(TransformersConfig(), name=str(tmp_path), role="language-model")
        trusted = load(TransformersConfig(trust_pickle=True), name=str(tmp_path), role="language-model")
        assert trusted.fingerprint == safe

    def test_weights_of_another_size(self, tmp_path) -> None:
        """Weights that do not fit the configuration."""
        path = copied(tmp_path, "gpt2") / "config.json"
        path.write_text(path.read_text("utf-8").replace('"n_embd": 32', '"n_embd": 16'), "utf-8")
        with pytest.raises((InputError, AssemblyError), match=r"^(The weights of hf:|hf:).*"):
            load(TransformersConfig(), name=str(tmp_path), role="language-model")

    def test_without_tokenizer(self, tmp_path) -> None:
        """A model without a tokenizer is not given an empty one, as transformers would."""
        copied(tmp_path, "gpt2")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name).unlink()
        with pytest.raises(InputError, match=r"There is no tokenizer beside hf:.*: put its files \(tokenizer.json"):
            load(TransformersConfig(), name=str(tmp_path), role="language-model")

    def test_slow_tokenizer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A tokenizer of pure Python is refused."""

        class Slow:
            is_fast = False

        monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: Slow())
        with pytest.raises(AssemblyError, match=r"\(Slow\) is not one of the `tokenizers` library"):
            load(TransformersConfig(), name=str(made("gpt2")[0]), role="language-model")


class TestHub:
    def test_without_a_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A download that fails is one sentence with the cause and two ways out."""

        def offline(*_: object, **__: object) -> None:
            raise OSError("no route to the hub")

        monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
        with pytest.raises(InputError, match="could not be read: no route to the hub. Check the name and the network"):
            load(TransformersConfig(), name="owner/name", role="language-model")


class TestRoles:
    @pytest.mark.parametrize(
        ("kind", "role", "message"),
        [
            ("gpt2", "image-text-encoder", r"'gpt2', which .* as 'image-text-encoder' \(but as language-model or clas"),
            ("clip", "language-model", r"'clip', which .* as 'language-model' \(but as image-text-encoder\)"),
            ("clip", "classifier", "'clip', which .* as 'classifier'"),
            ("t5", "language-model", "'t5', which .* as 'language-model'"),
            ("gpt2", "captioner", r"'gpt2', which .* as 'captioner' \(but as language-model or classifier\)"),
            ("gpt2", "denoiser", "was asked for as 'denoiser', but this loader's models are image-text-encoder"),
        ],
    )
    def test_roles_it_does_not_play(self, kind: str, role: str, message: str) -> None:
        """A model type without a role is refused, with the roles it has."""
        with pytest.raises(AssemblyError, match=message):
            load(TransformersConfig(), name=str(made(kind)[0]), role=role)

    def test_weights_that_the_role_needs(self) -> None:
        """A plain BERT would be a classifier with a random head."""
        with pytest.raises(AssemblyError, match=r"holds no weights for 'classifier\..*that it would answer at random"):
            load(TransformersConfig(), name=str(made("bert")[0]), role="classifier")

    @pytest.mark.parametrize("dtype", ["int8", "flaot32"])
    def test_dtype_that_is_none(self, dtype: str) -> None:
        """Only floating-point types compute."""
        with pytest.raises(OptionError, match="is no floating-point type"):
            load(TransformersConfig(), name=str(made("gpt2")[0]), role="language-model", dtype=dtype)

    def test_half_precision(self) -> None:
        """Log-probabilities are computed at least in single precision."""
        model = load(TransformersConfig(), name=str(made("gpt2")[0]), role="language-model", dtype="bfloat16")

        assert model.space.embedding.dtype == torch.bfloat16
        assert model.token_log_probs(torch.tensor([[40, 41]])).dtype == torch.float32


class TestManners:
    def test_loading_reports_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        """No progress bar is drawn over ours, and verbosity is afterwards what it was."""
        before = transformers.utils.logging.get_verbosity(), list(logging.getLogger().handlers)
        load(TransformersConfig(), name=str(made("bert-classifier")[0]), role="text-encoder")

        assert capfd.readouterr() == ("", "")
        assert before == (transformers.utils.logging.get_verbosity(), list(logging.getLogger().handlers))

    def test_the_plugins_module_is_light(self) -> None:
        """Reading what the plugin provides imports neither torch nor transformers nor numpy."""
        code = (
            "import sys, preimage_transformers.plugin as plugin; plugin.provide_models();"
            "print(sorted({'torch', 'numpy', 'transformers', 'PIL', 'tokenizers'} & set(sys.modules)))"
        )
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert answer.stdout.strip() == "[]"

    def test_what_it_provides(self) -> None:
        """One loader with five roles, whose target and options exist."""
        (component,) = plugin.provide_models()

        assert component.name == "hf"
        assert component.trait("role") == (
            "image-text-encoder", "text-encoder", "language-model", "classifier", "captioner",
        )  # fmt: skip
        assert component.target == f"{load.__module__}:{load.__name__}"
        assert component.config == f"{TransformersConfig.__module__}:{TransformersConfig.__name__}"
