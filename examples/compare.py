"""Methods compared at equal cost on pictures that no model has seen: one table, in lockstep, from names and options."""

from __future__ import annotations

import argparse

from preimage import Budget, Pipeline, Stage, Term
from preimage.result import to_frame
from preimage_miniworld.data import held_out

METHODS: dict[str, dict[str, object]] = {
    "random-search": {},
    "random-search near": {"ball": "embedding"},
    "gcg": {},
    "gcg narrow": {"search_width": 64, "topk": 64},
    "gcg buffer": {"search_width": 64, "topk": 64, "buffer_size": 8},
}


def main() -> None:
    """Search with every method and print the losses."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--max-candidates", type=int, default=4000, help="for each picture and method")
    arguments = parser.parse_args()

    pictures = [picture for _, picture, _ in held_out(arguments.pictures)]
    for method, options in METHODS.items():
        optimizer = method.split()[0]
        pipeline = Pipeline(
            stages=[
                Stage(optimizer=optimizer, budget=Budget(max_candidates=arguments.max_candidates), options=options)
            ],
            terms=[Term(objective="clip-similarity", model="miniworld:clip")],
        )
        table = to_frame(pipeline.run(pictures))
        cost = f"{table['forward'].sum():,} forward and {table['backward'].sum():,} backward passes"
        print(f"{method:<20} mean loss {table['loss'].mean():.4f}  best {table['loss'].min():.4f}  {cost}")


if __name__ == "__main__":
    main()
