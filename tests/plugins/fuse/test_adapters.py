"""FUSE and its baselines as adapters: gradients, coverage, quality, and their place in a problem."""

from __future__ import annotations

import attrs
import pytest
import torch
from torch import Tensor

from preimage.api import EmbeddingAdapter, Template
from preimage.errors import AssemblyError, InputError
from preimage.problem import BoundTerm, Problem
from preimage.search_space import SearchSpace
from preimage.testing.toy import ToyObjective
from preimage_fuse.adapter import Coverage
from preimage_fuse.cells import Cell, fit_cell, held_last, pull_through, stacked
from preimage_fuse.config import FuseConfig, LinearConfig, SharedTokenConfig
from preimage_fuse.fuse import Fuse
from preimage_fuse.linear import Linear
from preimage_fuse.shared_token import SharedToken
from preimage_fuse.tensor_algebra import t_product, t_transpose
from preimage_fuse.words import WordTable, shuffled

ADAPTERS = {
    "fuse": (Fuse, FuseConfig),
    "linear": (Linear, LinearConfig),
    "shared-token": (SharedToken, SharedTokenConfig),
}
TEXT = "an image of Red circle, or it's a small triangle? wherever people wander."


def build(name, source, target, **options):
    adapter, config = ADAPTERS[name]
    return adapter(config(**{"use_cache": False, **options}), source=source, target=target)


def rows(adapter, text=TEXT):
    ids = torch.tensor(adapter.source.encode([text]))
    return ids, torch.tensor(adapter.translate(ids))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=sorted(ADAPTERS))
def name(request):
    return request.param


class TestContract:
    def test_is_an_adapter(self, name, source, target) -> None:
        """For every pair of tokenizers it has what the contract asks for, and the gradient has the source's shape."""
        adapter = build(name, source, target)
        adapter.fit()
        ids, translated = rows(adapter)
        pulled = adapter.pull_back(ids, translated, random(1, translated.shape[1], target.embedding.shape[1]))

        assert isinstance(adapter, EmbeddingAdapter)
        assert pulled.shape == (*ids.shape, source.embedding.shape[1])
        assert pulled.dtype == source.embedding.dtype
        assert pulled.isfinite().all()
        assert pulled.abs().sum() > 0

    def test_is_linear_in_the_gradient(self, name, spaces) -> None:
        """The pull-back of a sum is the sum of the pull-backs."""
        adapter = build(name, spaces["gpt2"], spaces["clip"])
        adapter.fit()
        ids, translated = rows(adapter)
        one, two = (random(1, translated.shape[1], 6, seed=seed) for seed in (1, 2))
        both = adapter.pull_back(ids, translated, 2 * one - two)

        parts = 2 * adapter.pull_back(ids, translated, one) - adapter.pull_back(ids, translated, two)
        assert torch.allclose(both, parts)

    def test_a_batch_equals_its_rows(self, name, spaces) -> None:
        """Rows do not see each other."""
        adapter = build(name, spaces["word-piece"], spaces["clip"])
        adapter.fit()
        texts = ["a red circle on a hill", "a lazy dog or a fox"]
        ids = torch.tensor(adapter.source.encode(texts))
        translated = torch.tensor(adapter.translate(ids))
        gradient = random(2, translated.shape[1], 6)
        together = adapter.pull_back(ids, translated, gradient)

        for row in range(2):
            alone = adapter.pull_back(ids[row : row + 1], translated[row : row + 1], gradient[row : row + 1])
            assert torch.allclose(together[row], alone[0])

    def test_fitted_twice_alike(self, name, spaces) -> None:
        """Nothing in the fit is left to chance."""
        cells = []
        for _ in range(2):
            adapter = build(name, spaces["gpt2"], spaces["clip"])
            adapter.fit()
            cells.append(adapter._fitted())

        assert cells[0].keys() == cells[1].keys()
        assert all(torch.equal(cells[0][case].weight, cells[1][case].weight) for case in cells[0])

    def test_second_fit_is_free(self, name, spaces, monkeypatch) -> None:
        """What was learned from the same words is not learned again; other words are."""
        adapter = build(name, spaces["gpt2"], spaces["clip"], held_out=0)
        adapter.fit()
        adapter.fit(["red", "circle"])
        learned = adapter._fitted()
        monkeypatch.setattr(type(adapter), "_learn", lambda *_: pytest.fail("learns again"))
        adapter.fit(["red", "circle"])

        assert adapter._fitted() is learned

    def test_asked_too_early(self, name, spaces) -> None:
        """Before it has learned anything it says so."""
        adapter = build(name, spaces["gpt2"], spaces["clip"])

        with pytest.raises(AssemblyError, match=f"The adapter {name} from gpt2 to clip was asked before"):
            adapter.pull_back(torch.tensor([[1]]), torch.tensor([[1]]), torch.zeros(1, 1, 6))
        with pytest.raises(AssemblyError, match="call its fit"):
            _ = adapter.quality

    def test_words_of_a_file(self, name, spaces, tmp_path) -> None:
        """Words can come from a file, and are the same as those given."""
        (tmp_path / "words.txt").write_text("red circle\nhill  sky\n", "utf-8")
        from_file = build(name, spaces["gpt2"], spaces["clip"], words_file=str(tmp_path / "words.txt"), held_out=0)
        given = build(name, spaces["gpt2"], spaces["clip"], held_out=0)
        from_file.fit()
        given.fit(["sky", "hill", "circle", "red"])

        assert from_file.quality == given.quality

    def test_file_that_cannot_be_read(self, name, spaces, tmp_path) -> None:
        """A missing file is one sentence."""
        adapter = build(name, spaces["gpt2"], spaces["clip"], words_file=str(tmp_path / "none.txt"))

        with pytest.raises(InputError, match=r"The words in '.*none.txt' cannot be read"):
            adapter.fit()

    def test_arguments_are_left_alone(self, name, spaces) -> None:
        """Neither the gradient nor the embeddings are changed, and no gradient is recorded."""
        adapter = build(name, spaces["gpt2"], spaces["clip"])
        embedding = spaces["gpt2"].embedding.clone()
        adapter.fit()
        ids, translated = rows(adapter)
        gradient = random(1, translated.shape[1], 6).requires_grad_()
        before = gradient.detach().clone()
        pulled = adapter.pull_back(ids, translated, gradient)

        assert torch.equal(gradient, before)
        assert torch.equal(spaces["gpt2"].embedding, embedding)
        assert not pulled.requires_grad

    def test_no_words(self, name, spaces) -> None:
        """With nothing to learn from, there is no gradient, and it is counted."""
        adapter = build(name, spaces["gpt2"], spaces["clip"])
        adapter.fit([])
        ids, translated = rows(adapter)
        pulled = adapter.pull_back(ids, translated, random(1, translated.shape[1], 6))

        assert adapter.quality == ()
        assert not pulled.any()
        assert adapter.coverage.exact == adapter.coverage.nearest == 0
        assert adapter.coverage.zero > 0

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_half_precision(self, name, spaces, dtype) -> None:
        """Models in lower precision are adapted in single precision, and get their own back."""
        adapter = build(name, cast(spaces["gpt2"], dtype), cast(spaces["clip"], dtype))
        adapter.fit()
        ids, translated = rows(adapter)
        pulled = adapter.pull_back(ids, translated, random(1, translated.shape[1], 6).to(dtype))

        assert pulled.dtype == dtype
        assert all(cell.weight.dtype == torch.float32 for cell in adapter._fitted().values())


def cast(space, dtype):
    """The same space over embeddings in another precision."""
    import copy

    other = copy.copy(space)
    other.embedding = space.embedding.to(dtype)
    return other


class TestFuse:
    def test_finds_a_map_that_exists(self, make_pieces) -> None:
        """Where the target's embeddings are a map of the source's, gradients come back as through that map."""
        words = [[f"w{index}"] for index in range(40)]
        ours, theirs = make_pieces(words, width=5), make_pieces(words, width=4)
        w = random(5, 4, seed=9)
        theirs.embedding = ours.embedding @ w
        adapter = build("fuse", ours, theirs, ridge=1e-9)
        adapter.fit()
        ids, translated = rows(adapter, "w3 w1 w2")
        gradient = random(1, 3, 4)

        assert torch.allclose(adapter.pull_back(ids, translated, gradient), gradient @ w.T, atol=1e-6)
        assert adapter.quality[0].residual < 1e-6
        assert adapter.quality[0].held_out < 1e-6
        assert adapter.coverage == Coverage(exact=3)

    @pytest.mark.parametrize("case", [(1, 1), (1, 3), (2, 2), (3, 1), (3, 4), (4, 4), (4, 2)])
    def test_pull_is_the_adjoint(self, case) -> None:
        """<x * w, g> = <x, pulled g> for words and gradients of these numbers of tokens, padded with zeros."""
        count, other = case
        depth = max(case)
        w = random(5, 3, depth)
        x, g = torch.zeros(7, 5, depth, dtype=torch.float64), torch.zeros(7, 3, depth, dtype=torch.float64)
        x[..., :count], g[..., :other] = random(7, 5, count, seed=1), random(7, 3, other, seed=2)
        pulled = pull_through(w.permute(2, 0, 1), g[..., :other].transpose(1, 2), count).transpose(1, 2)

        assert torch.allclose(pulled, t_product(g, t_transpose(w))[..., :count])
        assert abs(float((t_product(x, w) * g).sum() - (x[..., :count] * pulled).sum())) < 1e-9

    def test_nearest_case(self, make_pieces) -> None:
        """Words of a case without a map use that of the nearest case, and are counted."""
        ours = make_pieces([["sun", "flow", "er"], ["red"]], width=3)
        theirs = make_pieces([["sun", "flower"], ["red"]], width=2)
        adapter = build("fuse", ours, theirs)
        near, far = random(2, 3, 2), random(1, 3, 2, seed=1)
        adapter._cells = {(2, 2): Cell(near, 9, 0.0, None), (1, 1): Cell(far, 9, 0.0, None)}
        ids, translated = rows(adapter, "sunflower red")
        gradient = random(1, 3, 2)
        pulled = adapter.pull_back(ids, translated, gradient)

        assert torch.allclose(pulled[:, :2], pull_through(near, gradient[:, :2], 2))
        assert not pulled[:, 2].any()
        assert torch.allclose(pulled[:, 3], gradient[:, 2] @ far[0].T)
        assert adapter.coverage == Coverage(exact=1, nearest=1)

    def test_of_two_nearest_cases_the_better_known(self, make_pieces) -> None:
        """Between two cases as near, the one fitted on more words is used."""
        adapter = build("fuse", make_pieces([["red"]]), make_pieces([["red"]]))
        cell = Cell(random(2, 3, 2), 5, 0.0, None)

        assert adapter._cell_for((2, 2), {(1, 2): cell, (2, 1): attrs.evolve(cell, n_words=6)}) == (2, 1)

    def test_cases_of_few_words_are_not_fitted(self, spaces) -> None:
        """A case needs as many words as the option says."""
        adapters = [
            build("fuse", spaces["gpt2"], spaces["clip"], min_examples_per_case=least, stretched=0) for least in (1, 40)
        ]
        for adapter in adapters:
            adapter.fit()
        few, many = ({quality.case for quality in adapter.quality} for adapter in adapters)

        assert many < few

    def test_words_of_other_cases_count_less(self, make_pieces) -> None:
        """A case learns from words of another number of target tokens too, stretched, at the weight that was asked."""
        words = [[f"w{index}"] for index in range(30)]
        split = [[f"v{index}", f"x{index}"] for index in range(30)]
        ours = make_pieces([*words, *([f"{a}{b}"] for a, b in split)], width=3)
        theirs = make_pieces([*words, *split], width=2)
        texts = [*(word for (word,) in words), *("".join(both) for both in split)]

        def weight_of(stretched: float) -> Tensor:
            adapter = build("fuse", ours, theirs, stretched=stretched, held_out=0, ridge=1e-9, leading_space="with")
            adapter.fit(texts)
            assert set(adapter._cells) == {(1, 1), (1, 2)}
            return adapter._cells[1, 1].weight[0]

        table = WordTable.build(ours, theirs, shuffled(texts, seed=0), leading_space="with")
        x = torch.cat([ours.embedding[table.ids(case)[0]].mean(1) for case in ((1, 1), (1, 2))])
        y = torch.cat([theirs.embedding[table.ids(case)[1]].mean(1) for case in ((1, 1), (1, 2))])
        for stretched in (0.0, 0.3, 1.0):
            counts = torch.tensor([1.0] * 30 + [stretched] * 30, dtype=torch.float64)
            a, b = (rows - (rows * counts[:, None]).sum(0) / counts.sum() for rows in (x, y))
            expected = torch.linalg.solve(a.T @ (a * counts[:, None]), a.T @ (b * counts[:, None]))

            assert torch.allclose(weight_of(stretched), expected, atol=1e-6)

    def test_padding(self, spaces) -> None:
        """Left free, the slices behind the last target token cost nothing: the tokens themselves are met better."""
        quality = {}
        for padding in ("free", "zero"):
            adapter = build("fuse", spaces["gpt2"], spaces["clip"], padding=padding, held_out=0)
            adapter.fit()
            quality[padding] = {each.case: each.residual for each in adapter.quality}

        for case, residual in quality["free"].items():
            better = residual < quality["zero"][case] - 1e-3
            assert better if case[0] > case[1] else residual == quality["zero"][case]

    def test_ridge_does_not_depend_on_scale(self, spaces) -> None:
        """Embeddings a hundred times as long give the same map, a hundredth as large."""
        x, y = random(50, 6, 2), random(50, 4, 2, seed=1)
        small, large = fit_cell(x, y, ridge=0.1), fit_cell(100 * x, y, ridge=0.1)

        assert torch.allclose(small.weight, 100 * large.weight)
        assert abs(small.residual - large.residual) < 1e-9

    def test_centring(self, spaces) -> None:
        """What all words have in common is not mapped: adding a constant to every embedding changes nothing."""
        x, y = random(50, 6, 2), random(50, 4, 2, seed=1)
        cell = fit_cell(x, y, ridge=0.1, held_out=0.2, center=True)
        moved = fit_cell(x + 100, y - 50, ridge=0.1, held_out=0.2, center=True)
        without = fit_cell(x + 100, y - 50, ridge=0.1, held_out=0.2)

        assert torch.allclose(moved.weight, cell.weight)
        assert moved.held_out == pytest.approx(cell.held_out)
        assert not torch.allclose(without.weight, cell.weight, atol=0.01)

    def test_held_out_words_are_not_fitted(self) -> None:
        """The map is that of the words kept; fewer words than numbers fit perfectly, and only held-out ones tell."""
        x, y = random(20, 40, 1), random(20, 3, 1, seed=1)
        cell = fit_cell(x, y, ridge=1e-9, held_out=0.25)

        assert cell.n_words == 15
        assert torch.equal(cell.weight, fit_cell(x[:15], y[:15], ridge=1e-9).weight)
        assert cell.residual < 1e-6
        assert cell.held_out > 0.5
        assert fit_cell(x, y, ridge=1e-9).held_out is None

    def test_held_out_words_are_spread(self) -> None:
        """Every word is used once, and those held out come from the whole list."""
        order = held_last(100, 0.05)

        assert sorted(order.tolist()) == list(range(100))
        assert order[95:].tolist() == [0, 25, 50, 74, 99]
        assert held_last(3, 0.0).tolist() == [0, 1, 2]

    def test_words_as_tensors(self) -> None:
        """Tokens lie along the last axis."""
        embedding = random(5, 3)
        words = stacked(embedding, torch.tensor([[1, 2], [4, 0]]), 2)

        assert words.shape == (2, 3, 2)
        assert torch.equal(words[1, :, 0], embedding[4])


class TestLinear:
    def test_each_token_of_a_word_gets_the_same(self, make_pieces) -> None:
        """The pull-back is the adjoint of taking the mean, mapping it, and using it for every token."""
        ours = make_pieces([["sun", "flow", "er"], ["red"], ["blue"]], width=3)
        theirs = make_pieces([["sun", "flower"], ["red"], ["blue"]], width=2)
        adapter = build("linear", ours, theirs, held_out=0)
        adapter.fit(["sunflower", "red", "blue"])
        weight = adapter._fitted()[1, 1].weight[0]
        ids, translated = rows(adapter, "sunflower red")
        gradient = random(1, 3, 2)
        embeddings = random(4, 3).requires_grad_()
        mapped = torch.stack([embeddings[:3].mean(0), embeddings[:3].mean(0), embeddings[3]]) @ weight
        (expected,) = torch.autograd.grad((mapped * gradient[0]).sum(), embeddings)

        assert torch.allclose(adapter.pull_back(ids, translated, gradient)[0], expected)
        assert adapter.coverage == Coverage(exact=1, nearest=1)

    def test_map_is_least_squares_on_means(self, make_pieces) -> None:
        """The matrix is that of an ordinary regression."""
        words = [[f"p{index}", f"q{index}"] for index in range(12)]
        ours, theirs = make_pieces(words, width=3), make_pieces([["".join(word)] for word in words], width=2)
        adapter = build("linear", ours, theirs, ridge=0, held_out=0, center=False)
        adapter.fit(["".join(word) for word in words])
        x = torch.stack([ours.embedding[ours.encode(["".join(word)])[0]].mean(0) for word in words])
        y = torch.stack([theirs.embedding[theirs.encode(["".join(word)])[0]].mean(0) for word in words])

        assert torch.allclose(adapter._fitted()[1, 1].weight[0], torch.linalg.lstsq(x, y).solution)


class TestSharedToken:
    def test_shared_tokens_score_as_in_the_target(self, make_pieces) -> None:
        """With no more shared tokens than dimensions, their scores are those of the target, exactly."""
        words = [[f"w{index}"] for index in range(5)]
        ours, theirs = make_pieces(words, width=8), make_pieces(words[::-1], width=3, seed=1)
        adapter = build("shared-token", ours, theirs, ridge=0, held_out=0)
        adapter.fit()
        ids, translated = rows(adapter, "w1 w3")
        gradient = random(1, 2, 3)
        pulled = adapter.pull_back(ids, translated, gradient)

        scores = pulled @ ours.embedding[[ours.encode([word])[0][0] for (word,) in words]].T
        expected = gradient @ theirs.embedding[[theirs.encode([word])[0][0] for (word,) in words]].T

        assert torch.allclose(scores - scores.mean(-1, keepdim=True), expected - expected.mean(-1, keepdim=True))

    def test_other_tokens_get_nothing(self, make_pieces) -> None:
        """Tokens that only one model has get no gradient, and are counted."""
        ours, theirs = make_pieces([["sun", "flower"], ["red"]]), make_pieces([["sunflower"], ["red"]])
        adapter = build("shared-token", ours, theirs, held_out=0)
        adapter.fit()
        ids, translated = rows(adapter, "sunflower red")
        pulled = adapter.pull_back(ids, translated, random(1, 2, 6))

        assert not pulled[:, :2].any()
        assert pulled[:, 2].any()
        assert adapter.coverage == Coverage(exact=1, zero=2)


class TestInAProblem:
    def test_gradients_of_two_models_add_up(self, name, spaces) -> None:
        """A problem with a second tokenizer has a gradient of the searched space's shape, in any template."""
        ours, theirs = spaces["gpt2"], spaces["clip"]
        adapter = build(name, ours, theirs)
        adapter.fit()
        template = Template("an image of {optim_str}, or {optim_str}.")
        first = BoundTerm("ours", ToyObjective(ours), template=template)
        second = BoundTerm("theirs", ToyObjective(theirs), 0.5, template, adapter)
        problem = Problem(SearchSpace(ours, templates=[template]), [first, second])
        ids = torch.tensor(ours.encode([" red circle", " blue hill"])[:1])
        both = problem.losses_and_gradients(ids, torch.zeros(1, dtype=torch.int64))
        alone = Problem(SearchSpace(ours, templates=[template]), [first])
        one = alone.losses_and_gradients(ids, torch.zeros(1, dtype=torch.int64))

        assert both.gradient.shape == (*ids.shape, ours.embedding.shape[1])
        assert not torch.allclose(both.gradient, one.gradient)
        assert torch.allclose(both.losses, problem.losses(ids, torch.zeros(1, dtype=torch.int64)).losses)
