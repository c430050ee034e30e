"""Vectors equal open_clip's own, of every kind of text tower and of pictures."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from preimage.api import ImageTextEncoder
from preimage.errors import InputError
from preimage_open_clip.config import OpenClipConfig
from preimage_open_clip.loader import load

from .conftest import TOWERS, save_model

TEXTS = ["a red circle", "two BLUE squares, one green dot & it's raining!", "!!! a cat !", "x", "tower " * 18]
CUTTING = {
    "plain",
    "custom-text",
    "quick-gelu",
    "layer-scale",
    "projection-with-bias",
    "custom-blocks",
    "pooled-at-eos",
}
pytestmark = pytest.mark.filterwarnings("ignore:.*lengths attribute.*")


def padded_vectors(model: nn.Module, texts: list[str]) -> torch.Tensor:
    """open_clip's own way: every text padded to the whole context."""
    length = open_clip.model.get_model_tokenize_cfg(model)["context_length"]
    tokens = open_clip.tokenizer.SimpleTokenizer(context_length=length)(texts)
    with torch.no_grad():
        return functional.normalize(model.encode_text(tokens), dim=-1)


def pictures() -> list[Image.Image]:
    pixels = torch.randint(256, (600,), generator=torch.Generator().manual_seed(0)).tolist()
    noise = Image.frombytes("L", (30, 20), bytes(pixels))
    return [Image.new("RGB", (16, 16), "red"), noise.convert("RGB"), noise, Image.new("RGBA", (40, 9), "blue")]


@pytest.mark.parametrize("tower", TOWERS)
class TestTexts:
    def test_equal_open_clips(self, make_tower, tower: str) -> None:
        """Ids without padding give open_clip's vectors of the padded text."""
        encoder, model = make_tower(tower)
        texts = [text.replace("!", "") for text in TEXTS] if tower == "coca" else TEXTS
        expected = padded_vectors(model, texts)

        actual = [encoder.encode_tokens(torch.tensor([ids]))[0] for ids in encoder.space.encode(texts)]
        torch.testing.assert_close(torch.stack(actual), expected, atol=1e-5, rtol=0)

    def test_embeddings_equal_ids(self, make_tower, tower: str) -> None:
        """The embeddings of ids give the vectors of the ids."""
        encoder, _ = make_tower(tower)
        ids = torch.tensor(encoder.space.encode(["a red circle", "one blue square"]))
        embeddings = encoder.space.embedding[ids]

        torch.testing.assert_close(encoder.encode_embeddings(embeddings), encoder.encode_tokens(ids), atol=1e-6, rtol=0)

    def test_gradient_is_that_of_open_clip(self, make_tower, tower: str) -> None:
        """The gradient at the embeddings is the one that flows through open_clip's own forward pass."""
        encoder, model = make_tower(tower)
        ids = torch.tensor(encoder.space.encode(["a red circle", "one blue square"]))
        weights = torch.randn(2, 24, generator=torch.Generator().manual_seed(1))
        leaf = encoder.space.embedding[ids].requires_grad_()
        (gradient,) = torch.autograd.grad((encoder.encode_embeddings(leaf) * weights).sum(), leaf)

        module = getattr(model, "text", model)
        caught = []

        def catch(_module: nn.Module, _arguments: object, output: torch.Tensor) -> torch.Tensor:
            caught.append(output.detach().requires_grad_())
            return caught[0]

        handle = module.token_embedding.register_forward_hook(catch)
        tokens = open_clip.tokenizer.SimpleTokenizer(context_length=20)(encoder.space.decode(ids))
        vectors = functional.normalize(model.encode_text(tokens), dim=-1)
        handle.remove()
        (expected,) = torch.autograd.grad((vectors * weights).sum(), caught[0])

        torch.testing.assert_close(gradient, expected[:, 1 : 1 + ids.shape[1]], atol=1e-5, rtol=1e-4)

    def test_runs_no_more_positions_than_needed(self, make_tower, tower: str) -> None:
        """Causal towers pooled at the end token run start, prompt and end; the others the whole context."""
        encoder, model = make_tower(tower)
        ids = torch.tensor(encoder.space.encode(["a red circle"]))

        assert encoder._tower.cuts == (tower in CUTTING)
        assert encoder._tower.framed(ids).shape[1] == (5 if tower in CUTTING else 20)
        assert (encoder._shared is not None) == (tower in CUTTING - {"custom-blocks"})
        assert encoder.space.max_length == 18
        del model


class TestTextsOfAnyTower:
    def test_batch_equals_single_rows(self, make_tower) -> None:
        """A row's vector does not depend on the others."""
        encoder, _ = make_tower("plain")
        ids = torch.randint(49406, (7, 6), generator=torch.Generator().manual_seed(0))
        single = torch.cat([encoder.encode_tokens(row[None]) for row in ids])

        torch.testing.assert_close(encoder.encode_tokens(ids), single, atol=1e-6, rtol=0)

    def test_unit_length_and_no_gradient(self, make_tower) -> None:
        """Vectors have length one; ids leave no graph behind, embeddings do."""
        encoder, _ = make_tower("plain")
        ids = torch.tensor(encoder.space.encode(["a red circle"]))
        vectors = encoder.encode_tokens(ids)

        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(1))
        assert not vectors.requires_grad
        assert encoder.encode_embeddings(encoder.space.embedding[ids].requires_grad_()).requires_grad

    def test_the_empty_prompt(self, make_tower) -> None:
        """No ids at all are encoded as open_clip encodes the empty text."""
        encoder, model = make_tower("plain")

        actual = encoder.encode_tokens(torch.empty(1, 0, dtype=torch.long))
        torch.testing.assert_close(actual, padded_vectors(model, [""]), atol=1e-5, rtol=0)

    def test_too_many_tokens(self, make_tower) -> None:
        """More ids than the context holds are refused in a sentence."""
        encoder, _ = make_tower("plain")

        with pytest.raises(InputError, match="A text of 19 tokens was given to .* which reads 18"):
            encoder.encode_tokens(torch.zeros(1, 19, dtype=torch.long))

    def test_padding_that_is_a_token_is_not_proposed(self, make_tower) -> None:
        """CoCa hides token 0 ("!") wherever it stands, so it is not proposed there; elsewhere it is."""
        assert not make_tower("coca")[0].space.allowed[0]
        assert make_tower("plain")[0].space.allowed[0]

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
    def test_other_precisions(self, tmp_path, dtype: str) -> None:
        """Half precision stays near single precision; double agrees with it."""
        model = save_model(tmp_path)
        encoder = load(OpenClipConfig(), name=str(tmp_path), dtype=dtype)
        ids = torch.tensor(encoder.space.encode(["a red circle on a blue square"] * 60))
        ids[torch.arange(60), torch.arange(60) % 7] = torch.arange(1000, 1060)
        expected = padded_vectors(model, encoder.space.decode(ids[:1]))

        tolerance = 1e-5 if dtype == "float64" else 0.05
        plain = load(OpenClipConfig(share_prefixes=False), name=str(tmp_path), dtype=dtype)
        actual = encoder.encode_tokens(ids).double()
        torch.testing.assert_close(actual, plain.encode_tokens(ids).double(), atol=tolerance, rtol=0)
        leaf = encoder.space.embedding[ids[:1]].requires_grad_()
        (gradient,) = torch.autograd.grad(encoder.encode_embeddings(leaf).sum(), leaf)
        assert gradient.isfinite().all()
        assert encoder.encode_images(pictures()).isfinite().all()
        del expected


class TestImages:
    @pytest.mark.parametrize("tower", ["plain", "coca"])
    def test_equal_open_clips(self, make_tower, tower: str) -> None:
        """Pictures of any size and mode give open_clip's own vectors."""
        encoder, model = make_tower(tower)
        transform = open_clip.transform.image_transform_v2(
            open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), is_train=False
        )
        pixels = torch.stack([transform(picture) for picture in pictures()])
        with torch.no_grad():
            expected = functional.normalize(model.encode_image(pixels), dim=-1)

        torch.testing.assert_close(encoder.encode_images(pictures()), expected, atol=1e-5, rtol=0)

    def test_each_batch_is_encoded_once(self, tmp_path) -> None:
        """Equal content is recognised in other objects, in one request and in later ones."""
        save_model(tmp_path)
        encoder = load(OpenClipConfig(image_batch=2), name=str(tmp_path))
        seen = []
        encoder._model.visual.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
        several = pictures()
        first = encoder.encode_images([*several, several[0].copy()])
        again = encoder.encode_images([copy.deepcopy(several[2]), several[3]])

        assert seen == [2, 2]
        assert torch.equal(first[[2, 3]], again)
        assert torch.equal(first[4], first[0])

    def test_palettes_are_content(self, make_tower) -> None:
        """Pictures of equal indices in other colours are different pictures."""
        encoder, _ = make_tower("plain")
        red = Image.new("P", (8, 8))
        red.putpalette([255, 0, 0] + [0] * 765)
        blue = red.copy()
        blue.putpalette([0, 0, 255] + [0] * 765)
        vectors = encoder.encode_images([red, blue])

        assert not torch.allclose(vectors[0], vectors[1])

    def test_not_a_picture(self, make_tower) -> None:
        """A path is refused in a sentence that says what to do."""
        with pytest.raises(InputError, match=r"'picture.png' is a str: open it first"):
            make_tower("plain")[0].encode_images(["picture.png"])

    def test_truncated_file(self, make_tower, tmp_path) -> None:
        """A damaged file is refused in a sentence that names it."""
        path = tmp_path / "half.png"
        Image.effect_noise((64, 64), 90).save(path)
        path.write_bytes(path.read_bytes()[:2000])

        with Image.open(path) as picture, pytest.raises(InputError, match=r"half.png cannot be read"):
            make_tower("plain")[0].encode_images([picture])


class TestModel:
    def test_plays_the_role(self, make_tower) -> None:
        """It has all that the contract asks for."""
        assert isinstance(make_tower("plain")[0], ImageTextEncoder)

    def test_is_frozen(self, make_tower) -> None:
        """No parameter requires a gradient and no module is in training mode."""
        encoder, _ = make_tower("plain")

        assert not any(parameter.requires_grad for parameter in encoder._model.parameters())
        assert not any(module.training for module in encoder._model.modules())

    def test_fingerprint_is_of_the_weights(self, tmp_path) -> None:
        """Equal weights have one fingerprint in any folder; one changed number is another."""
        model = save_model(tmp_path / "one")
        save_model(tmp_path / "two")
        save_model(tmp_path / "three", seed=1)
        one, two, three = (
            load(OpenClipConfig(), name=str(tmp_path / folder)).fingerprint for folder in ("one", "two", "three")
        )

        assert one == two != three
        assert len(one) == 32
        del model
