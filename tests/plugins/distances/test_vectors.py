"""Distances by encoders, against the cosine itself."""

from __future__ import annotations

import pytest
import torch

from preimage.testing.toy_models import ToyEncoder, toy_pictures
from preimage_distances import ImageSimilarity, ImageSimilarityConfig, TextSimilarity, TextSimilarityConfig


@pytest.fixture
def encoder():
    return ToyEncoder()


def test_texts(encoder):
    """Texts of different lengths are as far apart as the angle between their vectors says."""
    left, right = ["umber fern dune", "oak"], ["oak fern", "oak"]
    vectors = [
        torch.cat([encoder.encode_tokens(torch.tensor([ids])) for ids in encoder.space.encode(side)])
        for side in (left, right)
    ]
    expected = 1 - torch.nn.functional.cosine_similarity(*vectors)
    found = TextSimilarity(TextSimilarityConfig(), model=encoder)(left, right)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    assert found[1] == 0


def test_long_texts_are_cut(encoder):
    """What the model does not read makes no difference."""
    long = " ".join(["oak"] * encoder.space.max_length)
    distance = TextSimilarity(TextSimilarityConfig(), model=encoder)
    assert distance([long], [f"{long} fern dune"]).item() == 0


def test_pictures(encoder):
    """Pictures are as far apart as the angle between their vectors says."""
    left, right = toy_pictures(3), toy_pictures(6)[3:]
    expected = 1 - (encoder.encode_images(left) * encoder.encode_images(right)).sum(dim=1)
    found = ImageSimilarity(ImageSimilarityConfig(), model=encoder)(left, right)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize(
    ("distance", "config"), [(TextSimilarity, TextSimilarityConfig), (ImageSimilarity, ImageSimilarityConfig)]
)
def test_no_pairs_have_no_distances(distance, config, encoder):
    """As for distances that ask no model."""
    found = distance(config(), model=encoder)([], [])
    assert found.shape == (0,)
    assert found.dtype == torch.float64
