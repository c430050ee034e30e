"""The checks of embedding adapters, between two toy vocabularies whose embeddings are one linear map apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage._loading import missing_members
from preimage.api import EmbeddingAdapter
from preimage.testing.check import CheckList, Report, Violation, report_given
from preimage.testing.process import untouched
from preimage.testing.toy import WORDS, toy_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from preimage._catalogue import Catalogue
    from preimage.text_space import TokenizerSpace

__all__ = ["CHECKS", "AdapterSubject", "check_adapter"]

CHECKS = CheckList("adapter")

_WIDTHS = 6, 5


@attrs.frozen(eq=False, slots=False)
class AdapterSubject:
    """What the checks look at.

    Attributes:
        name: for people.
        bind: returns a new adapter for ``(source=…, target=…)``.
    """

    name: str
    bind: Callable[..., Any]

    @cached_property
    def matrix(self) -> Tensor:
        """The linear map, ``(d, e)``, from the source's embeddings to the target's."""
        rng = torch.Generator().manual_seed(17)
        return torch.randn(*_WIDTHS, generator=rng, dtype=torch.float64)

    @cached_property
    def spaces(self) -> tuple[TokenizerSpace, TokenizerSpace]:
        """A source, and a target with the same words in another order."""
        source = toy_tokens(width=_WIDTHS[0], seed=4)
        words = [*WORDS[1::2], *WORDS[::2]]
        order = [WORDS.index(word) for word in words] + [len(WORDS)]
        return source, toy_tokens(embedding=source.embedding[order] @ self.matrix, words=words)

    @cached_property
    def fitted(self) -> Any:
        """The adapter between the two, fitted."""
        source, target = self.spaces
        adapter = self.bind(source=source, target=target)
        adapter.fit()
        return adapter


def check_adapter(
    adapter: str | Callable[..., Any],
    *,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    strict: bool = True,
    catalogue: Catalogue | None = None,
) -> Report:
    """Check an embedding adapter; one that is given by name is checked as a component, too.

    Arguments:
        adapter: its name in the catalogue, or what is called as ``adapter(source=…, target=…)``.
        options: its options, where it is given by name.
        expected_failures: check id to the reason why it may fail.
        strict: raise where a required check fails, instead of only reporting it.
        catalogue: where the name is looked up; the installed plugins without it.

    Raises:
        ConformanceError: a required check failed.
        UnknownNameError: the catalogue has no such adapter.
    """
    return report_given(
        "adapter",
        adapter,
        CHECKS,
        AdapterSubject,
        options=options,
        expected_failures=expected_failures,
        strict=strict,
        catalogue=catalogue,
    )


def subject_of(name: str, options: Mapping[str, Any], catalogue: Catalogue) -> AdapterSubject:
    """Return what the checks look at, for an adapter of the catalogue."""

    def bind(source: Any, target: Any) -> Any:
        return catalogue.build("adapter", name, {"source": source, "target": target}, **options)

    return AdapterSubject(str(catalogue.describe("adapter", name)), bind)


def _case(subject: AdapterSubject, count: int = 4, length: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids ``(B, L)``, their translation, and a gradient at the target's embeddings, ``(B, L, e)``."""
    source, target = subject.spaces
    rng = torch.Generator().manual_seed(23)
    ids = torch.randint(len(WORDS), (count, length), generator=rng)
    gradient = torch.randn(count, length, _WIDTHS[1], generator=rng, dtype=torch.float64)
    return ids, torch.tensor(target.encode(source.decode(ids))), gradient


@CHECKS.required(remedy="Add what is missing; see preimage.api.EmbeddingAdapter.")
def _follows_the_protocol(subject: AdapterSubject) -> None:
    """It has source, target, fit, translate and pull_back, and is bound to the spaces that it was given."""
    missing = missing_members(subject.fitted, EmbeddingAdapter)
    if missing:
        raise Violation(f"{type(subject.fitted).__name__} has no {' and no '.join(missing)}.")
    if subject.fitted.source is not subject.spaces[0] or subject.fitted.target is not subject.spaces[1]:
        raise Violation("Its source and target are not the spaces that it was built with.")


@CHECKS.required(remedy="Decode with the source and encode with the target; never look for the nearest embedding.")
def _translation_goes_through_text(subject: AdapterSubject) -> None:
    """Ids are translated to what the target reads in their text."""
    ids, expected, _ = _case(subject, count=12)
    translated = subject.fitted.translate(ids)
    for text, ours, theirs in zip(subject.spaces[0].decode(ids), translated, expected.tolist(), strict=True):
        if list(ours) != theirs:
            raise Violation(f"{text!r} is {theirs} to the target, and it answers {list(ours)}.")


@CHECKS.required(remedy="Return (B, L, d) in the dtype and on the device of the source's embeddings, detached.")
def _gradient_has_the_shape(subject: AdapterSubject) -> None:
    """What is pulled back is a finite tensor (B, L, d) of the source's dtype."""
    ids, translated, gradient = _case(subject)
    pulled = subject.fitted.pull_back(ids, translated, gradient)
    expected = (*ids.shape, _WIDTHS[0])
    if tuple(pulled.shape) != expected or pulled.dtype != gradient.dtype:
        raise Violation(f"It returns {tuple(pulled.shape)} of {pulled.dtype} instead of {expected} of torch.float64.")
    if not pulled.isfinite().all() or pulled.requires_grad:
        raise Violation("What it returns is not finite, or carries a history.")


@CHECKS.required(remedy="Fit the map from source to target embeddings, and pull back by its transpose.")
def _exact_on_a_linear_map(subject: AdapterSubject) -> None:
    """Where the target's embeddings are a linear map of the source's, gradients are those of the chain rule."""
    ids, translated, gradient = _case(subject)
    pulled = subject.fitted.pull_back(ids, translated, gradient).detach()
    expected = gradient @ subject.matrix.T
    error = float((pulled - expected).norm() / expected.norm())
    if not error <= 0.01:
        raise Violation(f"What it pulls back differs from the exact gradient by {100 * error:.3g} %.")


@CHECKS.required(remedy="Align and pull back each row by itself.")
def _batch_equals_singles(subject: AdapterSubject) -> None:
    """A row's gradient does not depend on the other rows."""
    ids, translated, gradient = _case(subject)
    together = subject.fitted.pull_back(ids, translated, gradient).detach()
    for row in range(len(ids)):
        span = slice(row, row + 1)
        alone = subject.fitted.pull_back(ids[span], translated[span], gradient[span]).detach()
        if not torch.allclose(together[span], alone, rtol=1e-6, atol=1e-9):
            gap = float((together[span] - alone).norm())
            raise Violation(f"Row {row} alone and among {len(ids)} differ by {gap:.3g}.")


@CHECKS.required(remedy="Draw from a generator of your own, seeded by an option.")
def _fitting_is_repeatable(subject: AdapterSubject) -> None:
    """Fitted twice on the same words, it pulls back alike."""
    source, target = subject.spaces
    ids, translated, gradient = _case(subject)
    answers = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            adapter = subject.bind(source=source, target=target)
            adapter.fit(list(WORDS))
            answers.append(adapter.pull_back(ids, translated, gradient).detach())
    if not torch.allclose(answers[0], answers[1], rtol=1e-9, atol=1e-12):
        raise Violation(f"Fitted twice, it differs by {float((answers[0] - answers[1]).norm()):.3g}.")


@CHECKS.required(remedy="Work on copies of embeddings, ids and gradients.")
def _inputs_are_not_changed(subject: AdapterSubject) -> None:
    """Neither the spaces nor ids and gradients are written to."""
    given = _case(subject)
    embeddings = [space.embedding for space in subject.spaces]
    copies = [tensor.clone() for tensor in (*given, *embeddings)]
    adapter = subject.bind(source=subject.spaces[0], target=subject.spaces[1])
    adapter.fit()
    adapter.translate(given[0])
    adapter.pull_back(*given)
    names = ("the ids", "their translation", "the gradient", "the source's embeddings", "the target's embeddings")
    for name, before, after in zip(names, copies, (*given, *embeddings), strict=True):
        if not torch.equal(before, after):
            raise Violation(f"It writes to {name}.")


@CHECKS.required(remedy="Use generators of your own, the logging module, and local settings.")
def _leaves_the_process_alone(subject: AdapterSubject) -> None:
    """Building, fitting and asking it prints nothing and changes no global generator, setting or directory."""
    source, target = subject.spaces
    given = _case(subject)
    with untouched("Fitting and asking it"):
        adapter = subject.bind(source=source, target=target)
        adapter.fit()
        adapter.pull_back(*given)
