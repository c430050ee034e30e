"""One step of a search algorithm, written as a function that asks for what it needs to know.

A step is a generator. It yields a *request*, is sent the answer, and returns the next state::

    def step(self, space, state, rng):
        _, gradient = yield Gradients(state.current)
        candidates = self.propose(space, state.current, gradient, rng)
        losses = yield Losses(candidates)
        return state.moved(candidates, losses)

It never touches a model. The host owns the loop and answers: it meters, batches, remembers, joins the requests
of many runs into one forward pass, keeps the best, and stops when the budget is spent.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import attrs

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.model import Decoding

__all__ = ["Answer", "Captions", "Gradients", "Losses", "NextTokens", "Optimizer", "Request", "State", "Step"]


@attrs.frozen(eq=False)
class Losses:
    """Asks for the loss of each candidate; the answer is a tensor ``(B,)``, or ``(B, T)`` with `terms`.

    Attributes:
        candidates: token ids ``(B, L)``, or features ``(B, D)``.
        run: for a rowwise optimizer, which of its runs each candidate belongs to, ``(B,)``.
        terms: answer every term by itself instead of their weighted sum; a matter of features. Term 0 is the
            decision's margin, wanted where it is not above 0, and term 1 the distance from the query.
    """

    candidates: Tensor
    run: Tensor | None = None
    terms: bool = False


@attrs.frozen(eq=False)
class Gradients:
    """Asks for losses ``(B,)`` and gradients; the answer is the pair of them.

    Gradients are with respect to the input embeddings, ``(B, L, d)``, or to the features, ``(B, D)``.

    Attributes:
        candidates: token ids ``(B, L)``, or features ``(B, D)``.
        run: for a rowwise optimizer, which of its runs each candidate belongs to, ``(B,)``.
        terms: answer every term by itself, ``(B, T)`` and ``(B, T, D)``, see `Losses`; ``"decision"`` answers the
            margin alone, ``(B, 1)`` and ``(B, 1, D)``, where the distance's slope is known anyway.
    """

    candidates: Tensor
    run: Tensor | None = None
    terms: bool | Literal["decision"] = False


@attrs.frozen(eq=False)
class NextTokens:
    """Asks what is likely to follow; the answer is a tensor of log-probabilities ``(B, V)``.

    Attributes:
        prefixes: token ids ``(B, L)``; ``L`` may be 0.
        run: for a rowwise optimizer, which of its runs each prefix belongs to, ``(B,)``.
    """

    prefixes: Tensor
    run: Tensor | None = None


@attrs.frozen(eq=False)
class Captions:
    """Asks what the run's picture shows; the answer is a tuple of texts.

    Of a target of several pictures it has the captions of each. For a rowwise optimizer it is a tuple of such tuples,
    one for each run.

    Attributes:
        captioner: the reference of the model that is asked, the optimizer's own `captioner`.
        decoding: how many captions, and how they are found.
        seed: of what is sampled; to be drawn from the run's generator.
    """

    captioner: str
    decoding: Decoding
    seed: int = 0


Request: TypeAlias = Losses | Gradients | NextTokens | Captions
Answer: TypeAlias = "Tensor | tuple[Tensor, Tensor] | tuple[str, ...] | tuple[tuple[str, ...], ...]"


class State(Protocol):
    """Where a search stands: a frozen attrs record of tensors, numbers, texts and tuples of these.

    The host saves and restores it, so it must hold everything that the next step depends on besides the
    random generator. The best candidate is the host's to keep.
    """

    @property
    def current(self) -> Tensor:
        """The current iterate, ``(L,)`` or ``(D,)``; one row per run for a rowwise optimizer."""
        ...

    @property
    def done(self) -> bool:
        """Whether there is nothing left to try."""
        ...


S = TypeVar("S", bound=State)
Step: TypeAlias = "Generator[Request, Any, S]"


@runtime_checkable
class Optimizer(Protocol[S]):
    """A search algorithm over texts or features.

    Attributes:
        requires: what it asks for besides losses: ``"gradient"``, ``"next-token"``, ``"captions"``. An optimizer that
            requires captions also has `captioner`, the model to ask: a reference, or a `Captioner`.
        rowwise: its rows are independent runs, so one state carries all targets; otherwise every target has a
            state of its own and the host advances them in lockstep. A rowwise optimizer is given a tuple, with
            one entry per run, wherever this says one generator or one start; given starts are equally long, and
            runs whose starts are not get a state for each length.
        State: the class of its states, from which the host restores a saved run.

    More is looked for in those that search features and may be absent, which means false:

    - ``keeps_first``: the first answer to a query is kept, not the nearest: a draw is none once the nearest is picked.
    - ``needs_quadratic``: only distances that rise with a quadratic form will do.
    - ``needs_sample``: only distances that draw rows will do.
    - ``needs_linear``: only scores that are linear in the row will do.
    """

    requires: frozenset[str]
    rowwise: bool
    State: type[S]

    def start(self, space: Any, rng: Any, initial: Any) -> S:
        """Return the first state.

        Arguments:
            space: the `SearchSpace` (texts) or `FeatureSpace` to search.
            rng: the run's `torch.Generator`, its only source of randomness.
            initial: ids ``(L,)`` or features ``(D,)`` to start from, for example the result of an earlier stage;
                None lets the optimizer's own options decide.
        """
        ...

    def step(self, space: Any, state: S, rng: Any) -> Step[S]:
        """Advance by one step; see the module's description."""
        ...
