"""References, folders, tokenizers beside models, and what is refused."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from torch.nn import functional

from preimage.errors import AssemblyError, InputError, OptionError, UnknownNameError
from preimage_open_clip import plugin
from preimage_open_clip.config import OpenClipConfig
from preimage_open_clip.loader import Source, load, source_of

from .conftest import save_model

MINIWORLD = Path(__file__).parents[3] / "plugins/miniworld/src/preimage_miniworld/models/clip"


class TestReferences:
    @pytest.mark.parametrize(
        ("name", "source"),
        [
            ("ViT-H-14/laion2b_s32b_b79k", Source("ViT-H-14", "laion2b_s32b_b79k")),
            ("ViT-B/32/openai", Source("ViT-B-32", "openai")),
            ("hf-hub:owner/name", Source("hf-hub:owner/name")),
        ],
    )
    def test_hub_names(self, name: str, source: Source) -> None:
        """Architecture and tag, or a repository."""
        assert source_of(name) == source

    @pytest.mark.parametrize("written", ["{}", "local-dir:{}", "./folder", "folder"])
    def test_folders(self, tmp_path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
        """A folder may be written absolutely, relatively, or with open_clip's own scheme."""
        save_model(tmp_path / "folder")
        monkeypatch.chdir(tmp_path)
        name = written.format(tmp_path / "folder")
        encoder = load(OpenClipConfig(), name=name)

        assert encoder.reference == f"open_clip:{name}"
        assert encoder.space.name == encoder.reference

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("ViT-B-33/openai", r"no architecture 'ViT-B-33'\. Did you mean .*ViT-B-32"),
            ("ViT-B-32/opnai", r"no weights 'opnai' for ViT-B-32\. Did you mean 'openai'\? There are: openai"),
            ("ViT-B-32", r"without weights, which would answer at random: add a tag, for example open_clip:ViT-B-32/"),
            ("nonsense", "no architecture 'nonsense'"),
        ],
    )
    def test_unknown_names(self, name: str, message: str) -> None:
        """Names that open_clip does not know are answered with the nearest ones."""
        with pytest.raises(UnknownNameError, match=message):
            source_of(name)


class TestFolders:
    def test_missing(self, tmp_path) -> None:
        """A folder that is not there."""
        with pytest.raises(InputError, match="There is no folder '.*nowhere' to load a model from"):
            load(OpenClipConfig(), name=str(tmp_path / "nowhere"))

    def test_without_config(self, tmp_path) -> None:
        """A folder of something else."""
        with pytest.raises(InputError, match=r"holds no open_clip_config.json"):
            load(OpenClipConfig(), name=str(tmp_path))

    def test_broken_config(self, tmp_path) -> None:
        """A configuration that cannot be read."""
        save_model(tmp_path)
        (tmp_path / "open_clip_config.json").write_text("{", "utf-8")

        with pytest.raises(InputError, match="could not be loaded: .*Check that open_clip_config.json"):
            load(OpenClipConfig(), name=str(tmp_path))

    def test_without_weights(self, tmp_path) -> None:
        """A configuration alone would answer at random."""
        save_model(tmp_path)
        (tmp_path / "open_clip_model.safetensors").unlink()

        with pytest.raises(InputError, match="holds no weights, so the model would answer at random"):
            load(OpenClipConfig(), name=str(tmp_path))

    def test_weights_of_another_model(self, tmp_path) -> None:
        """Weights that do not fit the configuration."""
        save_model(tmp_path)
        path = tmp_path / "open_clip_config.json"
        saved = json.loads(path.read_text("utf-8"))
        saved["model_cfg"]["embed_dim"] = 12
        path.write_text(json.dumps(saved), "utf-8")

        with pytest.raises(
            InputError, match="Check that open_clip_config.json describes the weights in open_clip_model"
        ):
            load(OpenClipConfig(), name=str(tmp_path))

    def test_pickles_only_if_trusted(self, tmp_path) -> None:
        """A pickle is refused by default and read when its author is trusted."""
        model = save_model(tmp_path)
        safe = load(OpenClipConfig(), name=str(tmp_path)).fingerprint
        (tmp_path / "open_clip_model.safetensors").unlink()
        torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")

        with pytest.raises(InputError, match=r"only as a pickle \(open_clip_pytorch_model.bin\)"):
            load(OpenClipConfig(), name=str(tmp_path))
        assert load(OpenClipConfig(trust_pickle=True), name=str(tmp_path)).fingerprint == safe

    def test_safetensors_before_pickles(self, tmp_path) -> None:
        """Where both lie side by side the pickle is not opened, whatever the files are called."""
        save_model(tmp_path)
        (tmp_path / "open_clip_model.safetensors").rename(tmp_path / "weights.safetensors")
        (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"not even a pickle")

        assert load(OpenClipConfig(), name=str(tmp_path)).space.max_length == 18


class TestTokenizersBesideModels:
    """Folders that bring a tokenizer of transformers, as the mini world's does."""

    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        from transformers import CLIPTokenizer

        simple = open_clip.tokenizer.SimpleTokenizer()
        # The first merges only, so that the vocabulary ends with them.
        merges = list(simple.bpe_ranks)[:500]
        pieces = [piece for piece, index in simple.encoder.items() if index < 512 + len(merges)]
        vocabulary = {piece: index for index, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
        tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=20)
        tokenizer.save_pretrained(tmp_path)
        save_model(tmp_path, text_cfg={"vocab_size": len(vocabulary), "hf_tokenizer_name": "beside-the-model"})
        return tmp_path

    def test_read_and_encoded_as_by_open_clip(self, folder: Path) -> None:
        """The folder's own tokenizer and model give open_clip's vectors."""
        texts = ["a red circle", "THE   cat &amp; it's hers, isn't it?"]
        encoder = load(OpenClipConfig(), name=str(folder))
        model = open_clip.create_model(f"local-dir:{folder}").eval()
        tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
        with torch.no_grad():
            expected = functional.normalize(model.encode_text(tokens), dim=-1)

        for ids, row, vector in zip(encoder.space.encode(texts), tokens, expected, strict=True):
            assert row[1 : 1 + len(ids)].tolist() == ids
            torch.testing.assert_close(encoder.encode_tokens(torch.tensor([ids]))[0], vector, atol=1e-5, rtol=0)

    def test_pooling_that_misses_the_end(self, folder: Path) -> None:
        """A model pooled at the largest id, whose end token is not the largest, is refused."""
        path = folder / "tokenizer.json"
        saved = json.loads(path.read_text("utf-8"))
        end = saved["model"]["vocab"]["<|endoftext|>"]
        path.write_text(json.dumps(_exchange(saved, end, 300)), "utf-8")

        with pytest.raises(
            AssemblyError, match=r"pools at the largest token id, but its tokenizer ends prompts with 300"
        ):
            load(OpenClipConfig(), name=str(folder))

    def test_pooling_at_another_token(self, folder: Path) -> None:
        """A model pooled at a token that its tokenizer never writes is refused."""
        path = folder / "open_clip_config.json"
        saved = json.loads(path.read_text("utf-8"))
        saved["model_cfg"]["text_cfg"] |= {"pool_type": "eos", "eos_id": 2}
        path.write_text(json.dumps(saved), "utf-8")

        with pytest.raises(AssemblyError, match="pools at token 2, but its tokenizer ends prompts with"):
            load(OpenClipConfig(), name=str(folder))

    def test_missing_tokenizer(self, tmp_path) -> None:
        """A configuration that promises a tokenizer which is not there."""
        save_model(tmp_path, text_cfg={"hf_tokenizer_name": "beside-the-model"})

        with pytest.raises(InputError, match="The tokenizer of .* could not be loaded"):
            load(OpenClipConfig(), name=str(tmp_path))

    @pytest.mark.skipif(not MINIWORLD.is_dir(), reason="the mini world's models have not been made")
    def test_the_mini_worlds_clip(self) -> None:
        """The trained model that is shipped gives open_clip's vectors."""
        texts = ["a small red circle above a blue square", "a happy face"]
        encoder = load(OpenClipConfig(), name=str(MINIWORLD))
        model = open_clip.create_model(f"local-dir:{MINIWORLD}").eval()
        tokens = open_clip.get_tokenizer(f"local-dir:{MINIWORLD}")(texts)
        with torch.no_grad():
            expected = functional.normalize(model.encode_text(tokens), dim=-1)
        actual = [encoder.encode_tokens(torch.tensor([ids]))[0] for ids in encoder.space.encode(texts)]

        torch.testing.assert_close(torch.stack(actual), expected, atol=1e-5, rtol=0)


class TestHub:
    def test_without_a_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A download that fails is one sentence with the cause and two ways out."""

        def offline(*_: object, **__: object) -> str:
            raise OSError("no route to the hub")

        monkeypatch.setattr(open_clip.factory, "download_pretrained", offline)
        with pytest.raises(InputError, match="could not be fetched or loaded: .*no route to the hub.* load a folder"):
            load(OpenClipConfig(), name="ViT-B-32/openai")

    def test_a_pickle_of_the_hub_runs_no_code(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Names without safetensors are read from one, and of it nothing but weights."""

        class Code:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(tmp_path / "made"),)

        def fetched(_name: str, filename: str = "open_clip_pytorch_model.bin", **_: object) -> str:
            return str(tmp_path / filename)

        save_model(tmp_path)
        torch.save({"weights": Code()}, tmp_path / "open_clip_pytorch_model.bin")
        monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", fetched)
        with pytest.raises(InputError, match="could not be fetched or loaded: Weights only load failed"):
            load(OpenClipConfig(trust_pickle=True), name="hf-hub:owner/name")
        assert not (tmp_path / "made").exists()

    def test_repository_without_weights(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """open_clip would go on with random weights; we do not."""

        def config_only(_name: str, filename: str | None = None, **_: object) -> str:
            if filename is None:
                raise OSError("404")
            return str(config)

        config = MINIWORLD / "open_clip_config.json"
        if not config.is_file():
            pytest.skip("the mini world's models have not been made")
        monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", config_only)
        with pytest.raises(InputError, match="could not be fetched or loaded"):
            load(OpenClipConfig(), name="hf-hub:owner/name")


class TestArguments:
    def test_role_it_does_not_play(self, tmp_path) -> None:
        """A CLIP is no language model."""
        with pytest.raises(AssemblyError, match="asked for as 'language-model', but models of open_clip are"):
            load(OpenClipConfig(), name=str(tmp_path), role="language-model")

    @pytest.mark.parametrize("dtype", ["int8", "flaot32"])
    def test_dtype_that_is_none(self, tmp_path, dtype: str) -> None:
        """Only floating-point types compute vectors."""
        save_model(tmp_path)
        with pytest.raises(OptionError, match="is no floating-point type"):
            load(OpenClipConfig(), name=str(tmp_path), dtype=dtype)

    def test_text_tower_of_another_library(self) -> None:
        """A tower that is not open_clip's own is refused in a sentence."""
        from preimage_open_clip.tower import text_module

        class Model(torch.nn.Module):
            text = torch.nn.Linear(2, 2)

        with pytest.raises(AssemblyError, match="is a Linear, not one of open_clip's own"):
            text_module(Model(), "open_clip:toy")


class TestManners:
    def test_logging_is_left_alone(self, tmp_path) -> None:
        """Loading configures no handler for the whole process, as open_clip's would."""
        save_model(tmp_path)
        before = list(logging.getLogger().handlers)
        load(OpenClipConfig(), name=str(tmp_path))

        assert logging.getLogger().handlers == before
        assert logging.getLogger().filters == []

    def test_nobody_is_told_that_a_loaded_model_is_random(self, tmp_path, caplog) -> None:
        """As open_clip does, which does not know of the weights that follow."""
        save_model(tmp_path)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load(OpenClipConfig(), name=str(tmp_path))

        assert caplog.messages == []

    def test_the_plugins_module_is_light(self) -> None:
        """Reading what the plugin provides imports neither torch nor open_clip nor numpy."""
        code = (
            "import sys, preimage_open_clip.plugin as plugin; plugin.provide_models();"
            "print(sorted({'torch', 'open_clip', 'numpy', 'transformers', 'PIL'} & set(sys.modules)))"
        )
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert answer.stdout.strip() == "[]"

    def test_what_it_provides(self) -> None:
        """One loader with two roles, whose target and options exist."""
        (component,) = plugin.provide_models()

        assert component.trait("role") == ("image-text-encoder", "text-encoder")
        assert component.target == f"{load.__module__}:{load.__name__}"
        assert component.config == f"{OpenClipConfig.__module__}:{OpenClipConfig.__name__}"


def _exchange(saved: dict, one: int, other: int) -> dict:
    """Exchange two ids everywhere in a saved tokenizer."""
    swap = {one: other, other: one}
    vocabulary = saved["model"]["vocab"]
    saved["model"]["vocab"] = {piece: swap.get(index, index) for piece, index in vocabulary.items()}
    for token in saved["added_tokens"]:
        token["id"] = swap.get(token["id"], token["id"])
    processor = saved["post_processor"]
    for key in ("sep", "cls"):
        processor[key][1] = swap.get(processor[key][1], processor[key][1])
    return saved
