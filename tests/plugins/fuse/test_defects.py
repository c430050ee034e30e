"""One test for each known defect of FUSE's public code that concerns adapters; it fails where the defect is.

F2, F8, F9 and F10 are about tensors and stand in test_tensor_algebra.py, too.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

import preimage_fuse
from preimage_fuse.adapter import Coverage
from preimage_fuse.cells import Cell, stacked
from preimage_fuse.config import FuseConfig
from preimage_fuse.fuse import Fuse
from preimage_fuse.tensor_algebra import t_product
from preimage_fuse.words import WordTable, vocabulary_words


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def identity(depth, width):
    """The cell that changes nothing: slices first, ones in the first slice."""
    weight = torch.zeros(depth, width, width, dtype=torch.float64)
    weight[0] = torch.eye(width)
    return Cell(weight, 1, 0.0, None)


def fuse(source, target, cells=None, **options):
    adapter = Fuse(FuseConfig(**{"use_cache": False, **options}), source=source, target=target)
    adapter._cells = cells
    return adapter


def rows(adapter, text):
    ids = torch.tensor(adapter.source.encode([text]))
    return ids, torch.tensor(adapter.translate(ids))


class TestF01EachWordHasItsOwnGradient:
    def test_three_words_of_one_token(self, make_pieces) -> None:
        """Gradient rows 0, 1, 2 of three words come back as rows 0, 1, 2."""
        space = make_pieces([["red"], ["blue"], ["sky"]])
        adapter = fuse(space, space, {(1, 1): identity(1, 6)})
        ids, translated = rows(adapter, "red blue sky")
        gradient = torch.arange(3.0, dtype=torch.float64).view(1, 3, 1).expand(1, 3, 6)

        assert torch.equal(adapter.pull_back(ids, translated, gradient), gradient)

    @pytest.mark.parametrize("text", ["a red circle, or it's a small triangle", "wherever people wander", "Red"])
    def test_identity_changes_nothing(self, source, text) -> None:
        """With the identity as adapter, gradients pass through unchanged, word by word, for every tokenizer."""
        width = source.embedding.shape[1]
        adapter = fuse(source, source, {(count, count): identity(count, width) for count in range(1, 12)})
        ids, translated = rows(adapter, text)
        gradient = random(*ids.shape, width)

        assert torch.equal(adapter.pull_back(ids, translated, gradient), gradient)
        assert adapter.coverage.nearest == adapter.coverage.zero == 0

    def test_fitted_identity(self, make_pieces) -> None:
        """The same holds for an adapter that has learned a model's own embeddings."""
        words = [[f"p{index}", f"q{index}"] for index in range(40)] + [[f"w{index}"] for index in range(40)]
        space = make_pieces(words)
        adapter = fuse(space, space, ridge=1e-9)
        adapter.fit(["".join(word) for word in words])
        ids, translated = rows(adapter, "w1 p3q3 w2 p1q1")
        gradient = random(1, 6, 6)

        assert torch.allclose(adapter.pull_back(ids, translated, gradient), gradient, atol=1e-6)


@pytest.mark.parametrize("depth", [3, 4])
def test_f02_pull_back_is_the_true_adjoint(make_pieces, depth) -> None:
    """For a word of three or four tokens the pull-back is the adjoint of the forward map; cosine 1, not 0.7."""
    word = [f"p{place}" for place in range(depth)]
    ours, theirs = make_pieces([word], width=5), make_pieces([word], width=4)
    w = random(5, 4, depth)
    adapter = fuse(ours, theirs, {(depth, depth): Cell(w.permute(2, 0, 1).contiguous(), 1, 0.0, None)})
    ids, translated = rows(adapter, "".join(word))
    x, gradient = random(1, 5, depth, seed=1).requires_grad_(), random(1, depth, 4, seed=2)
    (expected,) = torch.autograd.grad((t_product(x, w).transpose(1, 2) * gradient).sum(), x)

    assert torch.allclose(adapter.pull_back(ids, translated, gradient), expected.transpose(1, 2))


class TestF03BothCountsMatter:
    def test_gradient_is_cut_by_the_targets_counts(self, make_pieces) -> None:
        """A word of two tokens here and one there gets its gradient on both, and the next word its own."""
        ours, theirs = (
            make_pieces([["sun", "flower"], ["red"]], width=3),
            make_pieces([["sunflower"], ["red"]], width=2),
        )
        two, one = random(2, 3, 2), random(1, 3, 2, seed=1)
        adapter = fuse(ours, theirs, {(2, 1): Cell(two, 1, 0.0, None), (1, 1): Cell(one, 1, 0.0, None)})
        ids, translated = rows(adapter, "sunflower red")
        gradient = random(1, 2, 2, seed=2)
        pulled = adapter.pull_back(ids, translated, gradient)[0]

        # out[s] = g[0] @ w[(0 - s) mod 2].T
        assert torch.allclose(pulled[0], two[0] @ gradient[0, 0])
        assert torch.allclose(pulled[1], two[1] @ gradient[0, 0])
        assert torch.allclose(pulled[2], one[0] @ gradient[0, 1])

    def test_the_grid_has_both_counts(self, spaces) -> None:
        """Maps are fitted for pairs of counts, not for the target's alone."""
        adapter = fuse(spaces["gpt2"], spaces["clip"], min_examples_per_case=1)
        adapter.fit()
        cases = {quality.case for quality in adapter.quality}

        assert {(1, 1), (1, 2), (2, 1), (2, 2)} <= cases


def test_f04_longer_words_are_not_cut_off(make_pieces) -> None:
    """Where the source has more tokens, all of them are fitted: here only the last one says what the target is."""
    words = [[f"p{index}", f"q{index}", f"r{index}"] for index in range(60)]
    ours, theirs = make_pieces(words, width=4), make_pieces([["".join(word)] for word in words], width=4)
    for word in words:
        (ids,), (other,) = ours.encode(["".join(word)]), theirs.encode(["".join(word)])
        theirs.embedding[other[0]] = ours.embedding[ids[2]]
    adapter = fuse(ours, theirs, ridge=1e-9)
    adapter.fit(["".join(word) for word in words])
    ids, translated = rows(adapter, "p1q1r1")
    gradient = random(1, 1, 4)
    pulled = adapter.pull_back(ids, translated, gradient)

    assert [quality.case for quality in adapter.quality] == [(3, 1)]
    assert torch.allclose(pulled[:, 2], gradient[:, 0], atol=1e-6)
    assert torch.allclose(pulled[:, :2], torch.zeros(1, 2, 4, dtype=torch.float64), atol=1e-6)


class TestF05WordsAsInPrompts:
    def test_tokens_behind_a_space_are_fitted(self, spaces) -> None:
        """The tokens that byte-level models see inside a prompt are in the table."""
        gpt2, clip = spaces["gpt2"], spaces["clip"]
        table = WordTable.build(gpt2, clip, vocabulary_words(gpt2, clip))
        (spaced,) = gpt2.encode([" circle"])

        assert tuple(spaced) in table.source_ids

    def test_case_is_kept_where_the_model_sees_it(self, spaces) -> None:
        """Words that differ in case are two words to one model and one word to the other."""
        gpt2, clip = spaces["gpt2"], spaces["clip"]
        table = WordTable.build(gpt2, clip, ["Red", "red"], leading_space="with")

        assert len(set(table.source_ids)) == 2
        assert len(set(table.target_ids)) == 1


class TestF06WordsOutsideTheTable:
    def test_never_noise(self, make_pieces) -> None:
        """A word of more tokens than any map gets the same gradient each time: the nearest map's."""
        word = ["p", "q", "r", "s", "t", "u"]
        space = make_pieces([word, ["red"]])
        adapter = fuse(space, space, {(2, 2): identity(2, 6)})
        ids, translated = rows(adapter, "pqrstu")
        gradient = random(1, 6, 6)
        first, second = (adapter.pull_back(ids, translated, gradient) for _ in range(2))

        assert torch.equal(first, second)
        assert torch.equal(first[:, :2], gradient[:, :2])
        assert not first[:, 2:].any()
        assert adapter.coverage == Coverage(nearest=2)

    def test_zero_without_any_map(self, make_pieces) -> None:
        """Without any map there is no gradient, and it is counted."""
        space = make_pieces([["red"]])
        adapter = fuse(space, space, {})
        ids, translated = rows(adapter, "red")

        assert not adapter.pull_back(ids, translated, random(1, 1, 6)).any()
        assert adapter.coverage == Coverage(zero=1)


def test_f07_no_device_is_named() -> None:
    """Devices come from the tensors: none is named in the code."""
    (folder,) = preimage_fuse.__path__

    for path in Path(folder).glob("*.py"):
        assert "cuda" not in path.read_text("utf-8"), path


def test_f10_gradients_keep_their_precision(spaces) -> None:
    """Double precision comes back in double precision: nothing goes through single precision."""
    adapter = fuse(spaces["gpt2"], spaces["gpt2"], {(1, 1): identity(1, spaces["gpt2"].embedding.shape[1])})
    ids, translated = rows(adapter, "a")
    gradient = torch.full((1, 1, spaces["gpt2"].embedding.shape[1]), 1 + 2.0**-40, dtype=torch.float64)

    assert torch.equal(adapter.pull_back(ids, translated, gradient), gradient)


class TestF11TheFitIsReproducible:
    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("max_subtokens", 3),
            ("max_examples_per_case", 100),
            ("min_examples_per_case", 3),
            ("ridge", 0.5),
            ("center", False),
            ("held_out", 0.2),
            ("leading_space", "with"),
            ("padding", "zero"),
            ("stretched", 0.0),
            ("seed", 1),
        ],
    )
    def test_every_option_is_part_of_the_key(self, spaces, option, value) -> None:
        """A changed option never finds what was fitted with another one."""
        pair = spaces["gpt2"], spaces["clip"]

        assert fuse(*pair, **{option: value}).key() != fuse(*pair).key()
        assert fuse(*pair).key() == fuse(*pair).key()

    def test_where_it_is_kept_is_not(self, spaces, tmp_path) -> None:
        """Moving the cache does not make its files useless."""
        pair = spaces["gpt2"], spaces["clip"]

        assert fuse(*pair, cache_dir=str(tmp_path), use_cache=True).key() == fuse(*pair).key()

    def test_models_are_part_of_the_key(self, spaces, make_pieces) -> None:
        """Another vocabulary, another direction and other numbers are other keys; a name is not a model."""
        one, same = make_pieces([["red"]], name="one"), make_pieces([["red"]], name="two")
        trained, longer = make_pieces([["red"]], seed=1), make_pieces([["red"], ["blue"]])
        clip = spaces["clip"]
        keys = [fuse(space, clip).key() for space in (one, trained, longer)]

        assert fuse(one, clip).key() == fuse(same, clip).key()
        assert len({*keys, fuse(clip, one).key()}) == 4

    def test_words_are_part_of_the_key(self, spaces) -> None:
        """Other words are another key."""
        adapter = fuse(spaces["gpt2"], spaces["clip"])

        assert len({adapter.key(), adapter.key(["red"]), adapter.key(["blue"])}) == 3

    def test_order_of_the_words_does_not_matter(self, spaces) -> None:
        """A set has no order that two runs agree on; the sample does not depend on it."""
        words = vocabulary_words(spaces["gpt2"], spaces["clip"])
        fitted = []
        for some in (words, tuple(reversed(words))):
            adapter = fuse(spaces["gpt2"], spaces["clip"], max_examples_per_case=30)
            adapter.fit(some)
            fitted.append(adapter._fitted())

        assert all(torch.equal(fitted[0][case].weight, fitted[1][case].weight) for case in fitted[0])

    def test_no_pickle_is_opened(self, spaces, tmp_path) -> None:
        """A pickle in place of a kept adapter is not run: the adapter is fitted again."""

        class Trap:
            def __reduce__(self):
                return (pytest.fail, ("the pickle was opened",))

        adapter = fuse(spaces["gpt2"], spaces["clip"], use_cache=True, cache_dir=str(tmp_path))
        path = tmp_path / f"fuse-{adapter.key()}.safetensors"
        path.write_bytes(pickle.dumps(Trap()))
        adapter.fit()

        assert adapter.quality
        assert adapter.saved_in == path


class TestF12PaddingIsZero:
    def test_behind_the_last_token(self) -> None:
        """What is behind a word's last token is zero, whatever embedding the padding token has."""
        embedding = random(5, 3)

        assert not stacked(embedding, torch.tensor([[1, 2]]), 4)[..., 2:].any()

    def test_embedding_of_the_padding_token_does_not_matter(self, spaces) -> None:
        """With a padding token of its own, and padding switched on, the fit is the same."""
        source, target = spaces["word-piece"], spaces["clip"]
        pad = source._tokenizer.token_to_id("[PAD]")
        fitted = []
        for value in (0.0, 1e3):
            source.embedding[pad] = value
            adapter = fuse(source, target)
            adapter.fit()
            fitted.append(adapter._fitted())

        assert all(torch.equal(fitted[0][case].weight, fitted[1][case].weight) for case in fitted[0])


def test_f13_the_other_direction_works(spaces) -> None:
    """Forward, rows of any counts of tokens become what the target reads for the same text."""
    for source in spaces.values():
        for target in spaces.values():
            adapter = fuse(source, target)
            ids = torch.tensor(source.encode(["a small triangle or a hill"]))

            assert adapter.translate(ids) == target.encode(source.decode(ids))


def test_f35_number_of_decode_calls_does_not_grow(spaces, monkeypatch) -> None:
    """Long rows of long words are decoded in as few calls as a single word: prefixes are never decoded."""
    adapter = fuse(spaces["gpt2"], spaces["clip"])
    adapter.fit()
    calls: list[str] = []

    def counted(space, method):
        true = getattr(space, method)

        def call(argument):
            calls.append(method)
            return true(argument)

        return call

    for space in (adapter.source, adapter.target):
        for method in ("decode", "encode", "encode_with_offsets"):
            monkeypatch.setattr(space, method, counted(space, method))
    counts = []
    for text in ("red", "wherever people wander they will remember what the water was like " * 3):
        ids, translated = rows(adapter, text.strip())
        calls.clear()
        adapter.pull_back(ids, translated, random(1, translated.shape[1], 6))
        counts.append(len(calls))

    assert counts == [4, 4]
