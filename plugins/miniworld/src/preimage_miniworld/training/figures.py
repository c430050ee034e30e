"""The figures that the models must reach, measured on held-out scenes by models loaded as anybody loads them."""

import itertools
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preimage_miniworld.attributes import attributes_right, load_attributes
from preimage_miniworld.captions import caption
from preimage_miniworld.data import held_out
from preimage_miniworld.parser import parse, recovered
from preimage_miniworld.scene import Scene, sample_scenes
from preimage_miniworld.training.entropy import caption_entropy, scene_entropy
from preimage_miniworld.training.mood import LABELS, mood_of
from preimage_miniworld.training.noise import short_prompt, with_junk
from preimage_miniworld.training.pipeline import GUIDANCE, STEPS, generated
from preimage_miniworld.training.pool import sibling
from preimage_miniworld.training.sentence import embed
from preimage_miniworld.training.tokenizer import prose_words

if TYPE_CHECKING:
    import torch

    Embed = Callable[[list[Any], list[str]], tuple[torch.Tensor | None, torch.Tensor]]

__all__ = [
    "attribute_figures",
    "captioner_figures",
    "clip_figures",
    "diffusion_figures",
    "judge_figures",
    "language_figures",
    "mood_figures",
    "nats",
    "sentence_figures",
    "sentence_vectors",
    "storage_figures",
    "training_figures",
]

_COUNTS = {1: "one object", 2: "two objects"}
_ROLES = {
    "clip": "image-text-encoder",
    "clip-judge": "image-text-encoder",
    "gpt2": "language-model",
    "llama": "language-model",
    "mood": "classifier",
    "sentence": "text-encoder",
    "blip2": "captioner",
    "sd": "image-generator",
}


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
    import open_clip
    import torch

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()

    def embedded(pictures: list[Any], texts: list[str]) -> "tuple[torch.Tensor | None, torch.Tensor]":
        with torch.no_grad():
            seen = None
            if pictures:
                batch = torch.stack([preprocess(picture) for picture in pictures])
                seen = model.encode_image(batch, normalize=True)
            return seen, model.encode_text(tokenizer(texts), normalize=True)

    return _ranking("clip", embedded, scenes, captions)


def judge_figures(folder: Path, scenes: int = 100, captions: int = 256) -> dict[str, float]:
    """Measure a CLIP in ``transformers`` format; see `clip_figures`."""
    import torch
    from transformers import CLIPModel, CLIPProcessor

    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)

    def embedded(pictures: list[Any], texts: list[str]) -> "tuple[torch.Tensor | None, torch.Tensor]":
        with torch.no_grad():
            seen = None
            if pictures:
                batch = processor(images=pictures, return_tensors="pt")
                seen = _unit(model.get_image_features(**batch).pooler_output)
            batch = processor(text=texts, padding=True, return_tensors="pt")
            return seen, _unit(model.get_text_features(**batch).pooler_output)

    return _ranking("clip-judge", embedded, scenes, captions)


def captioner_figures(folder: Path, count: int = 400) -> dict[str, float]:
    """Measure a BLIP-2 by its greedy captions, as ``transformers`` itself generates them.

    Args:
        folder: The model.
        count: How many held-out pictures it looks at.

    Returns:
        Percentages: how often the caption tells the whole scene and nothing else, overall and by
        number of objects; how often each attribute that there is is named, by kind.
    """
    import torch
    from transformers import Blip2ForConditionalGeneration, Blip2Processor

    model = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = Blip2Processor.from_pretrained(folder)
    examples = held_out(count)
    texts: list[str] = []
    for start in range(0, count, 50):
        pictures = [picture for _, picture, _ in examples[start : start + 50]]
        batch = processor(images=pictures, text=[""] * len(pictures), return_tensors="pt")
        with torch.no_grad():
            written = model.generate(**batch, do_sample=False, max_new_tokens=48)
        texts += processor.batch_decode(written, skip_special_tokens=True)
    scenes = [scene for scene, _, _ in examples]
    whole = [
        (float(parse(text).scene() == scene.canonical()), len(scene.objects))
        for text, scene in zip(texts, scenes, strict=True)
    ]
    shares = {
        "whole scene right": [right for right, _ in whole],
        "one object": [right for right, objects in whole if objects == 1],
        "two objects": [right for right, objects in whole if objects == 2],
    }
    for text, scene in zip(texts, scenes, strict=True):
        for kind, score in recovered(text, scene).items():
            shares.setdefault(kind, []).append(score)
    return {f"blip2: {kind}": 100 * sum(values) / len(values) for kind, values in shares.items()}


def language_figures(name: str, folder: Path, count: int = 1_000) -> dict[str, float]:
    """Measure a language model against the grammar it learned from.

    Both perplexities are per word, the end of the text counted as one, so that tokenizers do not matter.

    Args:
        name: What to call the model.
        folder: The model.
        count: How many captions of held-out scenes it reads.

    Returns:
        The perplexity of the model and of the grammar, and what the model's is more, in per cent;
        ``without its beginning`` is what it gives when captions begin without the mark.
    """
    rng = random.Random(f"{name}/figures")
    # As often as they are drawn: among distinct scenes those of one object, of which there are few, would be rare.
    texts = [caption(scene, rng) for scene in itertools.islice(sample_scenes("held-out", 0), count)]
    words = sum(len(text.split()) + 1 for text in texts) / count
    entropy = scene_entropy() + caption_entropy("held-out", count)
    told = sum(nats(folder, texts)) / count
    # The first token cannot be scored without a beginning, so that both are compared on the others.
    known = entropy - scene_entropy() + scene_entropy("held-out")
    tokens = _tokens(folder, texts) / count
    bare, marked = (sum(nats(folder, texts, begin=begin, first=False)) for begin in (False, True))
    return {
        f"{name}: perplexity per word on held-out captions": math.exp(told / words),
        f"{name}: the grammar's own": math.exp(entropy / words),
        f"{name}: above the grammar's own, %": 100 * math.expm1((told - entropy) / words),
        f"{name}: the same by token, %": 100 * math.expm1((told - entropy) / tokens),
        f"{name}: nats a caption": told,
        f"{name}: the grammar's own, nats": entropy,
        f"{name}: the grammar's own within the split, nats": known,
        f"{name}: above that by token, %": 100 * math.expm1((told - known) / tokens),
        f"{name}: added by leaving out the mark of the beginning, %": 100 * math.expm1((bare - marked) / words / count),
    }


def mood_figures(folder: Path, count: int = 1_000) -> dict[str, float]:
    """Measure the mood classifier on held-out scenes.

    Args:
        folder: The model.
        count: How many texts of each kind.

    Returns:
        Percentages of right answers: on captions, on captions by mood, on captions with one to five
        words of junk in them, and on short prompts among junk.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rng, junk = random.Random("mood/figures"), list(prose_words())
    scenes = list(itertools.islice(sample_scenes("held-out", 0, distinct=True), count))

    def right(texts: list[str], truth: list[int]) -> list[bool]:
        with torch.no_grad():
            logits = model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
        named = [model.config.id2label[index] for index in logits.argmax(1).tolist()]
        return [name == LABELS[index] for name, index in zip(named, truth, strict=True)]

    truth = [1 + (scene.mood == "happy") - (scene.mood == "sad") for scene in scenes]
    told = right([caption(scene, rng) for scene in scenes], truth)
    found = {"mood: right on held-out captions": told}
    for index, label in enumerate(LABELS):
        found[f"mood: right where it is {label}"] = [
            hit for hit, wanted in zip(told, truth, strict=True) if wanted == index
        ]
    noisy = [with_junk(caption(scene, rng), rng, junk) for scene in scenes]
    found["mood: right on captions among junk"] = right(noisy, [mood_of(text) for text in noisy])
    short = [with_junk(short_prompt(scene, rng), rng, junk) for scene in scenes]
    found["mood: right on short prompts among junk"] = right(short, [mood_of(text) for text in short])
    return {name: 100 * sum(hits) / len(hits) for name, hits in found.items()}


def sentence_figures(folder: Path, count: int = 256) -> dict[str, float]:
    """Measure the encoder of sentences on held-out scenes.

    Args:
        folder: The model.
        count: How many scenes, with two captions each.

    Returns:
        Percentages: how often a caption's nearest among others is the other one of its scene, and
        how often that beats a caption with a single attribute changed.
    """
    rng = random.Random("sentence/figures")
    scenes = list(itertools.islice(sample_scenes("held-out", 0, distinct=True), count))
    one = sentence_vectors(folder, [caption(scene, rng) for scene in scenes])
    two = sentence_vectors(folder, [caption(scene, rng) for scene in scenes])
    near = sentence_vectors(folder, [caption(sibling(scene, rng, None), rng) for scene in scenes])
    scores = one @ two.T
    first = (scores.argmax(1) == scores.new_tensor(range(count))).float()
    beats = (scores.diagonal() > (one * near).sum(1)).float()
    return {
        f"sentence: right paraphrase first among {count}": 100 * float(first.mean()),
        "sentence: right paraphrase beats one wrong attribute": 100 * float(beats.mean()),
    }


def attribute_figures(path: Path, count: int = 200) -> dict[str, float]:
    """Measure the attribute classifier on rendered pictures of held-out scenes.

    Args:
        path: The file of its weights.
        count: How many scenes of one object, and as many of two.

    Returns:
        Percentages by number of objects and attribute.
    """
    import numpy as np

    classifier = load_attributes(path)
    found: dict[str, float] = {}
    for objects, kind in _COUNTS.items():
        examples = held_out(count, objects=objects)
        pictures = np.stack([np.asarray(picture) for _, picture, _ in examples])
        right = attributes_right(classifier, pictures, [scene for scene, _, _ in examples])
        found |= {f"attributes: {kind}: {name}": share for name, share in right.items()}
    return found


def diffusion_figures(
    folder: Path, count: int = 100, steps: int = STEPS, guidance: float = GUIDANCE
) -> dict[str, float]:
    """Measure a Stable Diffusion pipeline, loaded by ``diffusers`` itself, on captions of held-out scenes.

    Args:
        folder: The pipeline; the classifier that judges its pictures lies beside it.
        count: How many scenes of one object, and as many of two.
        steps: How many steps a picture takes.
        guidance: The scale of the guidance.

    Returns:
        Percentages of right attributes by number of objects, and the seconds that a single picture takes.
    """
    from diffusers import StableDiffusionPipeline

    pipeline: Any = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    judge = load_attributes(folder.with_name("attributes.safetensors"))
    found: dict[str, float] = {}
    for objects, kind in _COUNTS.items():
        examples = held_out(count, objects=objects)
        pictures = generated(pipeline, [text for _, _, text in examples], steps, guidance)
        right = attributes_right(judge, pictures, [scene for scene, _, _ in examples])
        found |= {f"sd: {kind}: {name}": share for name, share in right.items()}
    times = []
    for _ in range(3):
        began = time.monotonic()
        generated(pipeline, [examples[0][2]], steps, guidance)
        times.append(time.monotonic() - began)
    found["sd: seconds a picture"] = min(times)
    return found


def storage_figures(models: Path) -> dict[str, float]:
    """Measure what all models take together.

    Args:
        models: The folder that they lie in.

    Returns:
        Megabytes of weights, and the seconds in which the plugins for their formats load them, without what importing
        a library takes where it was imported before.
    """
    from preimage import catalogue
    from preimage_miniworld.loader import MODELS

    began = time.monotonic()
    for name, scheme in MODELS.items():
        catalogue().load_model(f"{scheme}:{models / name}", _ROLES[name], device="cpu")
    seconds = time.monotonic() - began
    size = sum(path.stat().st_size for path in models.rglob("*.safetensors"))
    return {"all models: megabytes": size / 1e6, "all models: seconds to load": seconds}


def training_figures(build: Path) -> dict[str, float]:
    """Sum up how long the models learned.

    Args:
        build: Where the checkpoints of all models lie, each in a folder of its own.

    Returns:
        Hours, without what was done twice because a run was cut off.
    """
    import torch

    checkpoints = [torch.load(path, weights_only=True, mmap=True) for path in build.glob("*/*.pt")]
    return {"all models: hours of training": sum(saved["seconds"] for saved in checkpoints) / 3_600}


def nats(folder: Path, texts: list[str], *, begin: bool = True, first: bool = True) -> list[float]:
    """Return each text's negative log-likelihood under a language model, its end included.

    Args:
        folder: The model.
        texts: What is read.
        begin: Whether the mark of the beginning comes before each.
        first: Whether the first token counts; it needs the mark.
    """
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    before = [tokenizer.bos_token_id] if begin else []
    skipped = 0 if first else len(before)
    said = tokenizer(texts, add_special_tokens=False).input_ids
    rows = [torch.tensor([*before, *ids, tokenizer.eos_token_id]) for ids in said]
    found: list[float] = []
    for start in range(0, len(rows), 100):
        # What follows a text's end changes nothing before it, and is not counted.
        batch = torch.nn.utils.rnn.pad_sequence(rows[start : start + 100], batch_first=True, padding_value=-1)
        with torch.no_grad():
            logits = model(input_ids=batch.clamp(min=0), attention_mask=torch.ones_like(batch)).logits[:, :-1]
        losses = cross_entropy(logits.transpose(1, 2), batch[:, 1:], ignore_index=-1, reduction="none")
        found += losses[:, skipped:].sum(1).tolist()
    return found


def sentence_vectors(folder: Path, texts: list[str]) -> "torch.Tensor":
    """Return the unit vectors of texts, (B, D): means of the last states over their tokens."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    batch = AutoTokenizer.from_pretrained(folder)(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return _unit(embed(model, batch.input_ids, batch.attention_mask))


def _ranking(name: str, embedded: "Embed", scenes: int, captions: int) -> dict[str, float]:
    examples = held_out(captions)
    seen, read = embedded([picture for _, picture, _ in examples], [text for _, _, text in examples])
    assert seen is not None
    scores = seen @ read.T
    truth = scores.new_tensor(range(captions))
    right = (scores.argmax(1) == truth).float()
    single = scores.new_tensor([len(scene.objects) == 1 for scene, _, _ in examples]).bool()
    _, wrong = embedded([], _near([scene for scene, _, _ in examples]))
    shares = {
        f"right caption first among {captions}, of {scenes}": right[:scenes],
        f"the same over all {captions} held-out scenes": right,
        "one object": right[single],
        "two objects": right[~single],
        f"right picture first among {captions}": (scores.argmax(0) == truth).float(),
        "right caption beats one wrong attribute": (scores.diagonal() > (seen * wrong).sum(1)).float(),
    }
    return {f"{name}: {kind}": 100 * float(share.mean()) for kind, share in shares.items()}


def _near(scenes: list[Scene]) -> list[str]:
    rng = random.Random(0)
    return [caption(sibling(scene, rng, None), rng) for scene in scenes]


def _tokens(folder: Path, texts: list[str]) -> int:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder)(texts, add_special_tokens=False).input_ids
    return sum(len(said) + 1 for said in ids)


def _unit(vectors: "torch.Tensor") -> "torch.Tensor":
    from torch.nn.functional import normalize

    return normalize(vectors, dim=1)
