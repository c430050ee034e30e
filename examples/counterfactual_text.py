"""What would have been said, or drawn, otherwise: a caption's mood and a picture's colour, turned by the fewest words.

A classifier calls a caption gloomy. The nearest caption that it calls cheerful is found by editing words, under a cost
that counts edits and asks a language model what people would write. The same search finds the smallest change of a
prompt after which a diffusion model, with the same seeds, draws another colour.
"""

from __future__ import annotations

import argparse
import random
from itertools import islice
from pathlib import Path

from preimage_counterfactual import PromptExplainer, TextExplainer
from preimage_miniworld.captions import caption
from preimage_miniworld.scene import COLOURS, sample_scenes

WRITER = "miniworld:gpt2"


def main() -> None:
    """Explain a caption and a prompt, and print both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", default="a huge unhappy stripy blue square in the dark")
    parser.add_argument("--prompt", default="a large plain red star on a beach")
    parser.add_argument("--colour", default="blue", choices=COLOURS, help="what the pictures shall show")
    parser.add_argument("--steps", type=int, default=10, help="denoising steps of a picture")
    parser.add_argument("--folder", type=Path, help="write the pictures here")
    arguments = parser.parse_args()

    rng = random.Random(0)
    known = [caption(scene, rng) for scene in islice(sample_scenes("train", 0), 200)]

    moods = TextExplainer("miniworld:mood", language_model=WRITER).fit(known)
    for wanted in moods.classifier.labels:
        answer = moods.explain(arguments.text, desired_class=wanted)
        print(f"{wanted}: {answer}")

    prompts = PromptExplainer(
        "miniworld:sd", judge="miniworld:clip", language_model=WRITER, generator_options={"steps": arguments.steps}
    ).fit(known)
    others = [f"a {colour} star" for colour in COLOURS if colour != arguments.colour]
    drawn = prompts.explain(arguments.prompt, wanted=f"a {arguments.colour} star", instead_of=others)
    print(f"{drawn.wanted}: {drawn}")
    print(f"pictures decided so: {drawn.probability:.0%} before, {drawn.probability_after or 0:.0%} after")
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        for when, pictures in (("before", drawn.pictures), ("after", drawn.pictures_after)):
            for seed, picture in zip(drawn.seeds, pictures, strict=False):
                picture.save(arguments.folder / f"{when}-{seed}.png")


if __name__ == "__main__":
    main()
