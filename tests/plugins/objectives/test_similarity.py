"""Similarities equal a slow, obvious computation; gradients equal finite differences."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from PIL import Image

from preimage.api import GradientObjective
from preimage.errors import InputError
from preimage_objectives import plugin
from preimage_objectives.config import ClipSimilarityConfig, TextSimilarityConfig
from preimage_objectives.similarity import ClipSimilarity, TextSimilarity

PROMPTS = ["a red circle", "one blue square", "two green stars"]


def pictures() -> list[Image.Image]:
    generator = torch.Generator().manual_seed(3)
    noise = bytes(torch.randint(256, (20 * 24 * 3,), generator=generator).tolist())
    return [Image.new("RGB", (16, 16), "red"), Image.frombytes("RGB", (24, 20), noise)]


@pytest.fixture(scope="module")
def targets() -> list[object]:
    """A picture, a text, a group of pictures and a group of both."""
    red, noise = pictures()
    return [red, "a cat on a hill", (red, noise), (noise, "a dog", "three dogs")]


@pytest.fixture(scope="module")
def objective(clip, targets: list[object]) -> ClipSimilarity:
    return ClipSimilarity(ClipSimilarityConfig(), model=clip.encoder, targets=targets)


@pytest.fixture(scope="module")
def ids(clip) -> torch.Tensor:
    return torch.tensor(clip.encoder.space.encode(PROMPTS))


def obvious_loss(clip, prompt: str, target: object) -> float:
    """One pair at a time, with open_clip's own padded passes."""
    (prompt_vector,) = clip.text_vectors([prompt])
    cosines = []
    for member in target if isinstance(target, tuple) else (target,):
        encode = clip.text_vectors if isinstance(member, str) else clip.image_vectors
        (vector,) = encode([member])
        cosines.append(float(prompt_vector @ vector))
    return 1 - sum(cosines) / len(cosines)


class TestLoss:
    def test_equals_the_obvious_computation(self, clip, objective, targets, ids) -> None:
        """Every prompt against every target, as open_clip itself would compute it."""
        rows, columns = torch.cartesian_prod(torch.arange(3), torch.arange(4)).T
        expected = [
            obvious_loss(clip, PROMPTS[row], targets[column])
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        ]

        actual = objective.loss(ids[rows], columns)
        torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)

    def test_batch_equals_singles(self, objective, ids) -> None:
        """A row's loss does not depend on the others."""
        target = torch.tensor([2, 0, 1])
        single = torch.cat([objective.loss(ids[row : row + 1], target[row : row + 1]) for row in range(3)])

        torch.testing.assert_close(objective.loss(ids, target), single, atol=1e-12, rtol=0)

    def test_large_batch_equals_singles(self, objective, ids) -> None:
        """Neither does it where beginnings are shared."""
        many = ids[:1].repeat(200, 1)
        many[torch.arange(200), torch.arange(200) % 3] = torch.arange(1000, 1200)
        target = torch.arange(200) % 4
        single = torch.cat([objective.loss(many[row : row + 1], target[row : row + 1]) for row in range(0, 200, 17)])

        torch.testing.assert_close(objective.loss(many, target)[::17], single, atol=1e-9, rtol=0)

    def test_order_of_rows(self, objective, ids) -> None:
        """Shuffling the rows shuffles losses and gradients."""
        target, order = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0])
        losses, gradient = objective.loss_and_gradient(ids, target)
        shuffled = objective.loss_and_gradient(ids[order], target[order])

        torch.testing.assert_close(shuffled, (losses[order], gradient[order]), atol=1e-12, rtol=0)

    def test_the_text_itself_is_nearest(self, clip, ids) -> None:
        """A prompt that is its own target has no loss."""
        objective = ClipSimilarity(ClipSimilarityConfig(), model=clip.encoder, targets=PROMPTS)
        losses = objective.loss(ids, torch.arange(3))

        torch.testing.assert_close(losses, torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)

    def test_leaves_no_graph(self, objective, ids) -> None:
        """A loss asked for without a gradient keeps nothing for one."""
        assert not objective.loss(ids, torch.zeros(3, dtype=torch.long)).requires_grad


class TestGradient:
    def test_equals_finite_differences(self, clip, objective, ids) -> None:
        """The gradient is how the loss changes with each number of the input embeddings."""
        target = torch.tensor([0, 1, 3])
        _, gradient = objective.loss_and_gradient(ids, target)
        embeddings = clip.encoder.space.embedding[ids]
        step = 1e-6
        generator = torch.Generator().manual_seed(0)
        for _ in range(12):
            direction = torch.randn(embeddings.shape, generator=generator, dtype=torch.float64)
            ahead, behind = (
                objective.of_vectors(clip.encoder.encode_embeddings(embeddings + sign * step * direction), target)
                for sign in (1, -1)
            )
            slope = (ahead - behind) / (2 * step)
            torch.testing.assert_close((gradient * direction).sum((1, 2)), slope, atol=1e-7, rtol=1e-5)

    def test_losses_equal_those_without_gradient(self, objective, ids) -> None:
        """Both ways of asking give the same losses."""
        target = torch.tensor([3, 2, 1])
        losses, gradient = objective.loss_and_gradient(ids, target)

        torch.testing.assert_close(losses, objective.loss(ids, target), atol=1e-12, rtol=0)
        assert gradient.shape == (*ids.shape, 16)
        assert not losses.requires_grad

    def test_rows_are_independent(self, objective, ids) -> None:
        """A row's gradient is that of its own loss, whatever else is in the batch."""
        target = torch.tensor([0, 1, 2])
        _, together = objective.loss_and_gradient(ids, target)
        alone = [objective.loss_and_gradient(ids[row : row + 1], target[row : row + 1])[1] for row in range(3)]

        torch.testing.assert_close(together, torch.cat(alone), atol=1e-12, rtol=0)

    def test_one_pass_each_way(self, clip, objective, ids) -> None:
        """The tower runs once forward, and targets are not encoded again."""
        calls = []
        handle = clip.encoder._tower.blocks[0].ln_1.register_forward_hook(lambda *_: calls.append("text"))
        image = clip.encoder._model.visual.register_forward_hook(lambda *_: calls.append("image"))
        objective.loss_and_gradient(ids, torch.zeros(3, dtype=torch.long))
        handle.remove()
        image.remove()

        assert calls == ["text"]

    def test_where_gradients_are_switched_off(self, objective, ids) -> None:
        """It answers inside ``torch.no_grad`` as well."""
        target = torch.zeros(3, dtype=torch.long)
        with torch.no_grad():
            _, gradient = objective.loss_and_gradient(ids, target)

        torch.testing.assert_close(gradient, objective.loss_and_gradient(ids, target)[1])

    def test_the_model_is_untouched(self, clip, objective, ids) -> None:
        """No parameter gathers a gradient or changes."""
        before = clip.encoder.space.embedding.clone()
        objective.loss_and_gradient(ids, torch.zeros(3, dtype=torch.long))

        assert all(parameter.grad is None for parameter in clip.encoder._model.parameters())
        assert torch.equal(before, clip.encoder.space.embedding)


class TestTextSimilarity:
    def test_equals_clip_similarity_of_texts(self, clip, ids) -> None:
        """For texts both objectives are the same."""
        texts = ["a cat", ("a dog", "three dogs")]
        one = TextSimilarity(TextSimilarityConfig(), model=clip.encoder, targets=texts)
        other = ClipSimilarity(ClipSimilarityConfig(), model=clip.encoder, targets=texts)
        target = torch.tensor([0, 1, 1])

        assert torch.equal(one.loss(ids, target), other.loss(ids, target))
        torch.testing.assert_close(one.loss_and_gradient(ids, target), other.loss_and_gradient(ids, target))

    def test_equals_the_obvious_computation(self, clip, ids) -> None:
        """As open_clip itself would compute it."""
        targets = ["a cat", ("a dog", "three dogs")]
        objective = TextSimilarity(TextSimilarityConfig(), model=clip.encoder, targets=targets)
        expected = [obvious_loss(clip, prompt, targets[1]) for prompt in PROMPTS]

        torch.testing.assert_close(
            objective.loss(ids, torch.ones(3, dtype=torch.long)),
            torch.tensor(expected, dtype=torch.float64),
            atol=1e-6,
            rtol=0,
        )


class TestTargets:
    def test_contract(self, clip, objective) -> None:
        """It has all that the contract asks for."""
        assert isinstance(objective, GradientObjective)
        assert objective.n_targets == 4
        assert objective.space is clip.encoder.space

    def test_pictures_go_through_the_tower_together(self, clip) -> None:
        """All pictures of all targets are one batch."""
        images = [Image.new("RGB", (16, 16), (shade, 0, 90)) for shade in (1, 2, 3, 4)]
        sizes = []
        handle = clip.encoder._model.visual.register_forward_pre_hook(
            lambda _, arguments: sizes.append(len(arguments[0]))
        )
        ClipSimilarity(ClipSimilarityConfig(), model=clip.encoder, targets=[images[0], (*images[1:3], "x"), images[3]])
        handle.remove()

        assert sizes == [4]

    @pytest.mark.parametrize(
        ("targets", "message"),
        [
            ([], "There is no target to come near to"),
            ("a cat", "The targets are 'a cat', not a list"),
            ([()], "A target is an empty group"),
            ([3.5], r"A target is 3.5, a float, but this objective takes pictures .* PIL.Image.open"),
            ([["a", "b"]], r"A target is \['a', 'b'\], a list"),
            (["a cat", (None,)], "A target is None, a NoneType"),
            ([""], "has 0 tokens, but .* reads 1 to 14"),
            (["word " * 15], "has 15 tokens, but .* reads 1 to 14"),
        ],
    )
    def test_that_cannot_be_used(self, clip, targets: object, message: str) -> None:
        """Targets of other kinds, empty or too long ones are refused in a sentence."""
        with pytest.raises(InputError, match=message):
            ClipSimilarity(ClipSimilarityConfig(), model=clip.encoder, targets=targets)

    def test_pictures_are_no_texts(self, clip) -> None:
        """A text encoder is not shown pictures."""
        with pytest.raises(InputError, match="this objective takes texts or tuples of them"):
            TextSimilarity(TextSimilarityConfig(), model=clip.encoder, targets=pictures())


class TestPlugin:
    def test_is_light(self) -> None:
        """Reading what the plugin provides imports neither torch nor numpy nor PIL."""
        code = (
            "import sys, preimage_objectives.plugin as plugin; plugin.provide_objectives();"
            "print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
        )
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert answer.stdout.strip() == "[]"

    def test_provides_both(self) -> None:
        """Both objectives offer gradients over texts."""
        provided = {component.name: component for component in plugin.provide_objectives()}

        similarities = [provided[name] for name in ("clip-similarity", "text-similarity")]
        assert all(component.trait("offers") == ("gradient",) for component in similarities)
        assert provided["clip-similarity"].trait("target") == ("image", "text")
