"""The mini world's BLIP-2: it looks at a picture and says in a caption all that is there.

It learns as the large one did, in two parts. First it learns to look: vision transformer and
Q-Former, with classifiers of attributes instead of texts, which are left out of what is saved. Each
query is asked for one attribute, and the patches where an object stands for those of the object.
Then, with the vision transformer as it is by then, Q-Former and language model learn to speak. The
language model starts as the mini world's GPT-2.
"""

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from preimage_miniworld.captions import caption
from preimage_miniworld.labels import CLASSES
from preimage_miniworld.parser import parse
from preimage_miniworld.render import IMAGE_SIZE
from preimage_miniworld.scene import COLOURS, Scene
from preimage_miniworld.training.contrast import altered_pictures, draw_pairs
from preimage_miniworld.training.judge import waves
from preimage_miniworld.training.pool import load_pool, paired_scenes
from preimage_miniworld.training.saving import save_model
from preimage_miniworld.training.tokenizer import prose_words
from preimage_miniworld.training.trainer import Schedule, train

if TYPE_CHECKING:
    import torch
    from transformers import Blip2ForConditionalGeneration, PreTrainedTokenizerBase

__all__ = ["CaptionerTraining", "train_captioner"]

_MEAN, _STD = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]
_PATCH = 8
_SIDE = IMAGE_SIZE // _PATCH
_IGNORED = -100
# Of the attributes, as `CLASSES` counts them, the first five are the first object's, the next five the second's.
_OWN = 5
# Rows and columns of the patches that an object covers for certain: by axis, then by object.
_PLACES = (
    ((range(3, 5), range(3, 5)), (range(3, 5), range(3, 5))),
    ((range(3, 5), range(1, 3)), (range(3, 5), range(5, 7))),
    ((range(1, 3), range(3, 5)), (range(5, 7), range(3, 5))),
)


@frozen(kw_only=True)
class CaptionerTraining(Schedule):
    """The settings of one training run; ``steps`` and ``batch`` are those of looking, the others say so."""

    pictures: int = 40_000
    texts: int = 8
    captions: int = 4
    width: int = 128
    layers: int = 4
    query_layers: int = 2
    heads: int = 4
    steps: int = 2_800
    speaking: int = 2_600
    batch: int = 128
    speaking_batch: int = 64
    learning_rate: float = 1.5e-3
    helper_weight: float = 1.0


def train_captioner(folder: Path, build: Path, settings: CaptionerTraining) -> None:
    """Train the model, or take up a run that was cut off, and save it.

    Args:
        folder: Where the finished model goes; the GPT-2 that it starts with lies beside it.
        build: Where the checkpoints are kept; the pool is the first CLIP's, beside it. The model as
            it is so far goes to ``current`` in it.
        settings: What to do.
    """
    import torch

    build.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    tokenizer = _tokenizer(folder.parent / "gpt2")
    pool = load_pool(
        build.parent / "clip" / "pool", settings.pictures, settings.texts, settings.seed, list(prose_words())
    )
    model = _model(settings, folder.parent / "gpt2", tokenizer)
    helpers = torch.nn.ModuleDict(
        {
            "object": torch.nn.Linear(settings.width, sum(CLASSES[:_OWN])),
            "whole": torch.nn.Linear(settings.width, sum(CLASSES[2 * _OWN :])),
            "queries": torch.nn.ModuleList(torch.nn.Linear(settings.width, count) for count in CLASSES),
        }
    )
    modules = {"model": model, "helpers": helpers}
    places = _places()

    def draw(size: int, generator: "torch.Generator") -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        chosen = draw_pairs(len(pool.images), size, generator)
        pictures = altered_pictures(pool, chosen, _MEAN, _STD, generator)
        return chosen, pictures, torch.from_numpy(pool.labels[chosen.numpy()])

    def looking(generator: "torch.Generator") -> "tuple[torch.Tensor, dict[str, float]]":
        _, pictures, labels = draw(settings.batch, generator)
        seen = model.vision_model(pixel_values=pictures).last_hidden_state
        objects, whole = _seen_loss(seen, helpers, places, labels)
        asked, right = _asked_loss(_answers(model, seen), helpers, labels)
        parts = {"objects": objects, "whole": whole, "asked": asked, "right": right}
        return objects + whole + asked, {name: float(value.detach()) for name, value in parts.items()}

    def speaking(generator: "torch.Generator") -> "tuple[torch.Tensor, dict[str, float]]":
        chosen, pictures, labels = draw(settings.speaking_batch, generator)
        with torch.no_grad():
            seen = model.vision_model(pixel_values=pictures).last_hidden_state
        answers = _answers(model, seen)
        asked, right = _asked_loss(answers, helpers, labels)
        variant = torch.randint(0, rows.shape[1], chosen.shape, generator=generator)
        said = _said_loss(model, answers, rows[chosen, variant].long())
        parts = {"nats a token": said, "asked": asked, "right": right}
        return said + settings.helper_weight * asked, {name: float(value.detach()) for name, value in parts.items()}

    def on_save() -> None:
        _save(model, tokenizer, build, build / "current")

    train("blip2 looks", modules, looking, settings, build / "looking.pt", on_save)
    rows = _rows(settings, tokenizer)
    second = evolve(settings, steps=settings.speaking, seed=settings.seed + 1)
    train("blip2 speaks", modules, speaking, second, build / "speaking.pt", on_save)
    _save(model, tokenizer, build, folder)


def _answers(model: Any, seen: "torch.Tensor") -> "torch.Tensor":
    """Return what the queries find in the patches, (B, Q, D)."""
    queries = model.query_tokens.expand(len(seen), -1, -1)
    return model.qformer(query_embeds=queries, encoder_hidden_states=seen).last_hidden_state


def _seen_loss(
    seen: "torch.Tensor", helpers: Any, places: "torch.Tensor", labels: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return how badly patches name their object, and the first token the arrangement and the background."""
    import torch
    from torch.nn.functional import cross_entropy

    axis = labels[:, 2 * _OWN]
    spots = places[axis] @ seen[:, 1:]
    own = labels[:, : 2 * _OWN].view(-1, 2, _OWN)
    # A scene of one object shows no second one to be named.
    alone = (own[:, 1, 0] == len(COLOURS))[:, None] & torch.tensor([False, True])
    own = own.masked_fill(alone[..., None], _IGNORED)
    named = helpers["object"](spots).split(CLASSES[:_OWN], 2)
    objects = [
        cross_entropy(guess.flatten(0, 1), own[..., kind].flatten(), ignore_index=_IGNORED)
        for kind, guess in enumerate(named)
    ]
    wholes = helpers["whole"](seen[:, 0]).split(CLASSES[2 * _OWN :], 1)
    whole = [cross_entropy(guess, truth) for guess, truth in zip(wholes, labels[:, 2 * _OWN :].T, strict=True)]
    return torch.stack(objects).mean(), torch.stack(whole).mean()


def _asked_loss(answers: "torch.Tensor", helpers: Any, labels: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Return how badly each query answers for its attribute, and in how many pictures all are right."""
    import torch
    from torch.nn.functional import cross_entropy

    guesses = [ask(answer) for ask, answer in zip(helpers["queries"], answers.unbind(1), strict=True)]
    losses = [cross_entropy(guess, truth) for guess, truth in zip(guesses, labels.T, strict=True)]
    right = torch.stack([guess.argmax(1) for guess in guesses], 1) == labels
    return torch.stack(losses).mean(), right.all(1).float().mean()


def _said_loss(model: Any, answers: "torch.Tensor", rows: "torch.Tensor") -> "torch.Tensor":
    """Return the loss of captions, (B, L) between their marks, after what the queries found."""
    import torch
    from torch.nn.functional import cross_entropy

    rows = rows[:, : int((rows != _IGNORED).sum(1).max())]
    prefix = model.language_projection(answers)
    embedded = model.get_input_embeddings()(rows[:, :-1].clamp(min=0))
    logits = model.language_model(inputs_embeds=torch.cat([prefix, embedded], 1)).logits[:, prefix.shape[1] :]
    return cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), ignore_index=_IGNORED)


def _places() -> "torch.Tensor":
    """Return the mean over the patches where each object stands, (axes, 2, patches)."""
    import torch

    places = torch.zeros(len(_PLACES), 2, _SIDE, _SIDE)
    for axis, pair in enumerate(_PLACES):
        for index, (lines, columns) in enumerate(pair):
            places[axis, index, lines.start : lines.stop, columns.start : columns.stop] = 1
    return places.flatten(2) / places.flatten(2).sum(2, keepdim=True)


def _tokenizer(gpt2: Path) -> "PreTrainedTokenizerBase":
    """Return GPT-2's tokenizer, which puts the mark of a beginning before each text and knows a picture's place."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer.from_file(str(gpt2 / "tokenizer.json"))
    mark = "<|endoftext|>"
    inner.post_processor = processors.TemplateProcessing(
        single=f"{mark} $A", special_tokens=[(mark, inner.token_to_id(mark))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=mark, eos_token=mark, unk_token=mark, pad_token=mark,
        clean_up_tokenization_spaces=False, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return tokenizer


def _model(
    settings: CaptionerTraining, gpt2: Path, tokenizer: "PreTrainedTokenizerBase"
) -> "Blip2ForConditionalGeneration":
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        GPT2LMHeadModel,
    )

    language = GPT2LMHeadModel.from_pretrained(gpt2)
    language.resize_token_embeddings(len(tokenizer))
    vision = Blip2VisionConfig(
        hidden_size=settings.width, intermediate_size=2 * settings.width, num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads, image_size=IMAGE_SIZE, patch_size=_PATCH, initializer_range=0.02,
    )  # fmt: skip
    qformer = Blip2QFormerConfig(
        hidden_size=settings.width, intermediate_size=2 * settings.width, num_hidden_layers=settings.query_layers,
        num_attention_heads=settings.heads, encoder_hidden_size=settings.width, cross_attention_frequency=1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, vocab_size=1, max_position_embeddings=1,
    )  # fmt: skip
    place: Any = tokenizer.convert_tokens_to_ids("<image>")
    config = Blip2Config(
        vision_config=vision, qformer_config=qformer, text_config=language.config, num_query_tokens=len(CLASSES),
        image_token_index=place,
    )  # fmt: skip
    model = Blip2ForConditionalGeneration(config)
    model.language_model.load_state_dict(language.state_dict())
    with torch.no_grad():
        # Equal queries would ask for equal things, and zeros have no direction to be normalised to.
        model.query_tokens.normal_()
        # Waves in both directions tell the patches apart from the first step; noise would have to learn to.
        model.vision_model.embeddings.position_embedding[:, 1:] = 0.2 * waves(_SIDE, settings.width)
    return model


def _rows(settings: CaptionerTraining, tokenizer: "PreTrainedTokenizerBase") -> "torch.Tensor":
    """Return ids of captions of the pool's scenes between their marks, (N, T, L), filled up with what is ignored."""
    import torch

    rng = random.Random(f"blip2/{settings.seed}")
    scenes = paired_scenes(settings.pictures, settings.seed)
    texts = [_plain_order(scene, rng) for scene in scenes for _ in range(settings.captions)]
    said = tokenizer(texts, add_special_tokens=False).input_ids
    rows = torch.full((len(texts), 2 + max(map(len, said))), _IGNORED, dtype=torch.int16)
    for row, ids in zip(rows, said, strict=True):
        row[: len(ids) + 2] = torch.tensor([tokenizer.bos_token_id, *ids, tokenizer.eos_token_id], dtype=torch.int16)
    return rows.view(len(scenes), settings.captions, -1)


def _plain_order(scene: Scene, rng: random.Random) -> str:
    """Draw a caption that begins with the object with a face, or else with the left or the upper one.

    So the picture alone says which object is named first, and where it stands follows from that.
    """
    while True:
        text = caption(scene, rng)
        if scene.mood != "none" or parse(text).relation == scene.canonical().relation:
            return text


def _save(
    model: "Blip2ForConditionalGeneration", tokenizer: "PreTrainedTokenizerBase", build: Path, folder: Path
) -> None:
    from transformers import Blip2Processor, BlipImageProcessor

    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    pictures = BlipImageProcessor(size=size, image_mean=_MEAN, image_std=_STD)
    # The processor leaves its name in the tokenizer, so it comes first.
    Blip2Processor(pictures, tokenizer, num_query_tokens=len(CLASSES)).save_pretrained(folder)
    tokenizer.save_pretrained(build / "tokenizer")
    save_model(model, build / "tokenizer", folder)
