"""GCG with a gradient carried over by FUSE against GCG that draws its candidates at random, in the mini world.

::

    python benchmarks/fuse_search.py [--scenes 20] [--output benchmarks/fuse_search.md]

Prompts of GPT-2's tokens are searched for held-out pictures under the CLIP, whose tokenizer is another one. All
searches are the same code with the same start; without a gradient every replacement is as good as any other, so that
GCG draws among all allowed tokens. For each scene it is counted after how many candidates a search with a gradient has
reached the loss that the one without has after all of its own.

Widths and list lengths were chosen on other scenes, for the search without gradient as well: with wider steps it finds
no better prompts. The adapters learn from the words of the mini world's training captions and of both vocabularies; of
these words alone, or of the vocabularies alone, they make less of the half-words that a search begins with.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradient_quality import adapter, model, world_words

from preimage import Budget, catalogue
from preimage.loop import advance, begin
from preimage.problem import BoundTerm, Problem
from preimage.search_space import SearchSpace
from preimage.track import Track
from preimage_fuse.words import vocabulary_words
from preimage_gcg import GCG, GCGConfig
from preimage_miniworld.data import held_out

if TYPE_CHECKING:
    from torch import Tensor

OPTIONS: dict[str, Any] = {"prompt_length": 8, "search_width": 32, "buffer_size": 1}
BUDGETS = (500, 1000, 1500, 2000)
"""Candidates of the search without a gradient."""
ADAPTERS = ("fuse", "linear", "shared-token")


class Blind:
    """An adapter that says nothing, so that every token is as good as any other."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def pull_back(self, ids: Tensor, translated: Tensor, gradient: Tensor) -> Tensor:
        """Return a gradient of zeros, ``(B, L, d)``."""
        return self.source.embedding.new_zeros(*ids.shape, self.source.embedding.shape[1])


def main() -> None:
    """Search, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=3, help="draws the scenes and the searches")
    parser.add_argument("--output", type=Path, help="write the tables to this file, too")
    arguments = parser.parse_args()

    pictures = [picture for _, picture, _ in held_out(arguments.scenes, seed=arguments.seed)]
    space = model("gpt2").space
    words = [*world_words(), *vocabulary_words(space, model("clip").space)]
    blind = search(Blind(space), pictures, arguments.seed, topk=len(space.embedding))
    carried = {
        name: search(adapter(name, "gpt2", "clip", words), pictures, arguments.seed, topk=64) for name in ADAPTERS
    }
    head = " | ".join(f"{name}: loss | share" for name in ADAPTERS)
    lines = [
        "# GCG through FUSE",
        "",
        f"{len(pictures)} held-out scenes, prompts of {OPTIONS['prompt_length']} of GPT-2's tokens, loss of the CLIP; "
        "medians. Share: candidates needed to reach the loss that GCG without a gradient has in the same scene, as a "
        "share of its own.",
        "",
        f"| candidates | no gradient: loss | {head} |",
        f"| ---: | {'---: | ' * (1 + 2 * len(ADAPTERS))}".rstrip(),
    ]
    for budget in BUDGETS:
        cells = [f"{budget:,}", f"{statistics.median(loss_after(budget, track) for track in blind):.3f}"]
        for tracks in carried.values():
            loss = statistics.median(loss_after(budget, track) for track in tracks)
            share = statistics.median(
                needed(track, loss_after(budget, other)) / budget for track, other in zip(tracks, blind, strict=True)
            )
            cells += [f"{loss:.3f}", f"{share:.2f}" if share < float("inf") else "never"]
        lines.append(f"| {' | '.join(cells)} |")
    best = max(BUDGETS)
    wins = sum(
        loss_after(best, track) <= loss_after(best, other) for track, other in zip(carried["fuse"], blind, strict=True)
    )
    lines += ["", f"After {best:,} candidates FUSE is as good or better in {wins} of {len(pictures)} scenes.", ""]
    page = "\n".join(lines)
    print(page)
    if arguments.output is not None:
        arguments.output.write_text(page, encoding="utf-8")


def search(carries: Any, pictures: Sequence[Any], seed: int, *, topk: int) -> list[Track]:
    """Return the history of a search for each picture."""
    parts = {"model": model("clip"), "targets": list(pictures)}
    objective = catalogue().build("objective", "clip-similarity", parts)
    problem = Problem(SearchSpace(model("gpt2").space), [BoundTerm("clip", objective, adapter=carries)])
    optimizer, tracks = GCG(GCGConfig(topk=topk, **OPTIONS)), [Track(index) for index in range(len(pictures))]
    advance(problem, optimizer, begin(problem, optimizer, tracks, seed), Budget(max_candidates=max(BUDGETS)))
    return tracks


def loss_after(candidates: int, track: Track) -> float:
    """Return the best loss of the steps that `candidates` pay for."""
    return min(point.best_loss for point in track.trajectory if point.spent.candidates <= candidates)


def needed(track: Track, loss: float) -> float:
    """Return after how many candidates a search has reached a loss; infinite if it never has."""
    return next((point.spent.candidates for point in track.trajectory if point.best_loss <= loss), float("inf"))


if __name__ == "__main__":
    main()
