"""Recover the prompts of the three bundled pictures and write a page about it; ``make demo`` runs this.

Random search and GCG get the same number of candidates. The mini world's CLIP is bundled, so nothing is downloaded.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from preimage import Budget, Pipeline, Result, Stage, Term
from preimage.cli.progress import Progress
from preimage.page import write_page
from preimage_miniworld.data import demo_scenes

# GCG proposes only what its gradient favours most: its default list suits vocabularies fifty times as large.
SEARCHES: dict[str, dict[str, int]] = {"random-search": {}, "gcg": {"search_width": 64, "topk": 16}}
LENGTH = 10


def main() -> None:
    """Search, print what was found, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/demo"), help="where the page goes")
    parser.add_argument("--max-candidates", type=int, default=4000, help="for each picture and method")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    started = time.perf_counter()
    truths = write_pictures(arguments.folder)
    results: list[Result] = []
    for optimizer, options in SEARCHES.items():
        budget = Budget(max_candidates=arguments.max_candidates)
        pipeline = Pipeline(
            stages=[Stage(optimizer=optimizer, budget=budget, options={"prompt_length": LENGTH, **options})],
            terms=[Term(objective="clip-similarity", model="miniworld:clip")],
        )
        with Progress(pipeline, list(truths), forced=True) as progress:
            results += pipeline.run(list(truths), seed=arguments.seed, listeners=progress.listeners)

    for picture, truth in truths.items():
        print(f"\n{picture}\n  {'true caption':<14} {truth}")
        for result in results:
            if result.target.name == picture:
                (stage,) = result.provenance.recipe["stages"]
                print(f"  {stage['optimizer']:<14} {result.text}  (loss {result.loss:.4f})")
    page = arguments.folder / "index.html"
    write_page(results, page, truths=truths, title="Three pictures, and the prompts found for them")
    print(f"\nThe page is {page.resolve()} ({time.perf_counter() - started:.0f} s)")


def write_pictures(folder: Path) -> dict[str, str]:
    """Write the bundled pictures to `folder` and return their paths with the true captions."""
    folder.mkdir(parents=True, exist_ok=True)
    truths = {}
    for number, (_, picture, caption) in enumerate(demo_scenes(), 1):
        path = folder / f"picture-{number}.png"
        picture.save(path)
        truths[str(path)] = caption
    return truths


if __name__ == "__main__":
    main()
