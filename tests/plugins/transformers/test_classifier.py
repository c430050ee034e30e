"""Classifiers answer what transformers' own passes answer, with the special tokens in their places."""

from __future__ import annotations

import pytest
import torch
import transformers

from preimage.errors import AssemblyError, InputError
from preimage_transformers.config import TransformersConfig
from preimage_transformers.loader import load

from .conftest import LABELS, TEXTS, loaded, made, prompts, save, slope

KINDS = ["bert-classifier", "roberta-classifier", "gpt2-classifier"]
SHORT = ["a red circle", "sad purple", "isn't it?"]


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


class TestTexts:
    def test_equal_to_transformers(self, kind: str) -> None:
        """A text has the classes that tokenizer and model give it together, specials and all."""
        _, own, tokenizer = made(kind)
        classifier = loaded(kind, "classifier")
        for text, ids in zip(SHORT, classifier.space.encode(SHORT), strict=True):
            with torch.no_grad():
                expected = own(**tokenizer([text], return_tensors="pt")).logits.log_softmax(dim=-1)
            torch.testing.assert_close(classifier.class_log_probs(torch.tensor([ids])), expected, atol=2e-6, rtol=0)

    def test_specials_matter(self) -> None:
        """Without its first and last token the classes would be others: the head reads the first position."""
        _, own, _ = made("roberta-classifier")
        classifier = loaded("roberta-classifier", "classifier")
        ids = torch.tensor(classifier.space.encode(SHORT[:1]))
        with torch.no_grad():
            bare = own(input_ids=ids).logits.log_softmax(dim=-1)

        assert not torch.allclose(classifier.class_log_probs(ids), bare, atol=1e-2)

    def test_one_answer_per_row(self, kind: str) -> None:
        """Each row has its own classes, and the same ones alone."""
        classifier = loaded(kind, "classifier")
        ids = prompts(classifier.space, 4, 5)
        together = classifier.class_log_probs(ids)
        alone = torch.cat([classifier.class_log_probs(row[None]) for row in ids])

        torch.testing.assert_close(together, alone, atol=2e-6, rtol=0)
        assert together[:, 0].unique().numel() == 4

    def test_gradient_is_the_slope(self, kind: str) -> None:
        """The gradient at the embeddings is what finite differences measure, in double precision."""
        classifier = loaded(kind, "classifier", "float64")
        at = classifier.space.embedding[prompts(classifier.space, 2, 3)].clone().requires_grad_()

        def value(embeddings: torch.Tensor) -> torch.Tensor:
            return classifier.embedding_class_log_probs(embeddings)[:, 1]

        (gradient,) = torch.autograd.grad(value(at).sum(), at)
        assert gradient.norm() > 1e-3
        torch.testing.assert_close(gradient, slope(value, at.detach()), atol=1e-7, rtol=1e-6)

    @pytest.mark.parametrize(("kind", "room"), [("bert-classifier", 22), ("roberta-classifier", 22)])
    def test_too_long(self, kind: str, room: int) -> None:
        """The specials' places are kept, and RoBERTa's first two positions are never used."""
        classifier = loaded(kind, "classifier")
        assert classifier.space.max_length == room
        classifier.class_log_probs(prompts(classifier.space, 1, room))
        with pytest.raises(InputError, match=f"A text of {room + 1} tokens .*which reads {room} besides"):
            classifier.class_log_probs(prompts(classifier.space, 1, room + 1))

    def test_specials_are_not_searched(self, kind: str) -> None:
        """No special token may be proposed, and their names are read as ordinary characters."""
        classifier = loaded(kind, "classifier")
        tokenizer = made(kind)[2]

        assert not classifier.space.allowed[tokenizer.all_special_ids].any()
        (ids,) = classifier.space.encode([f"{TEXTS[0][:7]} {tokenizer.all_special_tokens[0]}"])
        assert not set(ids) & (set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})


class TestLabels:
    def test_names(self, kind: str) -> None:
        """Labels are those of the configuration, in the order of the outputs."""
        assert loaded(kind, "classifier").labels == tuple(LABELS.values())

    def test_regression_is_refused(self, tmp_path) -> None:
        """A single output chooses no class."""
        _, own, tokenizer = made("bert-classifier")
        config = transformers.BertConfig.from_dict(own.config.to_dict() | {"id2label": {0: "score"}})
        save(tmp_path, transformers.BertForSequenceClassification(config), tokenizer)
        with pytest.raises(AssemblyError, match="has 1 labels and the problem type None, so that it does not choose"):
            load(TransformersConfig(), name=str(tmp_path), role="classifier")

    @pytest.mark.parametrize(
        ("family", "sizes"),
        [
            (
                "Bart",
                {"d_model": 16, "max_position_embeddings": 24}
                | {f"{tower}_layers": 1 for tower in ("encoder", "decoder")}
                | {f"{tower}_ffn_dim": 32 for tower in ("encoder", "decoder")}
                | {f"{tower}_attention_heads": 2 for tower in ("encoder", "decoder")},
            ),
            ("T5", {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}),
        ],
    )
    def test_a_family_without_embeddings_is_refused(self, tmp_path, family: str, sizes: dict[str, int]) -> None:
        """It would be loaded and fail at the first text."""
        tokenizer = made("roberta-classifier")[2]
        config = getattr(transformers, f"{family}Config")(
            vocab_size=len(tokenizer),
            id2label=LABELS,
            decoder_start_token_id=0,
            **{f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")},
            **sizes,
        )
        save(tmp_path, getattr(transformers, f"{family}ForSequenceClassification")(config), tokenizer)
        with pytest.raises(AssemblyError, match=f"a {family}ForSequenceClassification, which .* encoder such as BERT"):
            load(TransformersConfig(), name=str(tmp_path), role="classifier")

    def test_several_labels_at_once_are_refused(self, tmp_path) -> None:
        """Classes that do not exclude each other have no common probability."""
        _, own, tokenizer = made("bert-classifier")
        config = transformers.BertConfig.from_dict(
            own.config.to_dict() | {"problem_type": "multi_label_classification"}
        )
        save(tmp_path, transformers.BertForSequenceClassification(config), tokenizer)
        with pytest.raises(AssemblyError, match="the problem type 'multi_label_classification'"):
            load(TransformersConfig(), name=str(tmp_path), role="classifier")
