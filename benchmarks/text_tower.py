"""The time to encode the candidates of one search step: open_clip's padded pass, real lengths, shared beginnings.

All three run the same random weights on the same candidates, in turn, on one thread; of the rounds the fastest
counts, in CPU seconds. They must agree before a time is printed. ::

    python benchmarks/text_tower.py --width 256 --layers 4
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from preimage_open_clip.config import OpenClipConfig
from preimage_open_clip.loader import load

TOLERANCE = 1e-5
VISION = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}


def main() -> None:
    """Measure one shape and print one row per way."""
    options = _options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        _save_random_model(Path(folder), options.width, options.layers)
        padded_model = open_clip.create_model(f"local-dir:{folder}").eval()
        real_length = load(OpenClipConfig(share_prefixes=False), name=folder)
        shared = load(OpenClipConfig(), name=folder)
        ids = _candidates(shared.space.allowed, options.candidates, options.length)
        rows = SimpleTokenizer()(["" for _ in range(len(ids))])
        end = rows[0, 1].item()
        rows[:, 1 : 1 + options.length], rows[:, 1 + options.length] = ids, end

        @torch.no_grad()
        def padded() -> Tensor:
            return functional.normalize(padded_model.encode_text(rows), dim=-1)

        ways: dict[str, Callable[[], Tensor]] = {
            "open_clip, padded to 77": padded,
            "real length": lambda: real_length.encode_tokens(ids),
            "real length, shared beginnings": lambda: shared.encode_tokens(ids),
        }
        seconds, vectors = _race(ways, options.rounds)

    expected = vectors["open_clip, padded to 77"]
    slowest = seconds["open_clip, padded to 77"]
    print(
        f"{options.candidates} candidates of {options.length} tokens that differ in one; "
        f"width {options.width}, {options.layers} layers; fastest of {options.rounds} rounds\n"
    )
    print("| way | CPU seconds | times as fast | largest difference |\n| --- | --- | --- | --- |")
    for way, time_taken in seconds.items():
        difference = (vectors[way] - expected).abs().max().item()
        if difference > TOLERANCE:
            message = f"{way} differs from open_clip by {difference:.1e}, more than {TOLERANCE}: no time counts."
            raise SystemExit(message)
        print(f"| {way} | {time_taken:.3f} | {slowest / time_taken:.1f} | {difference:.1e} |")


def _race(ways: dict[str, Callable[[], Tensor]], rounds: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Return the fewest CPU seconds and the vectors of each way, run in turn."""
    seconds = dict.fromkeys(ways, float("inf"))
    vectors = {}
    for _ in range(rounds):
        for way, encode in ways.items():
            start = time.process_time()
            vectors[way] = encode()
            seconds[way] = min(seconds[way], time.process_time() - start)
    return seconds, vectors


def _candidates(allowed: Tensor, count: int, length: int) -> Tensor:
    """Return token ids ``(count, length)``: one prompt with a random token put at a random place in each row."""
    generator = torch.Generator().manual_seed(0)
    tokens = allowed.nonzero().flatten()
    drawn = tokens[torch.randint(len(tokens), (length + count,), generator=generator)]
    ids = drawn[:length].repeat(count, 1)
    ids[torch.arange(count), torch.randint(length, (count,), generator=generator)] = drawn[length:]
    return ids


def _save_random_model(folder: Path, width: int, layers: int) -> None:
    """Write a CLIP with random weights and the real vocabulary in open_clip's format."""
    text = {"context_length": 77, "vocab_size": 49408, "width": width, "heads": width // 64, "layers": layers}
    parts = {"embed_dim": width, "vision_cfg": VISION, "text_cfg": text}
    saved = {"model_cfg": parts, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(saved), "utf-8")
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Times the ways to encode the candidates of one search step.")
    parser.add_argument("--width", type=int, default=256, help="of the text tower, a multiple of 64")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--candidates", type=int, default=512)
    parser.add_argument("--length", type=int, default=16, help="tokens of a candidate")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
