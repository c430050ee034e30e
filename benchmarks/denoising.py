"""What the denoising loss knows of a picture, and what it costs.

::

    python benchmarks/denoising.py [--model miniworld:sd] [--scenes 100] [--output benchmarks/denoising.md]

For every held-out scene the denoising losses of its caption, of the caption of a scene that differs in one attribute,
in the same phrasing, and of the empty prompt are taken at 20 timesteps under the same noises. The first table says how
often the right caption has the lower loss, at each choice of timesteps. The second table is CPU time on one thread: of
a candidate at one timestep with and without gradient, and of pictures.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preimage import catalogue
from preimage_miniworld.captions import caption
from preimage_miniworld.data import held_out
from preimage_miniworld.training.pool import sibling

TIMESTEPS = 20
RANGES = ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0), (0.5, 0.9), (0.2, 0.9))
COUNTS = (20, 10, 5, 1)


def main() -> None:
    """Measure, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="miniworld:sd")
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--output", type=Path, help="write the tables to this file, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    denoiser = catalogue().load_model(arguments.model, "denoiser")
    losses, two = measured(denoiser, arguments.scenes)
    lines = [
        "# Denoising",
        "",
        f"`{arguments.model}`, {arguments.scenes} held-out scenes, {int(two.sum())} of them with two objects, torch "
        f"{torch.__version__}. How often, in per cent, the right caption has a lower denoising loss than one with a "
        "single attribute changed, and than the empty prompt:",
        "",
        "| timesteps | from | to | right before changed | one object | two objects | right before empty |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(row for count in COUNTS for row in rows(losses, two, count)),
        "",
        "CPU milliseconds on one thread, the least of five:",
        "",
        "| what | ms |",
        "| --- | ---: |",
        *costs(arguments.model, denoiser),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")


def measured(denoiser: Any, scenes: int) -> tuple[Tensor, Tensor]:
    """Return losses ``(N, 3, T)`` of right, changed and empty prompts, and which scenes have two objects, ``(N,)``."""
    timesteps = ((torch.arange(TIMESTEPS) + 0.5) / TIMESTEPS * denoiser.n_timesteps).long()
    rng = random.Random(0)
    found, two = [], []
    for number, (scene, picture, _) in enumerate(held_out(scenes, seed=5)):
        both = [caption(one, random.Random(number)) for one in (scene, sibling(scene, rng, None))]
        latents = denoiser.encode_pictures([picture]).expand(TIMESTEPS, -1, -1, -1)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        for text in (*both, ""):
            states = denoiser.text_states(torch.tensor([denoiser.space.encode([text])[0]], dtype=torch.long))
            with torch.no_grad():
                told = states.expand(TIMESTEPS, -1, -1)
                found.append(denoiser.noise_prediction_loss(told, latents, timesteps, noise))
        two.append(len(scene.objects) == 2)
    return torch.stack(found).view(scenes, 3, TIMESTEPS), torch.tensor(two)


def rows(losses: Tensor, two: Tensor, count: int) -> list[str]:
    """Return a line for each range in which `count` of the timesteps can be evenly spaced."""
    lines = []
    for lowest, highest in RANGES if count < TIMESTEPS else RANGES[:1]:
        width = (highest - lowest) * TIMESTEPS
        if count > width:
            continue
        chosen = [int(lowest * TIMESTEPS + (place + 0.5) * width / count) for place in range(count)]
        right, changed, empty = losses[:, :, chosen].mean(dim=2).unbind(dim=1)
        ahead = (right < changed).double()
        shares = [ahead.mean(), ahead[~two].mean(), ahead[two].mean(), (right < empty).double().mean()]
        lines.append(f"| {count} | {lowest} | {highest} | " + " | ".join(f"{100 * s:.0f}" for s in shares) + " |")
    return lines


def costs(reference: str, denoiser: Any) -> list[str]:
    """Return the lines of the table of costs."""
    _, picture, text = held_out(1, seed=5)[0]
    options = {"n_timesteps": 1, "batch_size": 16}
    objective = catalogue().build("objective", "denoising", {"model": denoiser, "targets": [picture]}, **options)
    ids = torch.tensor(denoiser.space.encode([text])).expand(16, -1)
    target = torch.zeros(16, dtype=torch.long)
    generator = catalogue().load_model(reference, "image-generator")
    alone, one = [generator.generate([text], [seed])[0] for seed in range(8)], list(range(8))
    together = generator.generate([text] * 8, one)
    gaps = [np.abs(np.asarray(a, int) - np.asarray(b, int)).max() for a, b in zip(alone, together, strict=True)]
    timed = {
        "a candidate at one timestep, of 16 at once": least(lambda: objective.loss(ids, target)) / 16,
        "the same with a gradient": least(lambda: objective.loss_and_gradient(ids, target)) / 16,
        f"a picture ({generator.steps} steps, guidance)": least(lambda: generator.generate([text], [1])),
        "a picture, of 8 at once": least(lambda: generator.generate([text] * 8, one)) / 8,
    }
    lines = [f"| {name} | {milliseconds:,.1f} |" for name, milliseconds in timed.items()]
    return [*lines, "", f"Pictures drawn alone and eight at once differ by {max(gaps)} of 255 at most."]


def least(call: Callable[[], Any]) -> float:
    """Return the least CPU time of five calls, in milliseconds."""
    times = []
    for _ in range(5):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * min(times)


if __name__ == "__main__":
    main()
