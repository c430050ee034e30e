"""Language models answer what transformers' own passes answer, first tokens and shared beginnings included."""

from __future__ import annotations

import math

import pytest
import torch
import transformers

from preimage.errors import AssemblyError, InputError
from preimage_transformers import language_model
from preimage_transformers.config import TransformersConfig
from preimage_transformers.language_model import start_of
from preimage_transformers.loader import load

from .conftest import TEXTS, between, byte_level, fast, loaded, made, prompts, save, slope

KINDS = ["gpt2", "llama", "sliding", "gemma"]


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@torch.no_grad()
def reference(kind: str, ids: torch.Tensor, start_id: int) -> torch.Tensor:
    """Return log-probabilities token by token, each from a pass over all that stands before it."""
    _, model, _ = made(kind)
    whole = torch.cat([torch.full((len(ids), 1), start_id), ids], dim=1)
    columns = []
    for position in range(ids.shape[1]):
        logits = model(input_ids=whole[:, : position + 1]).logits[:, -1]
        columns.append(logits.log_softmax(dim=-1).gather(1, ids[:, position : position + 1]))
    return torch.cat(columns, dim=1)


class TestTokens:
    def test_equal_to_transformers(self, kind: str) -> None:
        """Each token's log-probability is that of a pass over what stands before it, the start token first."""
        model = loaded(kind, "language-model")
        ids = prompts(model.space, 3, 6)
        expected = reference(kind, ids, model.start_ids[0])

        torch.testing.assert_close(model.token_log_probs(ids), expected, atol=1e-5, rtol=0)
        embedded = model.embedding_log_probs(model.space.embedding[ids], ids)
        torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("start", [0, 3])
    def test_texts_that_differ_at_their_end_are_read_once(self, kind: str, start: int, monkeypatch) -> None:
        """Where only the last tokens differ, a pass over what stands before them tells of all, and tells the same."""
        shared = loaded(kind, "language-model")
        plain = loaded(kind, "language-model", share_prefixes=False)
        ids = prompts(shared.space, 2, 6).repeat_interleave(40, dim=0)
        ids[:, -1] = prompts(shared.space, len(ids), 1, seed=4)[:, 0]
        ids = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))]
        rows, logits = [], shared._logits
        monkeypatch.setattr(
            shared, "_logits", lambda count, **inputs: rows.append(len(inputs["input_ids"])) or logits(count, **inputs)
        )
        answers = shared.token_log_probs(ids, start=start)

        assert sum(rows) == 2
        torch.testing.assert_close(answers, plain.token_log_probs(ids, start=start), atol=1e-5, rtol=0)

    def test_mean_is_that_of_transformers(self, kind: str) -> None:
        """The mean over a text is the loss that transformers computes for it with the start token before it."""
        model = loaded(kind, "language-model")
        _, own, _ = made(kind)
        (ids,) = model.space.encode(TEXTS[:1])
        whole = torch.tensor([[*model.start_ids, *ids[:15]]])
        with torch.no_grad():
            expected = own(input_ids=whole, labels=whole).loss

        ours = -model.token_log_probs(whole[:, 1:]).mean()
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)

    def test_later_tokens_change_nothing_before_them(self, kind: str) -> None:
        """Another token at a place leaves all log-probabilities before it as they were, and changes its own."""
        model = loaded(kind, "language-model")
        ids = prompts(model.space, 1, 6)
        for place in range(6):
            other = ids.clone()
            other[0, place] = next(token for token in prompts(model.space, 9, 1, 7).flatten() if token != ids[0, place])
            before, after = model.token_log_probs(ids), model.token_log_probs(other)
            torch.testing.assert_close(before[:, :place], after[:, :place], atol=1e-6, rtol=0)
            assert (before[:, place] - after[:, place]).abs() > 1e-4

    @pytest.mark.parametrize("start", [0, 2, 5, 6])
    def test_only_later_tokens(self, kind: str, start: int) -> None:
        """The later part alone is the later part of the whole."""
        model = loaded(kind, "language-model")
        ids = prompts(model.space, 3, 6)
        whole = model.token_log_probs(ids)[:, start:]
        embedded = model.embedding_log_probs(model.space.embedding[ids], ids, start=start)

        torch.testing.assert_close(model.token_log_probs(ids, start=start), whole, atol=1e-5, rtol=0)
        torch.testing.assert_close(embedded, whole, atol=1e-5, rtol=0)

    def test_batch_equals_singles(self, kind: str) -> None:
        """A row's answer is the same alone."""
        model = loaded(kind, "language-model")
        ids = prompts(model.space, 5, 4)
        singles = torch.cat([model.token_log_probs(row[None]) for row in ids])

        torch.testing.assert_close(model.token_log_probs(ids), singles, atol=1e-5, rtol=0)

    def test_many_rows_go_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where all logits at once are too many, rows are taken in parts."""
        model = loaded("gpt2", "language-model", share_prefixes=False)
        ids = prompts(model.space, 7, 4)
        expected, following = model.token_log_probs(ids), model.next_token_log_probs(ids)
        monkeypatch.setattr(language_model, "_LOGITS", 3000)

        torch.testing.assert_close(model.token_log_probs(ids), expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(model.next_token_log_probs(ids), following, atol=1e-6, rtol=0)

    def test_gradient_is_the_slope(self, kind: str) -> None:
        """The gradient at the embeddings is what finite differences measure, in double precision."""
        model = loaded(kind, "language-model", "float64")
        ids = prompts(model.space, 2, 4)
        at = model.space.embedding[ids].clone().requires_grad_()

        def value(embeddings: torch.Tensor) -> torch.Tensor:
            return model.embedding_log_probs(embeddings, ids).mean(dim=1)

        (gradient,) = torch.autograd.grad(value(at).sum(), at)
        assert gradient.norm() > 1e-3
        if kind == "gpt2":
            torch.testing.assert_close(gradient, slope(value, at.detach()), atol=1e-7, rtol=1e-6)
        else:
            # Llama and its kin normalise in single precision, whatever they are loaded in.
            torch.testing.assert_close(gradient, slope(value, at.detach(), step=3e-3), atol=2e-3, rtol=1e-2)

    def test_too_long(self) -> None:
        """A text that does not fit is one sentence; one token is kept for the start."""
        model = loaded("gpt2", "language-model")
        assert model.space.max_length == 23
        with pytest.raises(InputError, match="A text of 24 tokens was given to hf:.*which reads 23 besides"):
            model.token_log_probs(prompts(model.space, 1, 24))
        model.token_log_probs(prompts(model.space, 1, 23))
        model.next_token_log_probs(prompts(model.space, 1, 23))


class TestNextTokens:
    @pytest.mark.parametrize("length", [0, 1, 5])
    def test_equal_to_transformers(self, kind: str, length: int) -> None:
        """What follows is what transformers expects behind the same text, an empty one included."""
        model = loaded(kind, "language-model")
        ids = prompts(model.space, 3, length)
        whole = torch.cat([torch.full((3, 1), model.start_ids[0]), ids], dim=1)
        with torch.no_grad():
            expected = made(kind)[1](input_ids=whole).logits[:, -1].log_softmax(dim=-1)

        torch.testing.assert_close(model.next_token_log_probs(ids), expected, atol=1e-5, rtol=0)


class TestSharedBeginnings:
    @pytest.mark.parametrize("kind", ["gpt2", "llama"])
    @pytest.mark.parametrize("start", [0, 4, 8])
    def test_equal_to_the_plain_model(self, kind: str, start: int) -> None:
        """Candidates that differ in one token, from several searches, have the log-probabilities of plain passes."""
        shared = loaded(kind, "language-model")
        plain = loaded(kind, "language-model", share_prefixes=False)
        rng = torch.Generator().manual_seed(3)
        ids = prompts(shared.space, 3, 10).repeat_interleave(90, dim=0)
        places = torch.randint(10, (len(ids), 1), generator=rng)
        ids = ids.scatter(1, places, prompts(shared.space, len(ids), 1, seed=4))
        # Some are equal, and they come in any order.
        ids = torch.cat([ids, ids[:20]])[torch.randperm(len(ids) + 20, generator=rng)]

        assert shared._shared is not None
        assert shared._shared.pays(ids)
        torch.testing.assert_close(
            shared.token_log_probs(ids, start=start), plain.token_log_probs(ids, start=start), atol=1e-5, rtol=0
        )

    def test_fewer_positions_are_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Most positions are not computed again."""
        model = loaded("gpt2", "language-model")
        ids = prompts(model.space, 1, 16).repeat(200, 1)
        ids[:, -2:] = prompts(model.space, 200, 2, seed=5)
        positions = []
        forward = model._model.transformer.forward

        def counted(input_ids, **options):
            positions.append(input_ids.numel())
            return forward(input_ids, **options)

        monkeypatch.setattr(model._model.transformer, "forward", counted)
        model.token_log_probs(ids)

        assert 0 < sum(positions) < 0.25 * ids.numel()

    @pytest.mark.parametrize("kind", ["sliding", "gemma"])
    def test_other_memories_are_left_alone(self, kind: str) -> None:
        """Where a model forgets what is far away, beginnings are not shared."""
        assert loaded(kind, "language-model")._shared is None


class TestStart:
    def test_gpt2_starts_behind_the_end_of_a_text(self) -> None:
        """GPT-2's tokenizer adds nothing; the token that separates documents stands before the first."""
        model = loaded("gpt2", "language-model")
        assert model.start_ids == (0,)
        assert not model.space.allowed[0]

    def test_llama_starts_with_its_own(self) -> None:
        """Llama's tokenizer adds its start."""
        assert loaded("llama", "language-model").start_ids == (made("llama")[2].bos_token_id,)

    def test_no_such_token(self, tmp_path) -> None:
        """Without any start token first tokens are equally likely, and the later ones as transformers has them."""
        tokenizer = fast(byte_level(["<unk>"]), unk_token="<unk>")
        config = transformers.GPT2Config(
            vocab_size=len(tokenizer), n_positions=24, n_embd=32, n_layer=1, n_head=4, bos_token_id=None
        )
        config.eos_token_id = None
        save(tmp_path, transformers.GPT2LMHeadModel(config), tokenizer)
        model = load(TransformersConfig(), name=str(tmp_path), role="language-model")
        ids = prompts(model.space, 2, 5)
        log_probs = model.token_log_probs(ids)
        own = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
        with torch.no_grad():
            expected = own(input_ids=ids).logits[:, :-1].log_softmax(dim=-1).gather(-1, ids[:, 1:, None]).squeeze(-1)

        assert model.start_ids == ()
        assert model.space.max_length == 24
        uniform = -math.log(len(tokenizer))
        torch.testing.assert_close(log_probs[:, 0], torch.full((2,), uniform))
        torch.testing.assert_close(log_probs[:, 1:], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.token_log_probs(ids, start=3), expected[:, 2:], atol=1e-5, rtol=0)
        embedded = model.embedding_log_probs(model.space.embedding[ids], ids)
        torch.testing.assert_close(embedded, log_probs, atol=1e-5, rtol=0)
        assert model.embedding_log_probs(model.space.embedding[ids[:, :1]], ids[:, :1]).shape == (2, 1)
        torch.testing.assert_close(model.next_token_log_probs(ids[:, :0]), torch.full((2, len(tokenizer)), uniform))

    def test_ids_of_a_larger_model(self) -> None:
        """A configuration that kept the ids of the large model does not lend its start."""
        tokenizer = fast(byte_level(["<unk>", "</s>"]), eos_token="</s>")
        assert start_of(tokenizer, transformers.GPT2Config(), (), 330) == (tokenizer.eos_token_id,)

    def test_an_end_that_the_tokenizer_adds_is_left_out(self, tmp_path) -> None:
        """A text goes on behind its last token: only what stands before it is kept."""
        tokenizer = fast(between(byte_level(["<s>", "</s>"]), "<s>", "</s>"), bos_token="<s>", eos_token="</s>")
        config = transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=24, n_embd=32, n_layer=1, n_head=4)
        save(tmp_path, transformers.GPT2LMHeadModel(config), tokenizer)
        model = load(TransformersConfig(), name=str(tmp_path), role="language-model")

        assert model.start_ids == (0,)
        assert model.space.max_length == 23


def test_models_that_look_ahead_are_refused(tmp_path) -> None:
    """A masked language model is no causal one, though transformers would build it as one."""
    _, _, tokenizer = made("bert")
    config = transformers.BertConfig.from_dict(made("bert")[1].config.to_dict())
    config.is_decoder = True
    save(tmp_path, transformers.BertLMHeadModel(config), tokenizer)
    saved = (tmp_path / "config.json").read_text("utf-8")
    (tmp_path / "config.json").write_text(saved.replace('"is_decoder": true', '"is_decoder": false'), "utf-8")

    with pytest.raises(AssemblyError, match="whose outputs depend on later tokens"):
        load(TransformersConfig(), name=str(tmp_path), role="language-model")
