"""The checks of objectives, on a small random model in double precision or on any other."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage._loading import missing_members
from preimage.api import Component, GradientObjective, NextTokenObjective, Objective
from preimage.testing.check import Check, CheckList, NotApplicable, Report, Violation, report_on
from preimage.testing.process import untouched
from preimage.testing.toy_models import toy_model, toy_pictures
from preimage.testing.weights import changes, photograph

if TYPE_CHECKING:
    from torch import Tensor

    from preimage._catalogue import Catalogue

__all__ = ["CHECKS", "ObjectiveSubject", "check_objective"]

CHECKS = CheckList("objective")

N_TARGETS = 3


@attrs.frozen(eq=False)
class ObjectiveSubject:
    """What the checks look at.

    Attributes:
        name: for people.
        bind: returns a new objective for ``(model, targets)``.
        model: what it is bound to.
        targets: three of them.
        component: what its plugin declares, where it has one.
        untouched: a photograph of the model before any check was carried out.
    """

    name: str
    bind: Callable[[Any, Sequence[Any]], Any]
    model: Any
    targets: tuple[Any, ...]
    component: Component | None = None
    untouched: dict[str, Any] = attrs.field(init=False)

    @untouched.default
    def _photograph(self) -> dict[str, Any]:
        return photograph(self.model)

    def build(self) -> Any:
        """Return the objective bound to the model and all targets."""
        objective = self.bind(self.model, list(self.targets))
        if not hasattr(getattr(objective, "space", None), "embedding"):
            raise NotApplicable("Its candidates are not texts, for which alone there is a world to try it in.")
        return objective


def check_objective(
    objective: str | Callable[..., Any],
    *,
    model: Any = None,
    targets: Sequence[Any] | None = None,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    strict: bool = True,
    catalogue: Catalogue | None = None,
) -> Report:
    """Check an objective; one that is given by name is checked as a component, too.

    Arguments:
        objective: its name in the catalogue, or what is called as ``objective(model=…, targets=[…])``.
        model: what it is bound to: a model or a reference such as ``"miniworld:clip"``; a random one of the role
            that it asks for without (an encoder where it is not given by name).
        targets: three different ones; made up without.
        options: its options, where it is given by name.
        expected_failures: check id to the reason why it may fail.
        strict: raise where a required check fails, instead of only reporting it.
        catalogue: where names are looked up; the installed plugins without it.

    Raises:
        ConformanceError: a required check failed.
        UnknownNameError: the catalogue has no such objective or model.

    >>> from preimage.testing import ToyObjective, check_objective
    >>> def toy(model, targets):
    ...     return ToyObjective(model.space, n_targets=len(targets))
    >>> check_objective(toy, expected_failures={"targets-are-independent": "it draws its targets itself"}).ok
    True
    """
    if not isinstance(objective, str):
        subject = subject_from(objective, getattr(objective, "__name__", ""), model, targets, catalogue)
        name = subject.name
        plan: list[tuple[Sequence[Check], Any]] = [(tuple(CHECKS), subject)]
    else:
        from preimage.testing.component import plan_for

        name, plan = plan_for("objective", objective, options, catalogue, model=model, targets=targets)
    report = report_on(name, plan, expected_failures)
    return report.require() if strict else report


def subject_from(
    objective: Callable[..., Any], name: str, model: Any, targets: Sequence[Any] | None, catalogue: Catalogue | None
) -> ObjectiveSubject:
    """Return what the checks look at, for ``objective(model=…, targets=[…])``."""
    bound = _model(model, "image-text-encoder", catalogue)
    chosen = tuple(targets or make_targets(bound, ("text",)))
    return ObjectiveSubject(name or type(objective).__name__, _binder(objective), bound, chosen)


def subject_of(
    name: str,
    options: Mapping[str, Any],
    catalogue: Catalogue,
    model: Any = None,
    targets: Sequence[Any] | None = None,
) -> ObjectiveSubject:
    """Return what the checks look at, for an objective of the catalogue.

    Raises:
        AssemblyError: there is no toy of its role, and no model was given.
    """
    provider = catalogue.describe("objective", name)
    role = (*provider.component.trait("role"), "text-encoder")[0]
    bound = _model(model, role, catalogue)
    kinds = provider.component.trait("target") or ("text",)

    def bind(model: Any, targets: Sequence[Any]) -> Any:
        return catalogue.build("objective", name, {"model": model, "targets": list(targets)}, **options)

    return ObjectiveSubject(
        str(provider), bind, bound, tuple(targets or make_targets(bound, kinds)), provider.component
    )


def _binder(objective: Callable[..., Any]) -> Callable[[Any, Sequence[Any]], Any]:
    return lambda model, targets: objective(model=model, targets=list(targets))


def _model(model: Any, role: str, catalogue: Catalogue | None) -> Any:
    if model is None:
        return toy_model(role)
    if not isinstance(model, str):
        return model
    if catalogue is None:
        from preimage._catalogue import catalogue as installed

        catalogue = installed()
    # In double precision where the loader has it, so that slopes can be measured.
    return catalogue.load_model(model, role, dtype="float64")


def make_targets(model: Any, kinds: Sequence[str]) -> tuple[Any, ...]:
    """Return three different targets of the given kinds, taking turns."""
    pools: dict[str, Callable[[], list[Any]]] = {
        "image": lambda: toy_pictures(N_TARGETS),
        "text": lambda: model.space.decode(_rows(model.space, N_TARGETS, 3, seed=11)),
        "label": lambda: list(model.labels) * N_TARGETS,
    }
    known = [pools[kind]() for kind in kinds if kind in pools]
    if not known:
        raise NotApplicable(f"There are no targets of the kinds {list(kinds)} to try it with: pass some.")
    return tuple(known[number % len(known)][number] for number in range(N_TARGETS))


def _rows(space: Any, count: int, length: int, seed: int = 0) -> Tensor:
    """Return different readable prompts in lexicographic order, ``(B, L)``, no token twice in one of them."""
    allowed = space.allowed.nonzero().flatten().cpu()
    length = min(length, space.max_length, len(allowed))
    rng = torch.Generator().manual_seed(seed)
    drawn = (tuple(allowed[torch.randperm(len(allowed), generator=rng)[:length]].tolist()) for _ in range(4 * count))
    return torch.tensor(sorted(list(dict.fromkeys(drawn))[:count]), device=space.device)


def _turns(rows: Tensor) -> Tensor:
    """Return the index of a target for each row, ``(B,)``, in turn."""
    return torch.arange(len(rows), device=rows.device) % N_TARGETS


def _tolerance(objective: Any) -> float:
    return {torch.float64: 1e-9, torch.float32: 2e-5}.get(objective.space.embedding.dtype, 2e-2)


def _require_close(objective: Any, left: Tensor, right: Tensor, what: str) -> None:
    if left.shape != right.shape:
        raise Violation(f"{what}: the shapes are {tuple(left.shape)} and {tuple(right.shape)}.")
    gap = (left - right).abs()
    scale = torch.maximum(left.abs(), right.abs()).clamp_min(1.0)
    if not bool((gap <= _tolerance(objective) * scale).all()):
        worst = int((gap / scale).flatten().argmax())
        raise Violation(
            f"{what}: {float(left.flatten()[worst]):.9g} and {float(right.flatten()[worst]):.9g} in place {worst}."
        )


def _with_gradient(subject: ObjectiveSubject) -> Any:
    objective = subject.build()
    if not callable(getattr(objective, "loss_and_gradient", None)):
        raise NotApplicable("It offers no gradient.")
    return objective


@CHECKS.required(remedy="Add what is missing; see preimage.api.Objective.")
def _follows_the_protocol(subject: ObjectiveSubject) -> None:
    """It has space, n_targets and loss, and as many targets as it was bound to."""
    objective = subject.build()
    missing = missing_members(objective, Objective)
    if missing:
        raise Violation(f"{type(objective).__name__} has no {' and no '.join(missing)}.")
    if objective.n_targets != len(subject.targets):
        raise Violation(f"It was bound to {len(subject.targets)} targets, and n_targets is {objective.n_targets}.")


@CHECKS.required(remedy="Return a tensor of shape (B,) in floating point, detached.")
def _one_number_per_candidate(subject: ObjectiveSubject) -> None:
    """The loss of B candidates is a floating-point tensor (B,) without a history."""
    objective = subject.build()
    rows = _rows(objective.space, 5, 4)
    losses = objective.loss(rows, _turns(rows))
    if not isinstance(losses, torch.Tensor):
        raise Violation(f"It answers a {type(losses).__name__} instead of a tensor.")
    if losses.shape != (5,) or not losses.dtype.is_floating_point:
        raise Violation(f"It answers {tuple(losses.shape)} numbers of {losses.dtype} for 5 candidates.")
    if losses.requires_grad:
        raise Violation("Its losses carry a history for gradients, which keeps every forward pass in memory.")


@CHECKS.required(remedy="Clamp before logarithms and divisions, and compute in at least single precision.")
def _losses_are_finite(subject: ObjectiveSubject) -> None:
    """Short prompts, long ones and repeated words have a loss that is a number."""
    objective = subject.build()
    space = objective.space
    word = _rows(space, 1, 1)
    for length in (1, 2, space.max_length // 2 + 1):
        rows = torch.cat([word.expand(1, length), space.allowed.nonzero()[-1:].expand(1, length)])
        losses = objective.loss(rows, _turns(rows))
        if not losses.isfinite().all():
            (text,) = space.decode(rows[~losses.isfinite()][:1])
            raise Violation(f"The loss of {text!r} is {losses[~losses.isfinite()][0].item()}.")


@CHECKS.required(remedy="Reduce over positions and features only, never over the batch, and never squeeze it away.")
def _batch_equals_singles(subject: ObjectiveSubject) -> None:
    """Candidates scored together have the losses that they have one by one."""
    objective = subject.build()
    rows = _rows(objective.space, 5, 4)
    target = _turns(rows)
    together = objective.loss(rows, target)
    singles = [objective.loss(rows[i : i + 1], target[i : i + 1]) for i in range(len(rows))]
    for single in singles:
        if single.shape != (1,):
            raise Violation(f"It answers the shape {tuple(single.shape)} for one candidate instead of (1,).")
    _require_close(objective, together, torch.cat(singles), "In a batch and alone the losses differ")


@CHECKS.required(remedy="Where you drop duplicates or share prefixes, look at candidate and target together.")
def _company_changes_nothing(subject: ObjectiveSubject) -> None:
    """A candidate's loss does not depend on what else is in the batch, duplicates for other targets included."""
    objective = subject.build()
    rows = _rows(objective.space, 3, 4)
    target = _turns(rows)
    expected = objective.loss(rows, target)
    company = torch.cat([rows, rows, rows[:, :1].expand_as(rows)])
    others = torch.cat([target, (target + 1) % N_TARGETS, target])
    _require_close(objective, objective.loss(company, others)[:3], expected, "In company the losses differ")
    expected = objective.loss(rows, (target + 1) % N_TARGETS)
    _require_close(objective, objective.loss(company, others)[3:6], expected, "In company the losses differ")


@CHECKS.required(remedy="Where you sort the candidates, put the losses back into their order.")
def _order_does_not_matter(subject: ObjectiveSubject) -> None:
    """Candidates in another order have the same losses in that order."""
    objective = subject.build()
    rows = _rows(objective.space, 6, 4)
    target = _turns(rows)
    expected = objective.loss(rows, target)
    order = torch.tensor([4, 1, 5, 0, 3, 2], device=rows.device)
    _require_close(
        objective, objective.loss(rows[order], target[order]), expected[order], "In another order the losses differ"
    )


@CHECKS.required(remedy="See what happens to the last chunk, which may be smaller.")
def _chunks_do_not_matter(subject: ObjectiveSubject) -> None:
    """Many candidates have the same losses at once and in chunks of any size."""
    objective = subject.build()
    rows = _rows(objective.space, 67, 4)
    target = _turns(rows)
    whole = objective.loss(rows, target)
    for size in (5, 32):
        chunks = [objective.loss(rows[i : i + size], target[i : i + size]) for i in range(0, len(rows), size)]
        _require_close(objective, whole, torch.cat(chunks), f"In chunks of {size} the losses differ")


@CHECKS.required(remedy="Keep one representation a target, and look it up by each row's target.")
def _targets_are_independent(subject: ObjectiveSubject) -> None:
    """A loss for one of three targets is that of an objective bound to this target alone."""
    objective = subject.build()
    rows = _rows(objective.space, 4, 4)
    for index, target in enumerate(subject.targets):
        alone = subject.bind(subject.model, [target])
        expected = alone.loss(rows, torch.zeros(len(rows), dtype=torch.int64, device=rows.device))
        losses = objective.loss(rows, torch.full((len(rows),), index, device=rows.device))
        _require_close(objective, losses, expected, f"For target {index} of {len(subject.targets)} and alone")


@CHECKS.required(remedy="Compute both by one function.")
def _both_losses_agree(subject: ObjectiveSubject) -> None:
    """The losses of loss and of loss_and_gradient are the same."""
    objective = _with_gradient(subject)
    rows = _rows(objective.space, 5, 4)
    losses, _ = objective.loss_and_gradient(rows, _turns(rows))
    _require_close(objective, losses.detach(), objective.loss(rows, _turns(rows)), "The two losses differ")


@CHECKS.required(remedy="Return the gradient at the input embeddings, (B, L, d), detached.")
def _gradient_has_the_shape(subject: ObjectiveSubject) -> None:
    """The gradient is a finite tensor of the shape of the input embeddings, (B, L, d)."""
    objective = _with_gradient(subject)
    rows = _rows(objective.space, 3, 4)
    _, gradient = objective.loss_and_gradient(rows, _turns(rows))
    expected = (*rows.shape, objective.space.embedding.shape[1])
    if tuple(gradient.shape) != expected or not gradient.dtype.is_floating_point:
        raise Violation(f"The gradient is {tuple(gradient.shape)} of {gradient.dtype} instead of {expected}.")
    if not gradient.isfinite().all():
        raise Violation("The gradient holds NaN or infinity.")
    if gradient.requires_grad:
        raise Violation("The gradient carries a history.")


@CHECKS.required(remedy="Differentiate the sum of the losses, not their mean, with respect to the input embeddings.")
def _gradient_is_the_slope(subject: ObjectiveSubject) -> None:
    """Row by row, the gradient times a direction is the measured slope of that row's loss in it."""
    model = _with_private_embedding(subject.model)
    objective = subject.bind(model, list(subject.targets))
    if not callable(getattr(objective, "loss_and_gradient", None)):
        raise NotApplicable("It offers no gradient.")
    embedding = objective.space.embedding
    if embedding.dtype not in (torch.float64, torch.float32):
        raise NotApplicable(f"Slopes cannot be measured in {embedding.dtype}.")
    rows, target = _unlike_the_targets(subject, objective.space)
    _, gradient = objective.loss_and_gradient(rows, target)
    step, allowed = (1e-5, 1e-5) if embedding.dtype == torch.float64 else (3e-2, 5e-2)
    step *= float(embedding[rows].norm(dim=-1).mean())
    rng = torch.Generator().manual_seed(5)
    for index in range(len(rows)):
        row, slope = rows[index : index + 1], gradient[index].detach().to(embedding)
        for _ in range(3):
            direction = torch.randn(slope.shape, generator=rng, dtype=torch.float64).to(embedding)
            direction /= direction.norm()
            ends = []
            for sign in (1, -1):
                with torch.no_grad(), _moved(embedding, row[0], sign * step * direction):
                    ends.append(float(objective.loss(row, target[index : index + 1])))
            measured = (ends[0] - ends[1]) / (2 * step)
            said = float((slope * direction).sum())
            if abs(measured - said) > allowed * (float(slope.norm()) + abs(measured)) + 1e-9:
                raise Violation(
                    f"Row {index} of {len(rows)} rises by {measured:.6g} in a random direction, and its gradient "
                    f"says {said:.6g}."
                )


@contextlib.contextmanager
def _moved(embedding: Tensor, ids: Tensor, by: Tensor) -> Iterator[None]:
    """Put other embeddings into the matrix for a while."""
    before = embedding[ids].clone()
    embedding.detach()[ids] = before + by
    try:
        yield
    finally:
        embedding.detach()[ids] = before


_TOKEN_PATHS = {
    "encode_tokens": "encode_embeddings",
    "class_log_probs": "embedding_class_log_probs",
    "token_log_probs": "embedding_log_probs",
}


def _with_private_embedding(model: Any) -> Any:
    """Return a copy of a model that reads tokens from an embedding matrix of its own, which may be moved.

    The model itself must not be written to, and it may remember what it has seen. Its path from embeddings is
    exact, so that tokens are sent along it; that both paths agree is what the checks of models are for.
    """
    space = copy.copy(model.space)
    try:
        space.embedding = model.space.embedding.detach().clone()
    except AttributeError:
        raise NotApplicable("The embedding of the model's space cannot be replaced, so no slope is measured.") from None
    original = type(model)
    namespace: dict[str, Any] = {"space": property(lambda _: space)}
    for tokens, embeddings in _TOKEN_PATHS.items():
        if hasattr(original, tokens):
            namespace[tokens] = _redirected(getattr(original, embeddings), tokens == "token_log_probs")
    double = copy.copy(model)
    double.__class__ = type(original.__name__, (original,), namespace)
    return double


def _redirected(path: Callable[..., Tensor], with_ids: bool) -> Callable[..., Tensor]:
    def read(self: Any, ids: Tensor, **options: Any) -> Tensor:
        embeddings = self.space.embedding[ids]
        with torch.no_grad():
            return path(self, embeddings, ids, **options) if with_ids else path(self, embeddings)

    return read


def _unlike_the_targets(subject: ObjectiveSubject, space: Any) -> tuple[Tensor, Tensor]:
    """Return three candidates with their targets, none with a token that a target's text holds."""
    texts = [target for target in subject.targets if isinstance(target, str)]
    taken = {token for ids in space.encode(texts) for token in ids} if texts else set()
    rows = _rows(space, 40, 4, seed=3)
    free = torch.tensor([not taken & set(row) for row in rows.tolist()], device=rows.device)
    rows = rows[free][:3]
    if not len(rows):
        raise NotApplicable("Every token occurs in a target.")
    return rows, _turns(rows)


@CHECKS.required(remedy="Normalise over the vocabulary, and answer an empty prefix, too.")
def _next_tokens_are_probabilities(subject: ObjectiveSubject) -> None:
    """The log-probabilities of the next token are (B, V) and add up to one, for empty prefixes, too."""
    objective = subject.build()
    if not callable(getattr(objective, "next_token_log_probs", None)):
        raise NotApplicable("It says nothing about next tokens.")
    vocabulary = len(objective.space.embedding)
    for rows in (_rows(objective.space, 3, 4), _rows(objective.space, 3, 4)[:, :0]):
        log_probs = objective.next_token_log_probs(rows, _turns(rows))
        if log_probs.shape != (3, vocabulary):
            raise Violation(f"It answers {tuple(log_probs.shape)} for 3 prefixes of {rows.shape[1]} tokens.")
        total = log_probs.double().logsumexp(dim=1)
        _require_close(objective, total, torch.zeros_like(total), "The probabilities do not add up to one (in logs)")


@CHECKS.required(remedy="Differentiate with torch.autograd.grad with respect to a detached copy of the embeddings.")
def _model_is_untouched(subject: ObjectiveSubject) -> None:
    """Weights, gradients, requires_grad and training mode of the model stay as they were."""
    objective = subject.build()
    rows = _rows(objective.space, 3, 4)
    objective.loss(rows, _turns(rows))
    if callable(getattr(objective, "loss_and_gradient", None)):
        objective.loss_and_gradient(rows, _turns(rows))
    changed = changes(subject.untouched, photograph(subject.model))
    if changed:
        raise Violation(f"It changes {', '.join(changed[:3])}{' and more' if len(changed) > 3 else ''}.")


@CHECKS.required(remedy="Work on copies of candidates and targets.")
def _inputs_are_not_changed(subject: ObjectiveSubject) -> None:
    """Candidates, their targets and the list of targets are not written to."""
    given = list(subject.targets)
    objective = subject.bind(subject.model, given)
    if len(given) != len(subject.targets) or any(a is not b for a, b in zip(given, subject.targets, strict=True)):
        raise Violation("It changes the list of targets.")
    subject.build()
    rows = _rows(objective.space, 4, 4)
    target = _turns(rows)
    copies = rows.clone(), target.clone()
    objective.loss(rows, target)
    if callable(getattr(objective, "loss_and_gradient", None)):
        objective.loss_and_gradient(rows, target)
    if not torch.equal(rows, copies[0]) or not torch.equal(target, copies[1]):
        raise Violation("It writes to the candidates or to their targets.")


@CHECKS.required(remedy="Let the offers:… traits name exactly gradient and next-token, as far as there are methods.")
def _offers_what_it_declares(subject: ObjectiveSubject) -> None:
    """The component's traits name the methods that the objective has."""
    if subject.component is None:
        raise NotApplicable("It was not given by name, so that nothing is declared.")
    objective = subject.build()
    offered = {
        name
        for name, protocol in (("gradient", GradientObjective), ("next-token", NextTokenObjective))
        if not missing_members(objective, protocol)
    }
    declared = set(subject.component.trait("offers"))
    if offered != declared:
        raise Violation(f"It offers {sorted(offered) or 'nothing'}, its component declares {sorted(declared)}.")


@CHECKS.required(remedy="Use generators of your own, the logging module, and local settings.")
def _leaves_the_process_alone(subject: ObjectiveSubject) -> None:
    """Building and asking it prints nothing and changes no global generator, setting or directory."""
    with untouched("Building and asking it"):
        objective = subject.build()
        rows = _rows(objective.space, 3, 4)
        objective.loss(rows, _turns(rows))
        if callable(getattr(objective, "loss_and_gradient", None)):
            objective.loss_and_gradient(rows, _turns(rows))
