"""The checks of models, role by role: what objectives rely on without looking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage._loading import missing_members
from preimage.api import ROLES, Component, Decoding, Template
from preimage.configuration import configure
from preimage.errors import AssemblyError
from preimage.testing.check import Check, CheckList, NotApplicable, Report, Violation, report_on
from preimage.testing.process import untouched
from preimage.testing.toy_models import toy_pictures
from preimage.testing.weights import modules_of

if TYPE_CHECKING:
    from torch import Tensor

    from preimage._catalogue import Catalogue

__all__ = ["CHECKS", "ModelSubject", "check_model"]

CHECKS = CheckList("model")

_ENCODERS = ("text-encoder", "image-text-encoder")
_READERS = (*_ENCODERS, "language-model", "classifier", "denoiser")
_ANSWERS = {
    "classifier": ("class_log_probs", "embedding_class_log_probs"),
    "denoiser": ("text_states", "embedding_text_states"),
}
# The richer role first, because an object that plays it plays the other, too.
_BY_RICHNESS = (
    "image-text-encoder",
    "text-encoder",
    "language-model",
    "classifier",
    "denoiser",
    "captioner",
    "image-generator",
)

_DECODINGS = (
    Decoding(max_tokens=6),
    Decoding(count=2, beams=3, max_tokens=6),
    Decoding(count=4, beams=1, min_tokens=3, max_tokens=6, temperature=2.0),
)


@attrs.define(eq=False, slots=False)
class ModelSubject:
    """What the checks look at.

    Attributes:
        name: for people.
        load: returns the model, loaded anew at each call.
        role: what it has to play.
        component: what its plugin declares, where it has one.
    """

    name: str
    load: Callable[[], Any]
    role: str
    component: Component | None = None

    @cached_property
    def model(self) -> Any:
        """The model, loaded once."""
        return self.load()

    def space(self) -> Any:
        """Return the model's texts.

        Raises:
            NotApplicable: its role has none.
        """
        self.only(*_READERS)
        return self.model.space

    def only(self, *roles: str) -> None:
        """Raise unless the role is one of these.

        Raises:
            NotApplicable: it is none of them.
        """
        if self.role not in roles:
            raise NotApplicable(f"This says nothing about the role {self.role}.")

    def answer(self, ids: Tensor) -> Tensor:
        """Return what the model says about token ids ``(B, L)``, ``(B, …)``."""
        if self.role == "language-model":
            answered: Tensor = self.model.token_log_probs(ids)
        else:
            answered = getattr(self.model, _ANSWERS.get(self.role, ("encode_tokens",))[0])(ids)
        return answered.detach()

    def answer_embeddings(self, embeddings: Tensor, ids: Tensor) -> Tensor:
        """Return what the model says about input embeddings ``(B, L, d)``, ``(B, …)``; differentiable."""
        if self.role == "language-model":
            result: Tensor = self.model.embedding_log_probs(embeddings, ids)
        else:
            method = _ANSWERS.get(self.role, ("", "encode_embeddings"))[1]
            result = getattr(self.model, method)(embeddings)
        return result


def check_model(
    model: str | Callable[[], Any],
    *,
    role: str | None = None,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    strict: bool = True,
    catalogue: Catalogue | None = None,
) -> Report:
    """Check a model; the loader of one that is given by reference is checked as a component, too.

    Arguments:
        model: a reference such as ``"miniworld:clip"``, or a function that loads the model anew.
        role: one of `preimage.api.ROLES`; the richest that it can play without.
        options: of the loader, where a reference is given.
        expected_failures: check id to the reason why it may fail.
        strict: raise where a required check fails, instead of only reporting it.
        catalogue: where the loader is looked up; the installed plugins without it.

    Raises:
        ConformanceError: a required check failed.
        AssemblyError: it can play no role.

    >>> from preimage.testing import check_model
    >>> from preimage.testing.toy_models import ToyEncoder
    >>> check_model(ToyEncoder).ok
    True
    """
    if not isinstance(model, str):
        subject = subject_from(model, getattr(model, "__name__", ""), role)
        name = subject.name
        plan: list[tuple[Sequence[Check], Any]] = [(tuple(CHECKS), subject)]
    else:
        from preimage.testing.component import plan_for

        loader = model.partition(":")[0]
        name, plan = plan_for("model", loader, options, catalogue, model=model, role=role)
    report = report_on(name, plan, expected_failures)
    return report.require() if strict else report


def subject_from(model: Callable[[], Any], name: str, role: str | None) -> ModelSubject:
    """Return what the checks look at, for a function that loads the model anew."""
    return ModelSubject(name or type(model).__name__, model, role or _role_of(model()))


def subject_of(
    reference: str, options: Mapping[str, Any], catalogue: Catalogue, role: str | None = None
) -> ModelSubject:
    """Return what the checks look at, for a model of the catalogue."""
    loader, _, name = reference.partition(":")
    provider = catalogue.describe("model", loader)
    config: Any = configure(catalogue.config("model", loader), dict(options), f"The model loader {loader!r}")
    target = catalogue.load("model", loader)

    def load(role: str) -> Any:
        return target(config, name=name, role=role, device="cpu", dtype="float32")

    role = role or _first_role(provider.component.trait("role"), load, reference)
    return ModelSubject(reference, lambda: load(role), role, provider.component)


def _first_role(declared: Sequence[str], load: Callable[[str], Any], reference: str) -> str:
    """Return the first declared role that the loader grants a reference; one loader may have several models."""
    for role in declared:
        try:
            load(role)
        except AssemblyError:
            continue
        return role
    message = (
        f"The loader of {reference} grants it none of the roles that it declares ({', '.join(declared) or 'none'})."
    )
    raise AssemblyError(message)


def _role_of(model: Any) -> str:
    for role in _BY_RICHNESS:
        if not missing_members(model, ROLES[role]):
            return role
    message = f"{type(model).__name__} plays none of the roles {', '.join(ROLES)}: add the methods of one of them."
    raise AssemblyError(message)


def _rows(space: Any, count: int, length: int, seed: int = 0) -> Tensor:
    """Return random prompts of allowed tokens, ``(B, L)``; the second half shares its beginnings with the first."""
    allowed = space.allowed.nonzero().flatten().cpu()
    rng = torch.Generator().manual_seed(seed)
    rows = allowed[torch.randint(len(allowed), (count, min(length, space.max_length)), generator=rng)]
    half = count // 2
    rows[half : 2 * half, : rows.shape[1] // 2] = rows[:half, : rows.shape[1] // 2]
    placed: Tensor = rows.to(space.device)
    return placed


def _tolerance(values: Tensor) -> float:
    return {torch.float64: 1e-9, torch.float32: 1e-4}.get(values.dtype, 2e-2)


def _require_close(left: Tensor, right: Tensor, what: str) -> None:
    if left.shape != right.shape:
        raise Violation(f"{what}: the shapes are {tuple(left.shape)} and {tuple(right.shape)}.")
    gap = float((left - right).detach().abs().max()) if left.numel() else 0.0
    scale = max(1.0, float(right.detach().abs().max())) if right.numel() else 1.0
    if not gap <= _tolerance(left) * scale:
        raise Violation(f"{what} by up to {gap:.3g}.")


@CHECKS.required(remedy="Add what is missing; see preimage.api.model.")
def _plays_its_role(subject: ModelSubject) -> None:
    """It has everything that its role asks for, a reference and a fingerprint."""
    missing = missing_members(subject.model, ROLES[subject.role])
    if missing:
        raise Violation(f"{type(subject.model).__name__} has no {' and no '.join(missing)}.")
    for name in ("reference", "fingerprint"):
        value = getattr(subject.model, name)
        if not isinstance(value, str) or not value:
            raise Violation(f"Its {name} is {value!r} instead of a text.")


@CHECKS.required(remedy="Give embedding (V, d) in floating point and allowed (V,) bool, both on space.device.")
def _space_has_the_shapes(subject: ModelSubject) -> None:
    """The embedding matrix is (V, d), the mask of allowed tokens (V,) bool, and at least one token fits."""
    space = subject.space()
    embedding, allowed = space.embedding, space.allowed
    if embedding.ndim != 2 or not embedding.dtype.is_floating_point:
        raise Violation(f"The embedding is {tuple(embedding.shape)} of {embedding.dtype} instead of (V, d).")
    if allowed.dtype != torch.bool or tuple(allowed.shape) != (len(embedding),):
        raise Violation(f"The mask is {tuple(allowed.shape)} of {allowed.dtype} instead of ({len(embedding)},) bool.")
    if not allowed.any() or space.max_length < 1:
        raise Violation(f"{int(allowed.sum())} tokens are allowed and {space.max_length} fit: nothing can be searched.")
    if embedding.device != space.device or allowed.device != space.device:
        raise Violation(f"The space is on {space.device}, its tensors on {embedding.device} and {allowed.device}.")


@CHECKS.required(remedy="Mask specials, undecodable and non-printing tokens; TokenizerSpace does it for you.")
def _allowed_tokens_can_be_typed(subject: ModelSubject) -> None:
    """Every allowed token is read as visible text: no special, no half of a letter, no control character."""
    space = subject.space()
    ids = space.allowed.nonzero().flatten()
    for token, text in zip(ids.tolist(), space.decode(ids[:, None]), strict=True):
        if not text.strip() or not text.isprintable() or "\ufffd" in text:
            raise Violation(f"Token {token} is allowed and reads {text!r}.")


@CHECKS.required(remedy="Decode, put into the template, encode, compare; add no special tokens in encode.")
def _stability_is_judged_on_the_text(subject: ModelSubject) -> None:
    """is_stable is true exactly where the text of ids is read back as these ids, and somewhere it is."""
    space = subject.space()
    rows = _rows(space, 64, 3)
    forbidden = (~space.allowed).nonzero().flatten()[:4].tolist()
    mixed = rows[: len(forbidden)].clone()
    for row, token in zip(mixed, forbidden, strict=True):
        row[0] = token
    rows = torch.cat([rows, mixed])
    said = space.is_stable(rows, Template()).tolist()
    texts = space.decode(rows)
    for row, text, ids, stable in zip(rows.tolist(), texts, space.encode(texts), said, strict=True):
        if stable and ids != row:
            raise Violation(f"It calls {row} stable, whose text {text!r} is read back as {ids}.")
        if not stable and ids == row and space.allowed[torch.tensor(row)].all():
            raise Violation(f"It calls {row} unstable, whose text {text!r} is read back as just that.")
    if not any(said):
        raise Violation("None of 64 random prompts of three tokens is read back as it is: nothing can be searched.")


@CHECKS.required(remedy="Divide by the norm in both encode_tokens and encode_embeddings.")
def _vectors_have_unit_length(subject: ModelSubject) -> None:
    """Texts are encoded as unit vectors (B, D)."""
    subject.only(*_ENCODERS)
    vectors = subject.answer(_rows(subject.space(), 4, 4))
    if vectors.ndim != 2 or len(vectors) != 4:
        raise Violation(f"It answers {tuple(vectors.shape)} for 4 texts instead of (4, D).")
    _require_close(vectors.norm(dim=1), torch.ones_like(vectors[:, 0]), "Their length differs from 1")


@CHECKS.required(remedy="Look the embeddings up in space.embedding, and go one way from there.")
def _both_paths_agree(subject: ModelSubject) -> None:
    """Token ids and their rows of the embedding matrix give the same answer."""
    space = subject.space()
    for length in (1, 4):
        rows = _rows(space, 4, length, seed=6)
        with torch.no_grad():
            embedded = subject.answer_embeddings(space.embedding[rows], rows)
        _require_close(subject.answer(rows), embedded, f"At length {length} the two paths differ")


@CHECKS.required(remedy="Pad nothing, normalise no batch, and mask what sharing of prefixes adds.")
def _batch_equals_singles(subject: ModelSubject) -> None:
    """Texts read together give the answers that they give one by one, shared beginnings included."""
    rows = _rows(subject.space(), 6, 5)
    singles = torch.cat([subject.answer(rows[i : i + 1]) for i in range(len(rows))])
    _require_close(subject.answer(rows), singles, "In a batch and alone the answers differ")


@CHECKS.required(remedy="Call eval(), and see that what is remembered is what was computed.")
def _the_same_question_gets_the_same_answer(subject: ModelSubject) -> None:
    """Asked twice, it answers alike."""
    rows = _rows(subject.space(), 4, 3, seed=9)
    _require_close(subject.answer(rows), subject.answer(rows.clone()), "Asked twice, the answers differ")


@CHECKS.required(remedy="Compute the embeddings' path with torch operations, without no_grad and detach.")
def _gradients_reach_the_embeddings(subject: ModelSubject) -> None:
    """The answer about embeddings can be differentiated, and its slope is the measured one."""
    space = subject.space()
    rows = _rows(space, 2, 4, seed=2)
    embeddings = space.embedding[rows].detach().clone().requires_grad_()
    answer = subject.answer_embeddings(embeddings, rows)
    if not answer.requires_grad:
        raise Violation("The answer about embeddings has no history, so nothing can be differentiated.")
    weights = torch.randn(answer.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(answer)
    (gradient,) = torch.autograd.grad((answer * weights).sum(), embeddings)
    if not gradient.isfinite().all() or not gradient.any():
        raise Violation("The gradient is zero everywhere, or not finite.")
    direction = gradient / gradient.norm()
    step, allowed = (1e-5, 1e-5) if answer.dtype == torch.float64 else (1e-2, 5e-2)
    step *= float(embeddings.detach().norm(dim=-1).mean())
    with torch.no_grad():
        ends = [subject.answer_embeddings(embeddings + sign * step * direction, rows) for sign in (1, -1)]
    measured = float(((ends[0] - ends[1]) * weights).sum()) / (2 * step)
    said = float(gradient.norm())
    if abs(measured - said) > allowed * max(said, abs(measured)):
        raise Violation(f"Along its gradient the answer rises by {measured:.6g}, and the gradient says {said:.6g}.")


@CHECKS.required(remedy="Call eval() and requires_grad_(False) on everything the loader returns.")
def _model_is_frozen(subject: ModelSubject) -> None:
    """It is in evaluation mode, and no parameter requires a gradient."""
    for module in modules_of(subject.model):
        if not any(True for _ in module.parameters()):
            continue  # a transform of pictures, say, which has no modes
        training = [name or type(part).__name__ for name, part in module.named_modules() if part.training]
        if training:
            raise Violation(f"{training[0]} and {len(training) - 1} more are in training mode.")
        learning = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        if learning:
            raise Violation(f"The parameter {learning[0]!r} and {len(learning) - 1} more require a gradient.")
    if subject.role in _READERS and subject.model.space.embedding.requires_grad:
        raise Violation("The embedding matrix requires a gradient.")


@CHECKS.required(remedy="Hash the weights, and nothing that differs from one load to the next.")
def _fingerprint_is_stable(subject: ModelSubject) -> None:
    """Loaded twice, it has the same fingerprint."""
    prints = [subject.load().fingerprint for _ in range(2)]
    if prints[0] != prints[1]:
        raise Violation(f"Loaded twice, its fingerprints are {prints[0]!r} and {prints[1]!r}.")


@CHECKS.required(remedy="Hash all weights, not the name or the file's date.")
def _fingerprint_follows_the_weights(subject: ModelSubject) -> None:
    """With another weight the fingerprint is another."""
    changed = subject.load()
    parameters = [parameter for module in modules_of(changed) for parameter in module.parameters()]
    if not parameters:
        raise NotApplicable("No torch module was found in it whose weights could be changed.")
    before = subject.load().fingerprint
    weights = parameters[-1].detach().view(-1)
    original = weights[-1].clone()
    weights[-1] += 1
    try:
        after = changed.fingerprint
    finally:
        weights[-1] = original  # Loaders may share weights with others.
    if after == before:
        raise Violation(f"Its fingerprint is {before!r}, whatever its weights are.")


@CHECKS.required(remedy="Work on copies of ids, embeddings and pictures.")
def _inputs_are_not_changed(subject: ModelSubject) -> None:
    """Ids, embeddings and pictures are not written to."""
    space = subject.space()
    rows = _rows(space, 3, 4)
    embeddings = space.embedding[rows].detach().clone()
    copies = rows.clone(), embeddings.clone()
    with torch.no_grad():
        subject.answer(rows)
        subject.answer_embeddings(embeddings, rows)
    if not torch.equal(rows, copies[0]) or not torch.equal(embeddings, copies[1]):
        raise Violation("It writes to the ids or embeddings that it is given.")
    if subject.role in ("image-text-encoder", "denoiser"):
        (picture,) = toy_pictures(1)
        before = picture.tobytes()
        encode = subject.model.encode_images if subject.role != "denoiser" else subject.model.encode_pictures
        encode([picture])
        if picture.tobytes() != before:
            raise Violation("It writes to the picture that it is given.")


@CHECKS.required(remedy="Preprocess and encode each picture by itself, and normalise the vectors.")
def _pictures_share_the_space(subject: ModelSubject) -> None:
    """Pictures of any size and mode become unit vectors as long as those of texts, in a batch as alone."""
    subject.only("image-text-encoder")
    pictures = [*toy_pictures(2), toy_pictures(3, size=80)[2].convert("L"), toy_pictures(4)[3].convert("RGBA")]
    vectors = subject.model.encode_images(pictures).detach()
    texts = subject.answer(_rows(subject.space(), 2, 3))
    if tuple(vectors.shape) != (len(pictures), texts.shape[1]):
        raise Violation(f"{len(pictures)} pictures become {tuple(vectors.shape)}, 2 texts {tuple(texts.shape)}.")
    _require_close(vectors.norm(dim=1), torch.ones_like(vectors[:, 0]), "Their length differs from 1")
    singles = torch.cat([subject.load().encode_images([picture]) for picture in pictures[:1]])
    singles = torch.cat([singles, *(subject.model.encode_images([picture]) for picture in pictures[1:])]).detach()
    _require_close(vectors, singles, "In a batch and alone the vectors of pictures differ")


@CHECKS.required(remedy="Give each row a generator of its own, seeded by its seed alone; never the global one.")
def _a_prompt_and_a_seed_are_a_picture(subject: ModelSubject) -> None:
    """A prompt with a seed gives the same picture in any batch and order, and other seeds give others."""
    subject.only("image-generator")
    prompts, seeds = ["a red circle", "a blue square on a hill", "a red circle"], [7, 7, 8]
    drawn = subject.model.generate(prompts, seeds)
    if len(drawn) != 3 or len({image.size for image in drawn}) != 1:
        raise Violation(f"3 prompts become pictures of the sizes {[image.size for image in drawn]}.")
    for order in ([2, 0, 1], [1], [0, 0]):
        again = subject.model.generate([prompts[i] for i in order], [seeds[i] for i in order])
        for index, image in zip(order, again, strict=True):
            gap = float((_pixels(image) - _pixels(drawn[index])).abs().max())
            # A value may fall on the other side of a rounding, because kernels for other batch sizes add up otherwise.
            if gap > 2:
                raise Violation(f"The picture of {prompts[index]!r} differs by {gap:.0f} of 255 in other company.")
    if float((_pixels(drawn[0]) - _pixels(drawn[2])).abs().max()) <= 2:
        raise Violation("Two seeds give the same picture.")


@CHECKS.required(remedy="Encode each picture by itself, without sampling, at one size.")
def _pictures_have_latents(subject: ModelSubject) -> None:
    """Pictures of any size and mode become latents (N, C, H, W), in a batch as alone."""
    subject.only("denoiser")
    pictures = [*toy_pictures(2), toy_pictures(3, size=80)[2].convert("L"), toy_pictures(4)[3].convert("RGBA")]
    latents = subject.model.encode_pictures(pictures).detach()
    if latents.ndim != 4 or len(latents) != len(pictures):
        raise Violation(f"{len(pictures)} pictures become {tuple(latents.shape)} instead of (4, C, H, W).")
    singles = torch.cat([subject.model.encode_pictures([picture]) for picture in pictures]).detach()
    _require_close(latents, singles, "In a batch and alone the latents of pictures differ")


@CHECKS.required(remedy="Take the mean over channels and places only, and each row's own timestep.")
def _denoising_losses_are_rows(subject: ModelSubject) -> None:
    """The denoising losses (B,) of rows with timesteps and noise of their own are those of each row alone."""
    states, latents, timesteps, noise = _noisy_rows(subject)
    model = subject.model
    with torch.no_grad():
        losses = model.noise_prediction_loss(states, latents, timesteps, noise)
        if tuple(losses.shape) != (len(states),) or not losses.isfinite().all() or (losses < 0).any():
            raise Violation(f"It answers {losses.tolist()} for {len(states)} rows.")
        rows = [slice(i, i + 1) for i in range(len(states))]
        alone = [model.noise_prediction_loss(states[r], latents[r], timesteps[r], noise[r]) for r in rows]
    _require_close(losses, torch.cat(alone), "In a batch and alone the denoising losses differ")


@CHECKS.required(remedy="Compute the loss with torch operations, without no_grad and detach.")
def _denoising_loss_has_a_slope(subject: ModelSubject) -> None:
    """The denoising loss can be differentiated at the text's states, and its slope is the measured one."""
    states, latents, timesteps, noise = _noisy_rows(subject)
    states = states.clone().requires_grad_()
    total = subject.model.noise_prediction_loss(states, latents, timesteps, noise).sum()
    if not total.requires_grad:
        raise Violation("The denoising loss has no history, so nothing can be differentiated.")
    (gradient,) = torch.autograd.grad(total, states)
    if not gradient.isfinite().all() or not gradient.any():
        raise Violation("The gradient is zero everywhere, or not finite.")
    direction = gradient / gradient.norm()
    step, allowed = (1e-5, 1e-5) if total.dtype == torch.float64 else (1e-2, 5e-2)
    step *= float(states.detach().norm(dim=-1).mean())
    with torch.no_grad():
        ends = [
            subject.model.noise_prediction_loss(states + sign * step * direction, latents, timesteps, noise).sum()
            for sign in (1, -1)
        ]
    measured, said = float(ends[0] - ends[1]) / (2 * step), float(gradient.norm())
    if abs(measured - said) > allowed * max(said, abs(measured)):
        raise Violation(f"Along its gradient the loss rises by {measured:.6g}, and the gradient says {said:.6g}.")


def _noisy_rows(subject: ModelSubject) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return states, latents, timesteps and noise of four rows."""
    subject.only("denoiser")
    model = subject.model
    states = subject.answer(_rows(subject.space(), 4, 4))
    latents = model.encode_pictures(toy_pictures(4)).detach()
    last = model.n_timesteps - 1
    timesteps = torch.tensor([0, last // 3, last // 2, last], device=latents.device)
    rng = torch.Generator().manual_seed(5)
    noise = torch.randn(latents.shape, generator=rng, dtype=torch.float64).to(latents)
    return states, latents, timesteps, noise


def _pixels(image: Any) -> Tensor:
    return torch.tensor(list(image.convert("RGB").tobytes()), dtype=torch.float64)


@CHECKS.required(remedy="Return decoding.count texts for each picture: those of beams first, then those sampled.")
def _captions_are_as_many_as_asked(subject: ModelSubject) -> None:
    """Each picture, of any size and mode, gets the captions that are asked for, as texts."""
    subject.only("captioner")
    pictures = [*toy_pictures(1), toy_pictures(2, size=80)[1].convert("L"), toy_pictures(3)[2].convert("RGBA")]
    before = [picture.tobytes() for picture in pictures]
    for decoding in _DECODINGS:
        said = subject.model.captions(pictures, decoding)
        if [len(captions) for captions in said] != [decoding.count] * len(pictures):
            raise Violation(f"Asked for {decoding.count} captions of 3 pictures, it answers {said!r}.")
        strange = [caption for captions in said for caption in captions if not isinstance(caption, str)]
        if strange:
            raise Violation(f"It answers {strange[0]!r}, which is no text.")
    if [picture.tobytes() for picture in pictures] != before:
        raise Violation("It writes to the pictures that it is given.")


@CHECKS.required(remedy="Draw for each picture from a generator of its own, seeded by its seed alone.")
def _a_picture_and_a_seed_are_captions(subject: ModelSubject) -> None:
    """A picture with a seed has the same captions in any batch and order; other seeds sample others."""
    subject.only("captioner")
    pictures, seeds = toy_pictures(3), [7, 7, 8]
    for decoding in _DECODINGS:
        said = subject.model.captions(pictures, decoding, seeds=seeds)
        for order in ([2, 0, 1], [1]):
            again = subject.model.captions([pictures[i] for i in order], decoding, seeds=[seeds[i] for i in order])
            for index, captions in zip(order, again, strict=True):
                if captions != said[index]:
                    raise Violation(f"In other company {said[index]!r} becomes {captions!r}.")
        others = subject.model.captions(pictures, decoding, seeds=[seed + 1 for seed in seeds])
        likely = decoding.count - decoding.sampled
        if [captions[:likely] for captions in others] != [captions[:likely] for captions in said]:
            raise Violation("With another seed the captions differ that are not sampled.")
        if decoding.sampled and others == said:
            raise Violation(f"Another seed samples the same {decoding.sampled} captions of each of 3 pictures.")


@CHECKS.required(remedy="Take the log-softmax over the whole vocabulary, or over all labels.")
def _probabilities_add_up(subject: ModelSubject) -> None:
    """Probabilities of next tokens, or of labels, add up to one."""
    subject.only("language-model", "classifier")
    rows = _rows(subject.space(), 3, 4)
    if subject.role == "classifier":
        log_probs, width = subject.answer(rows), len(subject.model.labels)
    else:
        log_probs, width = subject.model.next_token_log_probs(rows).detach(), len(subject.space().embedding)
    if tuple(log_probs.shape) != (3, width):
        raise Violation(f"It answers {tuple(log_probs.shape)} for 3 texts instead of (3, {width}).")
    total = log_probs.logsumexp(dim=1)
    _require_close(total, torch.zeros_like(total), "The logarithm of their sum differs from 0")


@CHECKS.required(remedy="Shift the outputs by one, begin with the start token, and mask what comes later.")
def _next_tokens_agree_with_texts(subject: ModelSubject) -> None:
    """A token's log-probability in a text is that of the token as next one, whatever follows it."""
    subject.only("language-model")
    rows = _rows(subject.space(), 3, 4)
    log_probs = subject.answer(rows)
    for position in range(rows.shape[1]):
        following = subject.model.next_token_log_probs(rows[:, :position]).detach()
        expected = following.gather(1, rows[:, position : position + 1]).squeeze(1)
        _require_close(log_probs[:, position], expected, f"At position {position} the log-probabilities differ")


@CHECKS.required(remedy="Cut the positions before `start` off behind the network, before the vocabulary head.")
def _later_tokens_can_be_asked_alone(subject: ModelSubject) -> None:
    """Asked from `start` on, the log-probabilities are those of the whole text from there on."""
    subject.only("language-model")
    rows = _rows(subject.space(), 3, 4)
    whole = subject.answer(rows)
    with torch.no_grad():
        for start in (1, rows.shape[1] - 1):
            tails = (
                subject.model.token_log_probs(rows, start=start),
                subject.model.embedding_log_probs(subject.model.space.embedding[rows], rows, start=start),
            )
            for tail in tails:
                _require_close(tail, whole[:, start:], f"From {start} on the log-probabilities differ")


@CHECKS.required(remedy="Fork torch's generator while weights are initialised, and restore what libraries change.")
def _leaves_the_process_alone(subject: ModelSubject) -> None:
    """Loading and asking it prints nothing and changes no global generator, setting or directory."""
    with untouched("Loading it"):
        subject.load()
    if subject.role in _READERS:
        model, rows = subject.model, _rows(subject.model.space, 2, 3)
        with untouched(f"Asking {type(model).__name__}"):
            subject.answer(rows)
    if subject.role == "captioner":
        with untouched(f"Asking {type(subject.model).__name__}"):
            subject.model.captions(toy_pictures(2), _DECODINGS[-1], seeds=[1, 2])
