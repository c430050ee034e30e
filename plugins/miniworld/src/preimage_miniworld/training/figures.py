"""The figures that the models must reach, measured on held-out scenes."""

from pathlib import Path
from typing import TYPE_CHECKING

from preimage_miniworld.data import held_out

if TYPE_CHECKING:
    import torch

__all__ = ["clip_figures", "table"]


def clip_figures(folder: Path, scenes: int = 100, captions: int = 256) -> dict[str, float]:
    """Measure a CLIP in ``open_clip`` format, loaded by ``open_clip`` itself.

    Args:
        folder: The model.
        scenes: How many held-out pictures are ranked.
        captions: Among how many held-out captions of distinct scenes, the right one included.

    Returns:
        Percentages by name: how often the right caption comes first, overall and by number of
        objects; how often the right picture does; how often the right caption beats one with a
        single attribute changed.
    """
    import random

    from preimage_miniworld.captions import caption
    from preimage_miniworld.training.pool import sibling

    examples = held_out(captions)
    seen, read = _embed(folder, [e[1] for e in examples], [e[2] for e in examples])
    scores = seen @ read.T
    truth = range(captions)
    right = (scores.argmax(1) == scores.new_tensor(truth)).float()
    single = scores.new_tensor([len(scene.objects) == 1 for scene, _, _ in examples]).bool()
    rng = random.Random(0)
    near = [caption(sibling(scene, rng, None), rng) for scene, _, _ in examples]
    _, wrong = _embed(folder, [], near)
    own = scores[truth, truth]
    return {
        "clip: right caption first among 256, of 100": 100 * float(right[:scenes].mean()),
        "clip: the same over all 256 held-out scenes": 100 * float(right.mean()),
        "clip: one object": 100 * float(right[single].mean()),
        "clip: two objects": 100 * float(right[~single].mean()),
        "clip: right picture first among 256": 100
        * float((scores.argmax(0) == scores.new_tensor(truth)).float().mean()),
        "clip: right caption beats one wrong attribute": 100 * float((own > (seen * wrong).sum(1)).float().mean()),
    }


def table(figures: dict[str, float]) -> str:
    """Lay figures out as lines of name and number."""
    width = max(map(len, figures))
    return "\n".join(f"{name:<{width}}  {value:6.1f}" for name, value in figures.items())


def _embed(folder: Path, pictures: list, texts: list[str]) -> "tuple[torch.Tensor | None, torch.Tensor]":
    import open_clip
    import torch

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        seen = None
        if pictures:
            batch = torch.stack([preprocess(picture) for picture in pictures])
            seen = model.encode_image(batch, normalize=True)
        return seen, model.encode_text(tokenizer(texts), normalize=True)
