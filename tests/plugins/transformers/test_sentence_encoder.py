"""Sentence encoders pool what transformers computes, as sentence-transformers would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from preimage.errors import AssemblyError, InputError
from preimage_transformers.config import TransformersConfig
from preimage_transformers.loader import load

from .conftest import loaded, made, prompts, save, slope

SHORT = ["a red circle", "sad purple", "isn't it?"]


@torch.no_grad()
def padded_mean(kind: str, texts: list[str]) -> torch.Tensor:
    """Return unit vectors of padded texts: the mean over what the mask lets through."""
    _, own, tokenizer = made(kind)
    given = tokenizer(texts, padding=True, return_tensors="pt")
    states = own(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
    mask = given["attention_mask"][..., None]
    return functional.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=-1)


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_masked_mean(kind: str) -> None:
    """Without a file that says otherwise a text's vector is the masked mean, specials included."""
    encoder = loaded(kind, "text-encoder")
    ours = torch.stack([encoder.encode_tokens(torch.tensor([ids]))[0] for ids in encoder.space.encode(SHORT)])

    torch.testing.assert_close(ours, padded_mean(kind, SHORT), atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_gradient_is_the_slope(kind: str) -> None:
    """The gradient at the embeddings is what finite differences measure, in double precision."""
    encoder = loaded(kind, "text-encoder", "float64")
    at = encoder.space.embedding[prompts(encoder.space, 2, 3)].clone().requires_grad_()

    def value(embeddings: torch.Tensor) -> torch.Tensor:
        return encoder.encode_embeddings(embeddings)[:, :3].sum(dim=1)

    (gradient,) = torch.autograd.grad(value(at).sum(), at)
    assert gradient.norm() > 1e-3
    if kind == "bert":
        torch.testing.assert_close(gradient, slope(value, at.detach()), atol=1e-7, rtol=1e-6)
    else:
        # T5 normalises in single precision, whatever it is loaded in.
        torch.testing.assert_close(gradient, slope(value, at.detach(), step=1e-3), atol=2e-3, rtol=1e-2)


class TestSentenceTransformers:
    def folder(self, tmp_path: Path, pooling: dict | None = None, modules: tuple[str, ...] = ()) -> str:
        save(tmp_path, made("bert")[1], made("bert")[2])
        if pooling is not None:
            (tmp_path / "1_Pooling").mkdir()
            (tmp_path / "1_Pooling/config.json").write_text(json.dumps(pooling), "utf-8")
        if modules:
            saved = [{"type": f"sentence_transformers.models.{name}"} for name in modules]
            (tmp_path / "modules.json").write_text(json.dumps(saved), "utf-8")
        return str(tmp_path)

    @pytest.mark.parametrize(
        ("pooling", "pooled"),
        [
            ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, lambda states: states[:, 0]),
            ({"pooling_mode": "lasttoken"}, lambda states: states[:, -1]),
            ({"pooling_mode_max_tokens": True}, lambda states: states.max(dim=1).values),
            (
                {"pooling_mode": ["cls", "mean"]},
                lambda states: torch.cat([states[:, 0], states.mean(dim=1)], dim=-1),
            ),
            (
                {"pooling_mode": "weightedmean"},
                lambda states: sum((t + 1) * states[:, t] for t in range(states.shape[1])),
            ),
        ],
    )
    def test_pooling(self, tmp_path, pooling: dict, pooled) -> None:
        """The pooling that stands in the folder is the one that is used."""
        encoder = load(TransformersConfig(), name=self.folder(tmp_path, pooling), role="text-encoder")
        _, own, tokenizer = made("bert")
        with torch.no_grad():
            states = own(**tokenizer(SHORT[:1], return_tensors="pt")).last_hidden_state
        ours = encoder.encode_tokens(torch.tensor(encoder.space.encode(SHORT[:1])))

        torch.testing.assert_close(ours, functional.normalize(pooled(states), dim=-1), atol=2e-6, rtol=0)

    def test_unknown_pooling(self, tmp_path) -> None:
        """A pooling that is not known is named, not replaced."""
        with pytest.raises(AssemblyError, match="pools its states by attention, which is not among cls, max, mean"):
            load(TransformersConfig(), name=self.folder(tmp_path, {"pooling_mode": "attention"}), role="text-encoder")

    def test_broken_file(self, tmp_path) -> None:
        """A file that is no JSON is named."""
        name = self.folder(tmp_path, {})
        (tmp_path / "1_Pooling/config.json").write_text("{", "utf-8")
        with pytest.raises(InputError, match=r"The pooling of .* could not be read from .*config\.json"):
            load(TransformersConfig(), name=name, role="text-encoder")

    def test_more_layers(self, tmp_path) -> None:
        """A model that does more than pool and normalise is refused."""
        name = self.folder(tmp_path, {"pooling_mode": "mean"}, ("Transformer", "Pooling", "Dense"))
        with pytest.raises(AssemblyError, match="with a Dense layer behind its pooling"):
            load(TransformersConfig(), name=name, role="text-encoder")

    def test_shorter_than_the_positions(self, tmp_path) -> None:
        """The length that sentence-transformers cuts at is the limit."""
        name = self.folder(tmp_path, modules=("Transformer", "Pooling", "Normalize"))
        (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 10}', "utf-8")

        assert load(TransformersConfig(), name=name, role="text-encoder").space.max_length == 8


def test_pooler_is_not_used(tmp_path) -> None:
    """A checkpoint without the pooler, which is never used, has the same fingerprint at every load."""
    saved = made("bert")[1]
    without = type(saved)(saved.config, add_pooling_layer=False)
    save(tmp_path, without, made("bert")[2])
    prints = {load(TransformersConfig(), name=str(tmp_path), role="text-encoder").fingerprint for _ in range(2)}

    assert len(prints) == 1
