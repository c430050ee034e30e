"""CLIP models answer what transformers' own passes over padded texts answer."""

from __future__ import annotations

import threading

import pytest
import torch
import transformers
from torch.nn import functional

from preimage.errors import AssemblyError, InputError
from preimage.testing.toy_models import toy_pictures
from preimage_transformers.config import TransformersConfig
from preimage_transformers.loader import load

from .conftest import TEXTS, clip_tokenizer, loaded, made, prompts, save, slope

SHORT = ["a small red circle", "the happy face", "blue"]


@pytest.fixture(scope="module", params=["clip", "siglip"])
def kind(request) -> str:
    return request.param


@torch.no_grad()
def padded_vectors(kind: str, texts: list[str]) -> torch.Tensor:
    """Return transformers' own vectors of texts that its own tokenizer has padded."""
    _, model, tokenizer = made(kind)
    given = tokenizer(texts, padding="max_length", max_length=model.config.text_config.max_position_embeddings)
    ids = torch.tensor(given["input_ids"])
    mask = torch.tensor(given["attention_mask"]) if kind == "clip" else None
    return functional.normalize(model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output, dim=-1)


class TestTexts:
    def test_equal_to_transformers(self, kind: str) -> None:
        """Texts read through the space have the vectors that tokenizer and model give them together."""
        encoder = loaded(kind, "text-encoder")
        ours = [encoder.encode_tokens(torch.tensor([ids]))[0] for ids in encoder.space.encode(SHORT)]

        torch.testing.assert_close(torch.stack(ours), padded_vectors(kind, SHORT), atol=2e-6, rtol=0)

    def test_embeddings_equal_tokens(self, kind: str) -> None:
        """The embeddings of tokens lead to the same vectors as the tokens."""
        encoder = loaded(kind, "text-encoder")
        ids = prompts(encoder.space, 3, 5)

        torch.testing.assert_close(
            encoder.encode_embeddings(encoder.space.embedding[ids]), encoder.encode_tokens(ids), atol=2e-6, rtol=0
        )

    def test_gradient_is_the_slope(self, kind: str) -> None:
        """The gradient at the embeddings is what finite differences measure, in double precision."""
        encoder = loaded(kind, "text-encoder", "float64")
        at = encoder.space.embedding[prompts(encoder.space, 2, 3)].clone().requires_grad_()
        weights = torch.randn(2, 24 if kind == "clip" else 32, dtype=torch.float64, generator=torch.manual_seed(0))

        def value(embeddings: torch.Tensor) -> torch.Tensor:
            return (encoder.encode_embeddings(embeddings) * weights).sum(dim=1)

        (gradient,) = torch.autograd.grad(value(at).sum(), at)
        torch.testing.assert_close(gradient, slope(value, at.detach()), atol=1e-7, rtol=1e-6)

    def test_threads_do_not_mix(self, kind: str) -> None:
        """What one thread feeds to the text tower is not read by another."""
        encoder = loaded(kind, "text-encoder")
        rows = [prompts(encoder.space, 4, 5, seed) for seed in range(2)]
        expected = [encoder.encode_tokens(ids) for ids in rows]
        answers: dict[int, list[torch.Tensor]] = {0: [], 1: []}

        def ask(which: int) -> None:
            for _ in range(30):
                given = encoder.space.embedding[rows[which]]
                answer = encoder.encode_embeddings(given) if which else encoder.encode_tokens(rows[which])
                answers[which].append(answer)

        threads = [threading.Thread(target=ask, args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for which, expected_answer in enumerate(expected):
            for answer in answers[which]:
                torch.testing.assert_close(answer, expected_answer, atol=2e-6, rtol=0)

    def test_too_long(self, kind: str) -> None:
        """A text that does not fit is one sentence with both numbers."""
        encoder = loaded(kind, "text-encoder")
        room = encoder.space.max_length
        with pytest.raises(InputError, match=rf"A text of {room + 1} tokens was given to hf:.*which reads {room} "):
            encoder.encode_tokens(prompts(encoder.space, 1, room + 1))
        encoder.encode_tokens(prompts(encoder.space, 1, room))


class TestPictures:
    def test_equal_to_transformers(self, kind: str) -> None:
        """Pictures are prepared by the model's own processor."""
        folder, model, _ = made(kind)
        pictures = toy_pictures(3, size=40)
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        with torch.no_grad():
            features = model.get_image_features(**processor(images=pictures, return_tensors="pt")).pooler_output
        encoder = loaded(kind, "image-text-encoder", image_batch=2)

        expected = functional.normalize(features, dim=-1)
        torch.testing.assert_close(encoder.encode_images(pictures), expected, atol=2e-6, rtol=0)

    def test_double_precision(self, kind: str) -> None:
        """Pictures follow the model's type."""
        assert loaded(kind, "image-text-encoder", "float64").encode_images(toy_pictures(1)).dtype == torch.float64

    def test_no_processor(self, tmp_path) -> None:
        """Without a processor texts can be read, and a picture cannot."""
        save(tmp_path, made("clip")[1], made("clip")[2])
        (tmp_path / "preprocessor_config.json").unlink(missing_ok=True)
        encoder = load(TransformersConfig(), name=str(tmp_path), role="text-encoder")
        encoder.encode_tokens(prompts(encoder.space, 1, 3))

        with pytest.raises(AssemblyError, match="has no image processor, so that it cannot read pictures"):
            encoder.encode_images(toy_pictures(1))
        with pytest.raises(InputError, match="The image processor of hf:.* could not be read"):
            load(TransformersConfig(), name=str(tmp_path), role="image-text-encoder")

    def test_no_picture(self) -> None:
        """What is no picture is named."""
        with pytest.raises(InputError, match="is a str: open it first"):
            loaded("clip", "image-text-encoder").encode_images(["picture.png"])


class TestEndToken:
    def save_with(self, tmp_path, end: int) -> str:
        tokenizer = clip_tokenizer()
        _, model, _ = made("clip")
        config = transformers.CLIPConfig.from_dict(model.config.to_dict())
        config.text_config.eos_token_id = end
        save(tmp_path, transformers.CLIPModel(config), tokenizer)
        return str(tmp_path)

    def test_pools_at_another_token(self, tmp_path) -> None:
        """A tower that pools at a token which no text ends with is refused."""
        with pytest.raises(AssemblyError, match=r"pools at token 5, but its tokenizer ends prompts with \d+"):
            load(TransformersConfig(), name=self.save_with(tmp_path, 5), role="text-encoder")

    def test_old_configurations_pool_at_the_largest(self, tmp_path) -> None:
        """The end token of configurations that say 2 is found as the largest id, as transformers does."""
        name = self.save_with(tmp_path, 2)
        encoder = load(TransformersConfig(), name=name, role="text-encoder")
        model = transformers.CLIPModel.from_pretrained(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        with torch.no_grad():
            features = model.get_text_features(input_ids=torch.tensor(tokenizer(TEXTS[:1])["input_ids"])).pooler_output

        ours = encoder.encode_tokens(torch.tensor(encoder.space.encode(TEXTS[:1])))
        torch.testing.assert_close(ours, functional.normalize(features, dim=-1), atol=2e-6, rtol=0)
