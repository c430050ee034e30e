"""Adapters around the mini world's CLIP: a trained model, in a whole pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import preimage
from preimage.api import StepEvent
from preimage.cli.results import print_results
from preimage_fuse.config import FuseConfig
from preimage_fuse.fuse import Fuse

miniworld = pytest.importorskip("preimage_miniworld")
CAPTIONS = ["a small red circle above a large blue square", "a smiling yellow star in the snow", "two green hearts"]


@pytest.fixture(scope="module")
def clip():
    """The mini world's CLIP."""
    return preimage.catalogue().load_model("miniworld:clip", "image-text-encoder")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Keep what is fitted out of the user's cache."""
    monkeypatch.setenv("PREIMAGE_CACHE", str(tmp_path))


def similarity(clip):
    """The similarity to a caption, as an objective with a gradient."""
    return preimage.catalogue().build(
        "objective", "text-similarity", {"model": clip, "targets": ["a big crimson ball over a huge azure box"]}
    )


def test_gradient_between_equal_models(clip) -> None:
    """From a trained model to itself, FUSE passes the gradient on nearly unchanged, in words of several tokens, too."""
    adapter = Fuse(FuseConfig(use_cache=False), source=clip.space, target=clip.space)
    adapter.fit()
    objective = similarity(clip)
    for caption in [*CAPTIONS, "striped foxes"]:
        ids = torch.tensor(clip.space.encode([caption]))
        _, gradient = objective.loss_and_gradient(ids, torch.zeros(1, dtype=torch.long))
        pulled = adapter.pull_back(ids, torch.tensor(adapter.translate(ids)), gradient)

        assert torch.cosine_similarity(pulled.flatten(), gradient.flatten(), dim=0) > 0.97


def test_gradient_of_another_tokenizer(clip, spaces) -> None:
    """The gradient of CLIP at another tokenizer's tokens tells which of two words is better, far above chance."""
    source = spaces["gpt2"]
    # The other model embeds a token as CLIP embeds its letters, seen through a random matrix.
    mixed = torch.randn(clip.space.embedding.shape[1], 48, generator=torch.Generator().manual_seed(0))
    texts = source.decode(torch.arange(len(source.embedding))[:, None])
    meant = [clip.space.embedding[ids].mean(0) if ids else mixed[:, 0] * 0 for ids in clip.space.encode(texts)]
    source.embedding = torch.stack(meant) @ mixed
    adapter = Fuse(FuseConfig(use_cache=False, min_examples_per_case=8), source=source, target=clip.space)
    adapter.fit()
    objective, target = similarity(clip), torch.zeros(1, dtype=torch.long)
    words = [" red", " circle", " blue", " star", " sky", " dog", " square", " warm", " hill", " green", " fox"]
    words = [word for word in words if len(source.encode([word])[0]) == 1]
    right = []
    for caption in ("a small red circle", "a lazy blue star", "a red fox on a hill"):
        (ids,) = source.encode([f" {caption}"])
        row = torch.tensor([ids])
        translated = torch.tensor(adapter.translate(row))
        _, gradient = objective.loss_and_gradient(translated, target)
        pulled = adapter.pull_back(row, translated, gradient)[0]
        for place in (place for place, token in enumerate(ids) if [token] in source.encode(words)):
            swaps = [[*ids[:place], *source.encode([word])[0], *ids[place + 1 :]] for word in words]
            predicted = torch.stack([source.embedding[swap[place]] @ pulled[place] for swap in swaps])
            read = [clip.space.encode(source.decode(torch.tensor([swap])))[0] for swap in swaps]
            true = torch.cat([objective.loss(torch.tensor([each]), target) for each in read])
            better = true[:, None] < true[None]
            right.append((predicted[:, None] < predicted[None])[better].double().mean())

    assert len(right) >= 4
    assert sum(right) / len(right) > 0.6


def test_in_a_search(clip, own_cache, capsys) -> None:
    """GCG searches with a second model's gradient carried over by FUSE; how its words were served is told and kept."""
    folder = Path(miniworld.__file__).parent / "models" / "clip"
    terms = [
        preimage.Term(objective="text-similarity", model="miniworld:clip", targets=[CAPTIONS[0]]),
        preimage.Term(
            objective="text-similarity",
            model=f"open_clip:{folder}",
            targets=[CAPTIONS[0]],
            adapter="fuse",
            adapter_options={"max_subtokens": 2},
        ),
    ]
    stage = preimage.Stage(
        optimizer="gcg", budget=preimage.Budget(num_steps=3), options={"prompt_length": 4, "search_width": 32}
    )
    heard: list[StepEvent] = []
    (result,) = preimage.Pipeline(stages=[stage], terms=terms).run([CAPTIONS[0]], seed=0, listeners=[heard.append])

    assert result.text
    assert result.spent.candidates > 32
    ((name, counts),) = result.coverage.items()
    assert name == terms[1].name
    assert set(counts) == {"exact", "nearest", "zero"}
    # Three gradients of a prompt of four tokens, which are one to four words.
    assert 3 <= sum(counts.values()) <= 12
    assert [sum(event.coverage[name].values()) for event in heard] == sorted(
        sum(event.coverage[name].values()) for event in heard
    )
    assert heard[-1].coverage == result.coverage
    assert preimage.Result.from_json(result.to_json()).coverage == result.coverage
    print_results([result])
    assert f"{sum(counts.values())} words  {name}" in capsys.readouterr().out
