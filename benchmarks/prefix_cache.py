"""What a language model's cache of common beginnings saves where AutoDAN scores the tokens to come.

::

    python benchmarks/prefix_cache.py [--output benchmarks/prefix_cache.md]

All candidates of a round are one prompt with another last token, so that a single pass over what stands before it tells
how likely each of them is. GCG's candidates differ anywhere, and share half of their positions on average. Both ways
run the same GPT-2 (random weights, vocabulary of 8,000) on the same candidates in turn, on one thread; of the rounds
the fastest counts, in CPU seconds. They must agree before a time is printed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from preimage_transformers.language_model import TransformersLanguageModel

VOCABULARY = 8000
TOLERANCE = 1e-4


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the table to this file, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    plain, shared = (language_model(arguments.width, arguments.layers, share) for share in (False, True))
    lines = [
        "# Common beginnings in a language model",
        "",
        f"{arguments.candidates} candidates through GPT-2 ({arguments.layers} layers, width {arguments.width}), CPU "
        f"milliseconds on one thread, fastest of {arguments.rounds} rounds.",
        "",
        "| candidates of | tokens | without cache | with cache | ratio |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for what in ("AutoDAN", "GCG"):
        for length in (4, 8, 16, 32):
            ids = candidates(arguments.candidates, length, last=what == "AutoDAN")
            slow, fast = race(plain, shared, ids, arguments.rounds)
            lines.append(f"| {what} | {length} | {slow:,.0f} | {fast:,.0f} | {slow / fast:.1f} |")
    page = "\n".join([*lines, ""])
    print(page)
    if arguments.output is not None:
        arguments.output.write_text(page, encoding="utf-8")


def candidates(count: int, length: int, *, last: bool) -> Tensor:
    """Return copies of one prompt with another token at its end, or at a random place, ``(count, length)``."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(1, VOCABULARY, (length,), generator=rng).expand(count, -1).clone()
    place = torch.full((count,), length - 1) if last else torch.randint(length, (count,), generator=rng)
    ids[torch.arange(count), place] = torch.randint(1, VOCABULARY, (count,), generator=rng)
    return ids


def race(
    plain: TransformersLanguageModel, shared: TransformersLanguageModel, ids: Tensor, rounds: int
) -> tuple[float, float]:
    """Return the CPU milliseconds of both, each the fastest of several rounds in turn.

    Raises:
        SystemExit: they do not agree.
    """
    fastest = [float("inf"), float("inf")]
    answers = [torch.empty(0), torch.empty(0)]
    for _ in range(rounds):
        for place, model in enumerate((plain, shared)):
            started = time.process_time()
            answers[place] = model.token_log_probs(ids).mean(dim=1)
            fastest[place] = min(fastest[place], 1000 * (time.process_time() - started))
    gap = float((answers[0] - answers[1]).abs().max())
    if gap > TOLERANCE:
        message = f"The two ways differ by {gap:.1e}, so that their times cannot be compared."
        raise SystemExit(message)
    return fastest[0], fastest[1]


def language_model(width: int, layers: int, share: bool) -> TransformersLanguageModel:
    """Return a GPT-2 with random weights, the same at every call."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=width, n_layer=layers, n_head=width // 64, bos_token_id=0, eos_token_id=0
    )
    vocabulary = {"<end>": 0} | {f"w{index}": index for index in range(1, VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<end>")), eos_token="<end>"
    )
    return TransformersLanguageModel(GPT2LMHeadModel(config), tokenizer, reference="random", share_prefixes=share)


if __name__ == "__main__":
    main()
