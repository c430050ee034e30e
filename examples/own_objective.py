"""An objective of your own as one term of a search: prompts that fit a picture and spell with few letters.

An objective is anything with `space`, `n_targets` and `loss`. This one has no gradient, so random search looks for the
prompt; the second term's weight says how much a letter may cost.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, cast

import torch

import preimage
from preimage import Budget, Pipeline, Stage, Term
from preimage.api import TextEncoder
from preimage_miniworld.data import demo_scenes

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import TextSpace


class Letters:
    """The share of the alphabet that a prompt uses."""

    def __init__(self, space: TextSpace, n_targets: int) -> None:
        self.space = space
        self.n_targets = n_targets

    def loss(self, candidates: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row of ``candidates (B, L)``, ``(B,)``."""
        texts = self.space.decode(candidates)
        return torch.tensor([len({letter for letter in text.lower() if letter.isalpha()}) / 26 for text in texts])


def main() -> None:
    """Search with and without the second term and print both prompts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--max-candidates", type=int, default=4000)
    arguments = parser.parse_args()

    _, picture, caption = demo_scenes()[0]
    model = cast("TextEncoder", preimage.catalogue().load_model("miniworld:clip", "image-text-encoder"))
    print(f"true caption: {caption}")
    for weight in (0.0, 0.5):
        pipeline = Pipeline(
            stages=[Stage(optimizer="random-search", budget=Budget(max_candidates=arguments.max_candidates))],
            terms=[
                Term(objective="clip-similarity", model=model),
                Term(objective=Letters(model.space, n_targets=1), weight=weight),
            ],
        )
        (result,) = pipeline.run([picture])
        print(f"weight {weight}: {result.text!r}  {', '.join(f'{k} {v:.3f}' for k, v in result.terms.items())}")


if __name__ == "__main__":
    main()
