"""What fitting FUSE costs: 16,384 words, 1024 to 512 dimensions, up to 4 tokens.

::

    python benchmarks/fuse_fit.py [--words 16384] [--threads 2] [--output benchmarks/fuse_fit.md]

Each line of the first table is a process of its own: wall-clock time, CPU time of all threads (other work on the
machine stretches the first, not the second) and the largest memory it ever held, torch itself and the data included.

- one cell: `t_lstsq` on 16,384 words of 4 tokens in both models, the largest system there is;
- the grid: `Fuse.fit` from tokenizers to maps, the words spread evenly over the 16 pairs of numbers of tokens, with the
  slices behind the last target token left free (the default) or asked to be zero (as in the paper).

The second table compares with the way of the published code, written out here: the block-circulant matrix, its
block-diagonal form by Fourier matrices, and a pseudo-inverse by singular values for each block. The third line of text
says how far `t_lstsq` is from the definition by circulant matrices.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from preimage.text_space import TokenizerSpace
from preimage_fuse import Fuse, FuseConfig, t_lstsq

WIDTHS = 1024, 512
LARGEST = 4
CELL, FREE, ZERO = "one cell", "grid, padding free", "grid, padding zero"


def main() -> None:
    """Measure, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--words", type=int, default=16384)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="write the tables to this file, too")
    parser.add_argument("--measure", choices=(CELL, FREE, ZERO), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.words)))
        return
    lines = [
        "# Fitting FUSE",
        "",
        f"{arguments.words:,} words, {WIDTHS[0]} to {WIDTHS[1]} dimensions, up to {LARGEST} tokens, "
        f"{arguments.threads} threads, torch {torch.__version__}",
        "",
        "| fit | words | s | CPU s | peak MB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for what in (CELL, FREE, ZERO):
        numbers = in_process(what, arguments)
        lines.append("| {what} | {words:,} | {wall:.1f} | {cpu:.1f} | {peak:,.0f} |".format(what=what, **numbers))
        print(lines[-1], file=sys.stderr)
    # One thread each: threads that wait for each other on a busy machine count as CPU time.
    torch.set_num_threads(1)
    lines += [
        "",
        "| 2048 words, 256 to 128, one thread: tokens | published way, CPU s | t_lstsq, CPU s | ratio | difference |",
    ]
    lines += ["| --- | ---: | ---: | ---: | ---: |", *(comparison(depth) for depth in (1, 2, 4))]
    lines += [
        "",
        f"Largest difference from the definition by circulant matrices, 1 to 6 tokens: {from_definition():.1e}",
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(f"{text}\n", "utf-8")


def in_process(what: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what a process of its own measures."""
    options = [f"--words={arguments.words}", f"--threads={arguments.threads}", f"--measure={what}"]
    done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=True)
    numbers: dict[str, Any] = json.loads(done.stdout)
    return numbers


def measure(what: str, n_words: int) -> dict[str, Any]:
    """Return time, CPU time and the largest memory of one fit."""
    work, words = cell(n_words) if what == CELL else grid(n_words, "free" if what == FREE else "zero")
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return {"words": words, "wall": wall, "cpu": cpu, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}


def cell(n_words: int) -> tuple[Callable[[], object], int]:
    """Return the fit of one cell of words of four tokens, in the precision that adapters use."""
    x, y = numbers(n_words, WIDTHS[0], LARGEST), numbers(n_words, WIDTHS[1], LARGEST, seed=1)
    return lambda: t_lstsq(x, y, ridge=1.0, dtype=torch.float64), n_words


def grid(n_words: int, padding: str) -> tuple[Callable[[], object], int]:
    """Return the fit of an adapter to words whose numbers of tokens are spread evenly."""
    rng = torch.Generator().manual_seed(0)
    alphabet = "bcdfghjklmnpqrstvwxz"
    syllables = [left + vowel + right for left in alphabet for vowel in "aeiou" for right in alphabet]
    words = []
    for number in range(n_words):
        parts = [syllables[int(part)] for part in torch.randint(len(syllables), (12,), generator=rng)]
        words.append(["".join(parts[:4]), "".join(parts[4:8]), "".join(parts[8:]), f"{number}"])
    ours = [pieces(word, 1 + number % LARGEST) for number, word in enumerate(words)]
    theirs = [pieces(word, 1 + number // LARGEST % LARGEST) for number, word in enumerate(words)]
    config = FuseConfig(use_cache=False, padding=padding, leading_space="with", held_out=0.0)
    adapter = Fuse(config, source=space(ours, WIDTHS[0]), target=space(theirs, WIDTHS[1]))
    listed = ["".join(word) for word in words]

    def work() -> None:
        adapter.fit(listed)
        fitted = {quality.case: quality.n_words for quality in adapter.quality}
        # Each case learns from its own words and from some of others.
        if min(fitted.values()) < n_words // LARGEST**2 or len(fitted) != LARGEST**2:
            message = f"The words were to fill {LARGEST**2} cases and fill {fitted}."
            raise RuntimeError(message)

    return work, n_words


def pieces(word: list[str], count: int) -> list[str]:
    """Return a word in `count` pieces."""
    return [*word[: count - 1], "".join(word[count - 1 :])]


def space(words: list[list[str]], width: int) -> TokenizerSpace:
    """Return a space that reads each word in the pieces it is given in, with random embeddings."""
    marked = {("##" if place else "") + piece for word in words for place, piece in enumerate(word)}
    vocabulary = {piece: index for index, piece in enumerate(["[UNK]", "a", *sorted(marked - {"a"})])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return TokenizerSpace(tokenizer, numbers(len(vocabulary), width), name="toy", max_length=64, special_ids=())


def comparison(depth: int) -> str:
    """Return a row about the published way at a size that it can do."""
    x, y = numbers(2048, 256, depth), numbers(2048, 128, depth, seed=1)
    theirs, ours, published, fitted = [], [], None, None
    for _ in range(3):  # in turn, so that other work on the machine hits both
        published, spent = timed(lambda: by_circulant(x, y))
        theirs.append(spent)
        fitted, spent = timed(lambda: t_lstsq(x, y, ridge=1e-6, dtype=torch.float64))
        ours.append(spent)
    apart = float((published - fitted).norm() / published.norm())
    before, after = min(theirs), min(ours)
    return f"| {depth} | {before:.2f} | {after:.3f} | {before / after:.0f} | {apart:.1e} |"


def by_circulant(x: Tensor, y: Tensor) -> Tensor:
    """Return ``pinv(x) * y`` by the dense block-circulant matrix and its block-diagonal form."""
    rows, columns, depth = x.shape
    angles = torch.arange(depth)[:, None] * torch.arange(depth) * (-2j * torch.pi / depth)
    fourier = torch.exp(angles.to(torch.complex128)) / depth**0.5
    matrix = circulant(x).to(torch.complex128)
    if depth > 1:
        # Block by block: the full products would not fit into memory.
        blocks = matrix.view(depth, rows, depth, columns)
        blocks = torch.einsum("ks,sptq,lt->kplq", fourier, blocks, fourier.conj())
        matrix = blocks.reshape(depth * rows, depth * columns)
    inverses = [
        torch.linalg.pinv(matrix[k * rows : (k + 1) * rows, k * columns : (k + 1) * columns]) for k in range(depth)
    ]
    diagonal = torch.block_diag(*inverses).view(depth, columns, depth, rows)
    inverse = torch.einsum("sk,kqlp,tl->sqtp", fourier.conj(), diagonal, fourier).real[:, :, 0]
    tensor = inverse.permute(1, 2, 0).float()
    spread = circulant(tensor) @ torch.cat(list(y.unbind(-1)))
    return torch.stack(list(spread.chunk(depth)), dim=-1)


def circulant(x: Tensor) -> Tensor:
    """Return the block-circulant matrix, ``(p n, q n)``."""
    depth = x.shape[-1]
    return torch.cat([torch.cat([x[..., (s - k) % depth] for k in range(depth)], dim=1) for s in range(depth)])


def from_definition() -> float:
    """Return the largest difference of `t_lstsq` from ridge regression on the circulant matrix."""
    worst = 0.0
    for depth in range(1, 7):
        for observed in range(1, depth + 1):
            x, y = numbers(30, 7, depth).double(), numbers(30, 5, depth, seed=1).double()
            matrix, known = circulant(x)[: 30 * observed], torch.cat(list(y.unbind(-1)))[: 30 * observed]
            gram = matrix.T @ matrix + 0.1 * torch.eye(7 * depth, dtype=torch.float64)
            expected = torch.stack(list(torch.linalg.solve(gram, matrix.T @ known).chunk(depth)), dim=-1)
            worst = max(worst, float((t_lstsq(x, y, ridge=0.1, observed=observed) - expected).abs().max()))
    return worst


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Return random numbers in single precision."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Return an answer and the CPU time it took."""
    start = time.process_time()
    answer = work()
    return answer, time.process_time() - start


if __name__ == "__main__":
    main()
