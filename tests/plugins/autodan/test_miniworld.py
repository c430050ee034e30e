"""AutoDAN describes pictures of the mini world: CLIP decides what to say, GPT-2 how, in tokens of its own."""

from __future__ import annotations

import pytest

import preimage
from preimage import Budget, Pipeline, Stage, Term

miniworld = pytest.importorskip("preimage_miniworld")
pytest.importorskip("preimage_fuse")
pytest.importorskip("preimage_objectives")


def test_it_writes_a_caption_that_can_be_read(tmp_path, monkeypatch) -> None:
    """The prompt names what is in the picture, in words that the language model expects."""
    monkeypatch.setenv("PREIMAGE_CACHE", str(tmp_path))
    from preimage_miniworld.render import render
    from preimage_miniworld.scene import Scene, SceneObject

    flower = SceneObject(colour="red", shape="flower", texture="dotted", size="large")
    circle = SceneObject(colour="white", shape="circle", texture="striped", size="large")
    scene = Scene(objects=(flower, circle), relation="left of", background="meadow", mood="none")
    pipeline = Pipeline(
        stages=[
            Stage(
                optimizer="autodan",
                budget=Budget(num_steps=60),
                options={"search_width": 48, "prompt_length": 10},
            )
        ],
        terms=[
            Term(objective="fluency", model="miniworld:gpt2", weight=0.02),
            Term(objective="clip-similarity", model="miniworld:clip", adapter="shared-token"),
        ],
    )
    (result,) = pipeline.run([render(scene)])
    fluency, dissimilarity = result.terms.values()

    assert result.stop_reason == "done"
    assert {"blossom", "flower"} & set(result.text.split())
    assert fluency < 3.0  # The same words in disorder have 5 and more.
    assert dissimilarity < 0.4
    assert preimage.catalogue().load_model("miniworld:gpt2", "language-model").space.encode([result.text]) == [
        list(result.ids)
    ]
