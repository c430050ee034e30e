"""GCG against random search on 20 held-out scenes of the mini world, at equal numbers of candidates.

Both search with their default options for prompts of the same length, from the same random starts, all scenes in
lockstep. Prints one row a scene and the number of scenes in which GCG's loss is lower.
"""

from __future__ import annotations

import argparse

from preimage import Budget, Pipeline, Result, Stage, Term
from preimage_miniworld.data import held_out


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--max-candidates", type=int, default=20_000, help="for each scene and method")
    parser.add_argument("--prompt-length", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    examples = held_out(arguments.scenes, seed=arguments.seed)
    pictures = [picture for _, picture, _ in examples]
    found = {name: search(name, pictures, arguments) for name in ("random-search", "gcg")}
    random, gcg = found["random-search"], found["gcg"]
    print(f"{'scene':>5}  {'random search':>13}  {'gcg':>7}  {'lower':<13}  caption")
    wins = 0
    for number, (left, right, (_, _, caption)) in enumerate(zip(random, gcg, examples, strict=True), 1):
        wins += right.loss < left.loss
        lower = "gcg" if right.loss < left.loss else "random search"
        print(f"{number:>5}  {left.loss:>13.4f}  {right.loss:>7.4f}  {lower:<13}  {caption}")
    print(f"{'mean':>5}  {mean(random):>13.4f}  {mean(gcg):>7.4f}  gcg in {wins} of {len(examples)}")
    for name, results in found.items():
        spent = results[0].spent
        print(f"{name}: {spent.candidates:,} candidates a scene, {spent.seconds:.1f} s for all scenes together")


def search(optimizer: str, pictures: list[object], arguments: argparse.Namespace) -> list[Result]:
    """Return the best prompt for each picture."""
    budget = Budget(max_candidates=arguments.max_candidates)
    stage = Stage(optimizer=optimizer, budget=budget, options={"prompt_length": arguments.prompt_length})
    pipeline = Pipeline(stages=[stage], terms=[Term(objective="clip-similarity", model="miniworld:clip")])
    return pipeline.run(pictures, seed=arguments.seed)


def mean(results: list[Result]) -> float:
    """Return the mean loss."""
    return sum(result.loss for result in results) / len(results)


if __name__ == "__main__":
    main()
