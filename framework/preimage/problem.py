"""What is searched and what is asked of it: a space, weighted terms, and the cost of every answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import attrs
import torch

from preimage.api.objective import GradientObjective, NextTokenObjective, Objective
from preimage.api.template import Template
from preimage.chunks import Chunks
from preimage.errors import AssemblyError, NonFiniteLossError, PluginError
from preimage.memory import Memory
from preimage.text_space import BoundTemplate

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.adapter import EmbeddingAdapter
    from preimage.api.model import Decoding
    from preimage.api.space import TextSpace
    from preimage.captioning import Captioning
    from preimage.search_space import SearchSpace

__all__ = ["BoundTerm", "Evaluation", "Problem"]


@attrs.frozen(eq=False)
class BoundTerm:
    """One objective of a problem, bound to its model and targets."""

    name: str
    objective: Objective
    weight: float = 1.0
    template: Template = attrs.field(factory=Template)
    adapter: EmbeddingAdapter | None = None


@attrs.frozen(eq=False)
class Evaluation:
    """Losses with their breakdown and what each row has cost.

    Attributes:
        losses: the weighted sums, ``(B,)`` float64.
        terms: the unweighted values, ``(B, T)`` float64, one column per term.
        forward: rows sent forward through a model on account of each row, ``(B,)``.
        backward: the same for backward passes.
        gradient: of the weighted sums, ``(B, L, d)``, where it was asked for.
    """

    losses: Tensor
    terms: Tensor
    forward: Tensor
    backward: Tensor
    gradient: Tensor | None = None


class Problem:
    """Adds up the terms, splits batches, drops duplicates, and counts.

    The first term's space is the one that is searched. The other terms read the candidates as text, in
    their own template, with their own tokenizer. A text that one of them has no room for is not stable; where an
    optimizer asks about one all the same, that term reads its beginning.

    Arguments:
        space: what an optimizer may propose; `Problem.space` knows the terms' models as well.
        terms: what makes a candidate good; lower is better.
        batch_size: rows in one forward pass at most; halved for good when memory runs out.
        captioning: says what the targets show, where an optimizer asks for that.

    Raises:
        AssemblyError: there is no term, or terms are bound to different numbers of targets.
        OptionError: `batch_size` is no whole number of at least 1.
    """

    def __init__(
        self,
        space: SearchSpace,
        terms: Sequence[BoundTerm],
        *,
        batch_size: int | None = None,
        captioning: Captioning | None = None,
    ) -> None:
        if not terms:
            message = "A problem without an objective has nothing to minimise: add at least one term."
            raise AssemblyError(message)
        counts = {term.name: term.objective.n_targets for term in terms}
        if len(set(counts.values())) > 1:
            message = f"The terms are bound to different numbers of targets, {counts}: give each term the same."
            raise AssemblyError(message)
        self.space = space.read_by([(cast("TextSpace", term.objective.space), term.template) for term in terms])
        self.terms = tuple(terms)
        self.n_targets = terms[0].objective.n_targets
        self._chunks = Chunks(batch_size)
        self.memory = Memory()
        self._captioning = captioning
        self._served_before = self._served()
        self._weights = torch.tensor([term.weight for term in terms], dtype=torch.float64)
        self._templates = tuple(BoundTemplate(space.tokens, term.template) for term in terms)

    @property
    def batch_size(self) -> int | None:
        """Rows in one forward pass at most; None until memory runs out for the first time."""
        return self._chunks.size

    @batch_size.setter
    def batch_size(self, size: int | None) -> None:
        self._chunks.size = size

    def losses(self, candidates: Tensor, target: Tensor) -> Evaluation:
        """Score each candidate; what has been scored before costs nothing.

        Arguments:
            candidates: token ids of the prompts, ``(B, L)``.
            target: the index of each row's target, ``(B,)``.

        Raises:
            NonFiniteLossError: an objective answered NaN or infinity.
            CapacityError: not even one row fits into memory.
        """
        keys = self.memory.keys(candidates, target)
        known = [self.memory.recall(key) for key in keys]
        # The first row of each new candidate is scored; its duplicates in the batch are answered by it.
        first = {key: row for row, key in reversed(list(enumerate(keys))) if known[row] is None}
        rows = sorted(first.values())
        if rows:
            index = torch.tensor(rows, device=candidates.device)
            fresh = self._term_values(self._readings(candidates[index]), target[index])
            answers = dict(zip((keys[row] for row in rows), map(tuple, fresh.tolist()), strict=True))
            for key, values in answers.items():
                self.memory.remember(key, values)
            known = [answers[key] if values is None else values for key, values in zip(keys, known, strict=True)]
        forward = torch.zeros(len(keys), dtype=torch.int64)
        forward[rows] = len(self.terms)
        return self._evaluation(torch.tensor(known, dtype=torch.float64), candidates.device, forward)

    def losses_and_gradients(self, candidates: Tensor, target: Tensor) -> Evaluation:
        """Score each candidate and say how its embeddings should move; arguments and errors as for `losses`.

        Raises:
            AssemblyError: a term has no gradient, or no adapter to carry it into the searched space.
        """
        values = torch.empty(len(candidates), len(self.terms), dtype=torch.float64)
        total: Tensor | None = None
        for column, term in enumerate(self.terms):
            losses, gradient = self._gradient_of(column, term, candidates, target)
            values[:, column] = losses.double().cpu()
            total = gradient * term.weight if total is None else total + gradient * term.weight
        self._check_finite(values)
        passes = torch.full((len(candidates),), len(self.terms), dtype=torch.int64)
        evaluation = self._evaluation(values, candidates.device, passes)
        return attrs.evolve(evaluation, backward=passes.to(candidates.device), gradient=total)

    def next_token_log_probs(self, prefixes: Tensor, target: Tensor) -> Tensor:
        """Return how likely each token is to follow, ``(B, V)``, under the terms that can tell.

        Of several language models it is the geometric mean by their weights. How large the weights are together
        says how much fluency counts in the loss, and does not flatten what a model knows: where all are zero, the
        models have an equal say.

        Raises:
            AssemblyError: no term can tell.
        """
        known: list[tuple[float, Tensor]] = []
        for term, bound in zip(self.terms, self._templates, strict=True):
            if isinstance(term.objective, NextTokenObjective) and self._shares_space(term):
                lead = bound.prefix.to(prefixes.device).expand(len(prefixes), -1)
                log_probs = term.objective.next_token_log_probs(torch.cat([lead, prefixes], dim=1), target)
                known.append((term.weight, log_probs))
        if not known:
            message = (
                f"None of the terms {[term.name for term in self.terms]} knows what is likely to follow a text in "
                f"the tokens of {self.space.name}: add an objective of a language model with that tokenizer."
            )
            raise AssemblyError(message)
        if not any(weight for weight, _ in known):
            known = [(1.0, log_probs) for _, log_probs in known]
        scale = sum(abs(weight) for weight, _ in known)
        mean = torch.stack([log_probs * (weight / scale) for weight, log_probs in known]).sum(dim=0)
        return torch.log_softmax(mean, dim=1)

    def captions(
        self, captioner: str, decoding: Decoding, targets: Sequence[int], seeds: Sequence[int]
    ) -> list[tuple[str, ...]]:
        """Return what targets show, in words; see `Captioning`.

        Raises:
            AssemblyError: no captioner was loaded, or a target is no picture.
        """
        if self._captioning is None:
            message = f"Captions of {captioner!r} are asked for, and this problem has no captioner: give it captioning."
            raise AssemblyError(message)
        return self._captioning(captioner, decoding, targets, seeds)

    def score_texts(self, texts: Sequence[str], target: Tensor) -> Evaluation:
        """Score prompts as texts, each typed into the templates afresh: the public value of a prompt.

        Raises:
            InputError: a text has no token for one of the models, or more than it can read.
        """
        self.space.check_readable(texts)
        readings = [_grouped(self._typed(term, texts), self.space.device) for term in self.terms]
        values = self._term_values(readings, target)
        forward = torch.full((len(texts),), len(self.terms), dtype=torch.int64)
        return self._evaluation(values, self.space.device, forward)

    def coverage(self) -> dict[str, dict[str, int]]:
        """Return for each term with an adapter that counts them how the words of all gradients so far were served."""
        return {
            name: {how: count - self._served_before[name][how] for how, count in counts.items()}
            for name, counts in self._served().items()
        }

    def count_on(self, coverage: Mapping[str, Mapping[str, int]]) -> None:
        """Count on from what `coverage` returned before the run was interrupted."""
        for name, counts in coverage.items():
            for how, count in counts.items():
                self._served_before[name][how] -= count

    def _served(self) -> dict[str, dict[str, int]]:
        counted: dict[str, Any] = {term.name: getattr(term.adapter, "coverage", None) for term in self.terms}
        return {name: attrs.asdict(record) for name, record in counted.items() if attrs.has(type(record))}

    def stable(self, candidates: Tensor) -> Tensor:
        """Tell which candidates are read back from their text unchanged, bool ``(B,)``."""
        return self.space.is_stable(candidates)

    def _shares_space(self, term: BoundTerm) -> bool:
        return cast("TextSpace", term.objective.space).fingerprint == self.space.tokens.fingerprint

    @cached_property
    def _share_embedding(self) -> tuple[bool, ...]:
        """Which terms' gradients are gradients in the searched space as they are."""
        return tuple(map(self._shares_embedding, self.terms))

    def _shares_embedding(self, term: BoundTerm) -> bool:
        # Two models may share a tokenizer and still embed its tokens differently; two roles of one reference are two
        # models with the same embeddings.
        if not self._shares_space(term):
            return False
        own, other = self.space.embedding, cast("TextSpace", term.objective.space).embedding
        alike = (own.dtype, own.device) == (other.dtype, other.device)
        return own.data_ptr() == other.data_ptr() or (alike and torch.equal(own, other))

    def _readings(self, candidates: Tensor) -> list[list[tuple[Tensor, Tensor]]]:
        """Return for each term the complete ids it reads, in groups ``(rows, ids (b, L))`` of one length."""
        everything = torch.arange(len(candidates), device=candidates.device)
        texts: list[str] | None = None
        readings = []
        for term, bound in zip(self.terms, self._templates, strict=True):
            if self._shares_space(term):
                readings.append([(everything, bound.fill(candidates))])
                continue
            texts = self.space.decode(candidates) if texts is None else texts
            readings.append(_grouped(self._typed(term, texts), candidates.device))
        return readings

    def _typed(self, term: BoundTerm, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids that `term` reads where each of `texts` is typed into its template, as many as it can."""
        space = cast("TextSpace", term.objective.space)
        encoded = space.encode([term.template.fill(text) for text in texts])
        # A text that is too long has a beginning to be read; of one without a token no model can say anything.
        self.space.check_readable([text for text, ids in zip(texts, encoded, strict=True) if not ids])
        return [ids[: space.max_length] for ids in encoded]

    def _term_values(self, readings: list[list[tuple[Tensor, Tensor]]], target: Tensor) -> Tensor:
        """Return the value of each term for each row, ``(B, T)`` float64 on the CPU."""
        values = torch.empty(len(target), len(self.terms), dtype=torch.float64)
        for column, (term, groups) in enumerate(zip(self.terms, readings, strict=True)):
            for rows, ids in groups:
                for span, losses in self._spans(term.objective.loss, ids, target[rows]):
                    _check_shape(term, losses, len(ids[span]))
                    values[rows[span].cpu(), column] = losses.detach().double().cpu()
        self._check_finite(values)
        return values

    def _gradient_of(self, column: int, term: BoundTerm, candidates: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return one term's losses, ``(B,)``, and gradient in the searched space, ``(B, L, d)``."""
        if not isinstance(term.objective, GradientObjective):
            message = (
                f"The objective {term.name!r} offers values only, and the optimizer asks for gradients: "
                "use an optimizer that needs none, such as random-search, or another objective."
            )
            raise AssemblyError(message)
        bound = self._templates[column]
        complete = bound.fill(candidates)
        if term.adapter is None and self._share_embedding[column]:
            answers = [answer for _, answer in self._spans(term.objective.loss_and_gradient, complete, target)]
            near = torch.cat([gradient for _, gradient in answers])
            return torch.cat([loss for loss, _ in answers]), bound.gather(near, candidates.shape[1])
        if term.adapter is None:
            message = (
                f"{term.name!r} reads the tokens of {term.objective.space.name} and {self.space.name} is searched, "  # type: ignore[union-attr]
                "so its gradient needs an adapter: name one, such as adapter: fuse."
            )
            raise AssemblyError(message)
        losses = torch.empty(len(candidates), dtype=torch.float64, device=candidates.device)
        width = self.space.embedding.shape[1]
        gradient = self.space.embedding.new_zeros(len(candidates), complete.shape[1], width)
        for rows, ids in _grouped(self._typed(term, self.space.decode(candidates)), candidates.device):
            for span, (loss, far) in self._spans(term.objective.loss_and_gradient, ids, target[rows]):
                losses[rows[span]] = loss.double()
                gradient[rows[span]] = term.adapter.pull_back(complete[rows[span]], ids[span], far)
        return losses, bound.gather(gradient, candidates.shape[1])

    def _spans(
        self, function: Callable[[Tensor, Tensor], Any], ids: Tensor, target: Tensor
    ) -> Iterator[tuple[slice, Any]]:
        """Yield ``(span, function(ids[span], target[span]))`` over the rows, as many at once as fit."""
        what = f"candidate of {ids.shape[1]} tokens"
        return self._chunks(lambda span: function(ids[span], target[span]), len(ids), what)

    def _evaluation(self, values: Tensor, device: torch.device, forward: Tensor) -> Evaluation:
        losses = (values * self._weights).sum(dim=1)
        return Evaluation(
            losses.to(device), values.to(device), forward.to(device), torch.zeros_like(forward).to(device)
        )

    def _check_finite(self, values: Tensor) -> None:
        """Raise unless all of ``values (B, T)`` are numbers."""
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            message = (
                f"The objective {self.terms[column].name!r} answered {values[row, column].item()} for "
                f"{len(bad)} of {len(values)} candidates, so they cannot be compared: check its model (half precision "
                "overflows on some), its target, and its options."
            )
            raise NonFiniteLossError(message)


def _grouped(encoded: Sequence[Sequence[int]], device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return rows of one length together, as ``(rows (b,), ids (b, L))``: nobody pads."""
    by_length: dict[int, list[int]] = {}
    for row, ids in enumerate(encoded):
        by_length.setdefault(len(ids), []).append(row)
    return [
        (torch.tensor(rows, device=device), torch.tensor([list(encoded[row]) for row in rows], device=device))
        for rows in by_length.values()
    ]


def _check_shape(term: BoundTerm, losses: Tensor, n_rows: int) -> None:
    if losses.shape != (n_rows,):
        message = (
            f"The objective {term.name!r} answered a tensor of shape {tuple(losses.shape)} for {n_rows} candidates; "
            "the contract is one number per candidate."
        )
        raise PluginError(message)
