"""What a picture of the world shows, as a small convolutional network sees it that has learned from rendered ones."""

from pathlib import Path
from typing import TYPE_CHECKING

from preimage_miniworld.labels import CLASSES, labels_of
from preimage_miniworld.scene import Scene

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["NAMES", "attributes_right", "load_attributes", "new_classifier", "pixels", "recognised", "shown"]

NAMES = ("colour", "shape", "texture", "size", "mood")
"""What is said of each object, in the order of the labels."""

_CHANNELS = (24, 48, 64, 96)
_SIDE = 4


def new_classifier() -> "torch.nn.Module":
    """Build an untrained classifier of pictures (B, 3, 64, 64) between -1 and 1, whose answer is (B, sum(CLASSES))."""
    from torch import nn

    layers: list[nn.Module] = []
    before = 3
    for channels in _CHANNELS:
        layers += [nn.Conv2d(before, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        layers += [nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        before = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * _SIDE**2, sum(CLASSES)))


def load_attributes(path: Path) -> "torch.nn.Module":
    """Load the classifier from its file in single precision, ready for use."""
    from safetensors.torch import load_file

    classifier = new_classifier()
    classifier.load_state_dict(load_file(path))
    return classifier.float().eval().requires_grad_(requires_grad=False)


def recognised(classifier: "torch.nn.Module", images: "np.ndarray") -> "torch.Tensor":
    """Return the labels that pictures (N, 64, 64, 3) uint8 seem to have, (N, K) as `labels_of` orders them."""
    import torch

    with torch.no_grad():
        answers = classifier(pixels(images)).split(CLASSES, 1)
    return torch.stack([said.argmax(1) for said in answers], 1)


def shown(labels: "torch.Tensor") -> "torch.Tensor":
    """Return which labels (N, K) say something: where there is one object, those of the second do not."""
    import torch

    second = torch.arange(labels.shape[1]).div(len(NAMES), rounding_mode="floor") == 1
    return ~second | (labels[:, 2 * len(NAMES), None] > 0)


def attributes_right(classifier: "torch.nn.Module", images: "np.ndarray", scenes: list[Scene]) -> dict[str, float]:
    """Compare what pictures seem to show with the scenes they were made for.

    Args:
        classifier: Who judges.
        images: (N, 64, 64, 3) uint8.
        scenes: N scenes.

    Returns:
        Percentages by attribute, averaged over objects where a scene has two; ``relation`` says whether the
        number of objects and the axis they stand on are right, ``all`` whether everything is.
    """
    import torch

    truth = torch.tensor([labels_of(scene) for scene in scenes])
    right = (recognised(classifier, images) == truth).float()
    first, second = right[:, :5], right[:, 5:10]
    twice = torch.tensor([len(scene.objects) == 2 for scene in scenes])
    each = torch.cat([first, second[twice]])
    found = {name: 100 * each[:, index].mean().item() for index, name in enumerate(NAMES)}
    found["background"] = 100 * right[:, 11].mean().item()
    found["relation"] = 100 * right[:, 10].mean().item()
    found["all"] = 100 * right.min(1).values.mean().item()
    return found


def pixels(images: "np.ndarray") -> "torch.Tensor":
    """Turn pictures (N, 64, 64, 3) uint8 into (N, 3, 64, 64) between -1 and 1."""
    import torch

    return torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0
