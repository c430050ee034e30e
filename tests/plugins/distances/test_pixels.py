"""Distances between pictures, by their pixels, against the slow definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from preimage.errors import InputError, OptionError
from preimage_distances import (
    MeanSquaredError,
    MeanSquaredErrorConfig,
    StructuralSimilarity,
    StructuralSimilarityConfig,
)


def noise(width=16, height=14, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def structural_similarity(left, right, sigma=1.5, side=11):
    """Return the SSIM of two pictures of one size, window by window as the paper writes it."""
    one, other = (np.asarray(picture, dtype=float) / 255 for picture in (left, right))
    steps = range(-(side // 2), side // 2 + 1)
    window = np.array([[math.exp(-(x * x + y * y) / (2 * sigma**2)) for x in steps] for y in steps])
    window /= window.sum()
    values = []
    for channel in range(3):
        for top in range(one.shape[0] - side + 1):
            for left_edge in range(one.shape[1] - side + 1):
                x, y = (side_[top : top + side, left_edge : left_edge + side, channel] for side_ in (one, other))
                mean_x, mean_y = (window * x).sum(), (window * y).sum()
                spread_x, spread_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
                common = (window * (x - mean_x) * (y - mean_y)).sum()
                luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
                structure = (2 * common + 0.03**2) / (spread_x + spread_y + 0.03**2)
                values.append(luminance * structure)
    return sum(values) / len(values)


def test_ssim_is_the_papers():
    """It equals the mean over windows and channels that is written in the paper."""
    left, right = noise(), Image.blend(noise(), noise(seed=1), 0.4)
    expected = 1 - structural_similarity(left, right)
    found = StructuralSimilarity(StructuralSimilarityConfig())([left], [right]).item()
    assert found == pytest.approx(expected, abs=1e-9)


def test_mean_squared_error_goes_from_zero_to_one():
    """White and black are one apart, and the mean goes over pixels and colours."""
    black, white = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "white")
    half = black.copy()
    half.paste((255, 0, 0), (0, 0, 2, 4))
    distance = MeanSquaredError(MeanSquaredErrorConfig())
    assert distance([black, black, black], [white, black, half]).tolist() == pytest.approx([1, 0, 1 / 6])


def test_pictures_of_different_sizes_meet_at_the_smaller_sides():
    """Scaling is done from both sides alike, and the pictures themselves keep their size."""
    tall, wide = noise(16, 40), noise(40, 16)
    distance = MeanSquaredError(MeanSquaredErrorConfig())
    assert distance([tall], [wide]).item() == distance([wide], [tall]).item()
    small = [picture.resize((16, 16), Image.Resampling.BICUBIC) for picture in (tall, wide)]
    assert distance([tall], [wide]).item() == pytest.approx(distance(small[:1], small[1:]).item())
    assert tall.size == (16, 40)


def test_size_is_that_of_the_comparison():
    """With a size, fine noise over one colour is hardly seen."""
    left, right = noise(64, 64), noise(64, 64, seed=1)
    fine = MeanSquaredError(MeanSquaredErrorConfig())([left], [right]).item()
    coarse = MeanSquaredError(MeanSquaredErrorConfig(size=4))([left], [right]).item()
    assert coarse < fine / 10


def test_pictures_smaller_than_the_window_are_refused():
    """The message says what to do."""
    with pytest.raises(InputError, match="compared at 8 x 14 pixels, but the window of SSIM has 11"):
        StructuralSimilarity(StructuralSimilarityConfig())([noise(8, 16)], [noise()])


def test_size_below_the_window_is_refused():
    """Already when the options are given."""
    with pytest.raises(OptionError, match="scaled to 8: give a larger size"):
        StructuralSimilarityConfig(size=8)
