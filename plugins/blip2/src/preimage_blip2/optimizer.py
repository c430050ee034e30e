"""Captions as prompts: the picture is looked at once, and the objective chooses among what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.api import Captions
from preimage.errors import ConstraintError
from preimage.prompts import losses_of
from preimage_blip2.wording import worded

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Captioner, Step
    from preimage.search_space import SearchSpace
    from preimage_blip2.config import Blip2Config

__all__ = ["Blip2", "Blip2State"]


@attrs.frozen(eq=False, kw_only=True)
class Blip2State:
    """What was said of the picture, and what it is worth.

    Attributes:
        current: the token ids of the best caption, ``(L,)``; before the only step where the search starts, or none.
        captions: what the captioner said, the likeliest first, then what was sampled.
        prompts: the different prompts that were made of it, best first.
        losses: theirs, ``(N,)`` float64.
        done: the step has been made.
    """

    current: Tensor
    captions: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    losses: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.float64))
    done: bool = False


class Blip2:
    """Asks a captioner what the picture shows, ranks the captions by their losses, and is done.

    Captions are prompts as soon as they are words of the searched model: see `worded`.

    Arguments:
        config: the options.
        captioner: a live model, instead of the one that the options name.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"captions"})
    rowwise: ClassVar[bool] = False
    State: ClassVar[type[Blip2State]] = Blip2State

    def __init__(self, config: Blip2Config, captioner: Captioner | None = None) -> None:
        self.config = config
        self.captioner: str | Captioner = config.captioner if captioner is None else captioner

    def start(self, space: SearchSpace, rng: torch.Generator, initial: Tensor | None) -> Blip2State:
        """Return the state at the given ids ``(L,)``, or at none."""
        nothing = torch.empty(0, dtype=torch.int64, device=space.device)
        return Blip2State(current=nothing if initial is None else initial)

    def step(self, space: SearchSpace, state: Blip2State, rng: torch.Generator) -> Step[Blip2State]:
        """Ask for captions and for their losses.

        Raises:
            ConstraintError: no caption has a word that may be proposed, and there is no prompt yet.
        """
        reference = self.captioner if isinstance(self.captioner, str) else self.captioner.reference
        seed = int(torch.randint(2**31, (), generator=rng))
        said = yield Captions(reference, self.config.decoding, seed)
        prompts = list(dict.fromkeys(tuple(worded(space, caption, self.config.prompt_length)) for caption in said))
        prompts = [prompt for prompt in prompts if prompt]
        if not prompts:
            if not len(state.current):
                message = (
                    f"No word of what {reference} says of the picture, such as {said[0]!r}, may be proposed by "
                    f"{space.name}: allow more words, or more tokens than {self.config.prompt_length}."
                )
                raise ConstraintError(message)
            return attrs.evolve(state, captions=said, done=True)
        losses = yield from losses_of(prompts, space.device)
        order = losses.argsort(stable=True)
        return Blip2State(
            current=torch.tensor(prompts[int(order[0])], device=space.device),
            captions=said,
            prompts=tuple(space.decode(torch.tensor([prompts[place]]))[0] for place in order.tolist()),
            losses=losses[order],
            done=True,
        )
