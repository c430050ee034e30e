"""What a recovered prompt is worth: which measures there are, and what they are called.

`MeasureOptions` names the models and distances; what it does not name is not measured. `measure` puts a number to each
for one prompt; `measures_of` says for a table what these numbers are. A distance that has another name for one less
itself, such as SSIM, is reported under that name, and higher is better. Where the true prompt is known, it is measured
like the others, under keys with ``truth:`` before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs
from attrs.validators import deep_iterable, ge, instance_of, matches_re, optional

from preimage.errors import AssemblyError

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue
    from preimage.api import Component
    from preimage.study.images import StudyImage
    from preimage.study.measuring import Measured

__all__ = ["COSTS", "Measure", "MeasureOptions", "check", "distances_of", "measure", "measures_of"]

DISTANCES = ("token-f1", "exact-match", "edit-distance", "ssim", "kid", "fid")

OF_TRUTH = "truth:"
"""What the key of a number begins with that is not the recovered prompt's but the true one's."""

ROLES = {
    "similarity": "image-text-encoder",
    "held_out": "image-text-encoder",
    "image_encoder": "image-text-encoder",
    "text_encoder": "text-encoder",
    "language_model": "language-model",
    "generator": "image-generator",
}
"""The options that name models, and of which role each has to be."""

SEEDS = {
    "shared": "the same seeds for every prompt of every picture",
    "fresh": "seeds of the picture's own",
    "true-prompt": "on the shared seeds, against what the true prompt makes of the same seed",
}
"""The sets of regenerated pictures that a measure of pictures is taken on."""


def _model(help_text: str) -> Any:
    return attrs.field(default=None, validator=optional(instance_of(str)), metadata={"help": help_text})


def _several(values: str | Iterable[str]) -> tuple[str, ...]:
    """Return a tuple of texts; a single text is one of them, not a row of letters."""
    return (values,) if isinstance(values, str) else tuple(values)


@attrs.frozen(kw_only=True)
class MeasureOptions:
    """The models and distances by which a study measures prompts; what is None is not measured.

    >>> MeasureOptions(held_out="miniworld:clip-judge").picture_encoder
    'miniworld:clip-judge'
    """

    similarity: str | None = _model("The encoder that the searches optimise, for the similarity of prompt and picture.")
    held_out: str | None = _model("An encoder that no search has seen, for the same similarity.")
    text_encoder: str | None = _model("An encoder of sentences, for the similarity to the true prompt.")
    language_model: str | None = _model("A language model that no search has seen, for readability.")
    generator: str | None = _model("An image generator, to make pictures from the prompts; they are what it is about.")
    generator_options: tuple[str, ...] = attrs.field(
        default=(),
        converter=_several,
        validator=deep_iterable(matches_re(r"\w+=.*")),
        metadata={"help": "Options of the generator's loader: steps=25,guidance=7.5."},
    )
    image_encoder: str | None = _model(
        "The encoder by which regenerated pictures are compared; the held-out one, or else the optimised one."
    )
    n_pictures: int = attrs.field(
        default=4,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Pictures made from each prompt on the shared seeds, and as many on fresh ones."},
    )
    distances: tuple[str, ...] = attrs.field(
        default=DISTANCES,
        converter=_several,
        validator=deep_iterable(instance_of(str)),
        metadata={
            "help": "Distances of texts, to the true prompt; of pictures, between target and regenerated ones; and of "
            "sets of pictures, for each method as a whole."
        },
    )
    device: str | None = _model("Where the models run; the accelerator where there is one.")

    @property
    def loading(self) -> dict[str, str]:
        """The options of the generator's loader, by name.

        >>> MeasureOptions(generator_options="steps=25").loading
        {'steps': '25'}
        """
        return dict(option.split("=", 1) for option in self.generator_options)

    @property
    def picture_encoder(self) -> str | None:
        """The encoder by which regenerated pictures are compared."""
        return self.image_encoder or self.held_out or self.similarity


@attrs.frozen
class Measure:
    """What a column of numbers is."""

    name: str
    """The key in `Record.measures`."""
    title: str
    higher_is_better: bool
    group: Literal["objective", "text", "readability", "pictures", "cost"]
    meaning: str
    """A sentence that ends without a full stop."""
    geometric: bool = False
    """Averaged by its logarithm, because it spans orders of magnitude."""

    @property
    def spoken(self) -> str:
        """The title inside a sentence.

        >>> [Measure("x", title, True, "text", "").spoken for title in ("Token F1", "SSIM, shared")]
        ['token F1', 'SSIM, shared']
        """
        return self.title if self.title[:2].isupper() else self.title[:1].lower() + self.title[1:]


COSTS = (
    Measure("candidates", "Candidates", False, "cost", "prompts scored"),
    Measure("passes", "Passes", False, "cost", "rows that went forward and backward through a model"),
    Measure("seconds", "Seconds", False, "cost", "time of the search, without measuring"),
)
"""What is known of every run."""


def measure(text: str, image: StudyImage, options: MeasureOptions, catalogue: Catalogue, *, seed: int) -> Measured:
    """Return all measures of a prompt that was recovered for a picture, with the pictures that it makes.

    Arguments:
        text: the prompt.
        image: the picture it was recovered for.
        options: which models and distances.
        catalogue: where they are looked up.
        seed: of the run; the fresh seeds depend on it and on the picture.

    Raises:
        UnknownNameError: a model or distance is not installed.
        InputError: the picture cannot be read.
    """
    from preimage.study.measuring import measured

    return measured(text, image, options, catalogue, seed)


def check(options: MeasureOptions, catalogue: Catalogue) -> None:
    """Raise where something that is to be measured cannot be, before anything has been run; imports no model.

    Raises:
        UnknownNameError: a loader or a distance is not installed.
        AssemblyError: a loader has no models of the role, or a distance needs a model that is not named.
    """
    for name, role in ROLES.items():
        reference = getattr(options, name)
        if reference is not None:
            loader, _, _ = reference.partition(":")
            roles = catalogue.describe("model", loader).component.trait("role")
            if roles and role not in roles:
                message = (
                    f"The measures name {reference!r} as {name}, which has to be of the role {role}, but the loader "
                    f"{loader!r} has {', '.join(roles)}: name another model, or leave {name} out."
                )
                raise AssemblyError(message)
    for domain in ("text", "image", "image-set"):
        distances_of(domain, options, catalogue)


def distances_of(domain: str, options: MeasureOptions, catalogue: Catalogue) -> dict[str, str | None]:
    """Return the distances of a domain that can be measured, each with the reference of the model that it needs.

    Distances of pictures are left out where no generator makes any.

    Raises:
        UnknownNameError: a distance is not installed.
        AssemblyError: a distance needs a model that the options do not name.
    """
    found: dict[str, str | None] = {}
    for name in options.distances:
        component = catalogue.describe("distance", name).component
        domains = component.trait("domain") or (catalogue.load("distance", name).domain,)
        if domain not in domains or (domain != "text" and options.generator is None):
            continue
        role = (*component.trait("role"), None)[0]
        models = {None: None, "text-encoder": options.text_encoder, "image-text-encoder": options.picture_encoder}
        if role is not None and models.get(role) is None:
            option = {"text-encoder": "text_encoder", "image-text-encoder": "image_encoder"}.get(role, "distances")
            message = (
                f"The distance {name!r} needs a model of the role {role}, and the measures name none: set {option}, "
                f"or leave {name} out of the distances."
            )
            raise AssemblyError(message)
        found[name] = models[role]
    return found


def measures_of(options: MeasureOptions, catalogue: Catalogue) -> tuple[Measure, ...]:
    """Return what the numbers of a study's records are, in the order of a table.

    Raises:
        UnknownNameError: a distance that was measured is not installed.
    """
    found = [Measure("loss", "Loss", False, "objective", "the recipe's own objective; recipes may differ in it")]
    if options.similarity:
        meaning = f"cosine of prompt and picture by {options.similarity}, which the searches optimise"
        found.append(Measure("similarity", "Similarity", True, "objective", meaning))
    if options.held_out:
        meaning = f"cosine of prompt and picture by {options.held_out}, which no search has seen"
        found.append(Measure("held-out-similarity", "Held-out similarity", True, "objective", meaning))
    if options.text_encoder:
        meaning = f"cosine of prompt and true prompt by {options.text_encoder}"
        found.append(Measure("text-similarity", "Text similarity", True, "text", meaning))
    for name in distances_of("text", options, catalogue):
        found.append(_of_distance(name, "", "text", catalogue))
    if options.language_model:
        by = f"by {options.language_model}"
        found += [
            Measure("nats-per-token", "Nats per token", False, "readability", f"mean surprise at a token {by}"),
            Measure(
                "perplexity-per-word",
                "Perplexity per word",
                False,
                "readability",
                f"surprise at a word as a number of equally likely ones {by}, geometric mean",
                geometric=True,
            ),
        ]
    if options.generator:
        if options.picture_encoder:
            found += [
                Measure(
                    f"image-similarity/{seeds}",
                    f"Image similarity, {seeds.replace('-', ' ')}",
                    True,
                    "pictures",
                    f"cosine of target and regenerated pictures by {options.picture_encoder}: {meaning}",
                )
                for seeds, meaning in SEEDS.items()
            ]
        for name in distances_of("image", options, catalogue):
            found += [_of_distance(name, seeds, "pictures", catalogue) for seeds in SEEDS]
    return (*found, *COSTS)


def _of_distance(name: str, seeds: str, group: Literal["text", "pictures"], catalogue: Catalogue) -> Measure:
    component = catalogue.describe("distance", name).component
    complement = complement_of(component)
    title = complement or f"{name.replace('-', ' ')}"
    title = title[:1].upper() + title[1:]
    meaning = component.summary.rstrip(".")
    meaning = f"{'one less: ' if complement else ''}{meaning[:1].lower()}{meaning[1:]}"
    if not seeds:
        return Measure(name, title, bool(complement), group, f"{meaning}; against the true prompt")
    return Measure(
        f"{name}/{seeds}", f"{title}, {seeds.replace('-', ' ')}", bool(complement), group, f"{meaning}; {SEEDS[seeds]}"
    )


def complement_of(component: Component) -> str:
    """Return what one less a distance is called, or nothing where the distance itself is what people know."""
    return (*component.trait("complement"), "")[0]


def as_options(measures: Mapping[str, Any]) -> MeasureOptions:
    """Return the options that a study's spec holds as plain data.

    Raises:
        OptionError: an option does not exist, or its value is refused.
    """
    from preimage.configuration import configure

    return configure(MeasureOptions, measures, "The measuring")
