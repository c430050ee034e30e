"""Words of a text replaced, dropped and put in, one more with each step."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs
import torch

from preimage.errors import ConstraintError
from preimage.prompts import losses_of, proposable
from preimage.start import TextStart, initial_ids
from preimage_counterfactual.texts.wording import WordChange, changed, words_in

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import Losses, Step
    from preimage.search_space import SearchSpace
    from preimage_counterfactual.texts.config import WordEditsConfig

__all__ = ["WordEdits", "WordEditsState", "whole_words"]

_WHOLE = re.compile(r"\w\w+")


@attrs.frozen(eq=False, kw_only=True)
class WordEditsState:
    """The texts that are edited further.

    Attributes:
        beams: token ids of each, ``(L,)``, the best first.
        lowest: the lowest loss of all texts so far; infinite before the first step.
        ranking: the words that may be put in, the best first, as numbers of their places in the list, ``(W,)``;
            empty before the first step.
        edits: how many steps there were.
        done: one more edit does not pay, or no more are allowed.
    """

    beams: tuple[Tensor, ...]
    lowest: float = torch.inf
    ranking: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.int64))
    edits: int = 0
    done: bool = False

    @property
    def current(self) -> Tensor:
        """The best of the texts that are edited further, ``(L,)``."""
        return self.beams[0]


class WordEdits:
    """Edits a text word by word: a step replaces, drops or puts in one more word, where and by which helps most.

    It needs losses alone, and works on words, so that nobody's tokens are cut in pieces:

    1. each word is left out for once: the more that changes the loss, up or down, the more its place matters;
    2. in the first step all words, `search_width` at most, are tried at the place that matters most, which ranks them;
    3. the `words_per_place` best words are tried at every place that matters, instead of the word there and in front of
       it, as many places as `search_width` has room for;
    4. the `beam_width` best texts are edited further, until an edit does not lower the loss.

    Unlike TextFooler (arXiv:1907.11932), whose importance of words this is, it also drops words and puts words in, and
    which of several edits is the nearer or the more plausible is for the objective to say.
    """

    requires: ClassVar[frozenset[str]] = frozenset()
    rowwise: ClassVar[bool] = False
    State: ClassVar[type[WordEditsState]] = WordEditsState

    def __init__(self, config: WordEditsConfig) -> None:
        self.config = config

    def start(self, space: SearchSpace, rng: torch.Generator, initial: Tensor | None) -> WordEditsState:
        """Return the state at the given ids ``(L,)`` or at the start text.

        Raises:
            ConstraintError: there is nothing to edit, or it does not fit.
        """
        given = self.config.given
        if initial is None and given is None:
            message = (
                "There is no text to edit: give it as optim_str_init, or put word-edits behind a stage that finds one."
            )
            raise ConstraintError(message)
        return WordEditsState(beams=(initial_ids(space, rng, given or TextStart(), initial),))

    def step(self, space: SearchSpace, state: WordEditsState, rng: torch.Generator) -> Step[WordEditsState]:
        """Ask for the losses of edited texts, and go on from the best."""
        vocabulary = self.config.words or whole_words(space)
        texts = [space.decode(beam[None])[0] for beam in state.beams]
        known: dict[tuple[int, ...], float] = {}
        places = []
        for text in texts:
            words = words_in(text)
            dropped = [changed(text, [WordChange(place, word, "")]) for place, word in enumerate(words)]
            losses = yield from _scored(space, [text, *dropped], state.beams, known)
            places.append(_by_weight(losses[0], losses[1:]))
        ranking = state.ranking
        if not len(ranking):
            place = places[0][:1]
            tried = _edits(texts[0], place, vocabulary[: self.config.search_width], drop=False)
            losses = yield from _scored(space, tried, state.beams, known)
            order = sorted(range(len(tried)), key=losses.__getitem__)
            # Each word was tried twice, instead of the word there and in front of it.
            ranking = torch.tensor(list(dict.fromkeys(index // 2 for index in order)), dtype=torch.int64)
        favoured = [vocabulary[index] for index in ranking[: self.config.words_per_place].tolist()]
        room = max(1, self.config.search_width // (2 * max(1, len(favoured)) * len(texts)))
        for text, ordered in zip(texts, places, strict=True):
            yield from _scored(space, _edits(text, ordered[:room], favoured), state.beams, known)
        return self.moved(space, state, ranking, known)

    def moved(
        self, space: SearchSpace, state: WordEditsState, ranking: Tensor, known: dict[tuple[int, ...], float]
    ) -> WordEditsState:
        """Return the state at the best of the texts that are `known` with their losses."""
        best = sorted(known, key=lambda ids: (known[ids], len(ids)))[: self.config.beam_width]
        lowest = known[best[0]]
        edits = state.edits + 1
        return WordEditsState(
            beams=tuple(torch.tensor(ids, device=space.device) for ids in best),
            lowest=min(lowest, state.lowest),
            ranking=ranking,
            edits=edits,
            done=edits >= self.config.max_edits or not lowest < state.lowest or best[0] == _tuple(state.current),
        )


def whole_words(space: SearchSpace) -> tuple[str, ...]:
    """Return the words of two letters or more that are single tokens behind another word, in the tokenizer's order."""
    texts = [text.strip() for text in space.decode(space.allowed_ids[:, None])]
    (lead,) = space.encode(["a"])
    read = space.encode([f"a {text}" for text in texts])
    pairs = zip(texts, read, strict=True)
    return tuple(dict.fromkeys(text for text, ids in pairs if _WHOLE.fullmatch(text) and len(ids) == len(lead) + 1))


def _by_weight(loss: float, without: Sequence[float]) -> list[int]:
    """Return the places of words, those first without which the loss is most different."""
    # A word that speaks for one of several unwanted classes may make things worse by being gone, and better by another.
    weights = [abs(other - loss) if other < torch.inf else torch.inf for other in without]
    return sorted(range(len(weights)), key=lambda place: -weights[place])


def _edits(text: str, places: Sequence[int], words: Sequence[str], *, drop: bool = True) -> list[str]:
    """Return a text with each word instead of the word at each place and in front of it, and without that word."""
    own = words_in(text)
    edited = []
    for place in places:
        for word in words:
            edited.append(changed(text, [WordChange(place, own[place], word)]))
            edited.append(changed(text, [WordChange(place, "", word)]))
        if drop:
            edited.append(changed(text, [WordChange(place, own[place], "")]))
    return edited


def _scored(
    space: SearchSpace, texts: Sequence[str], beams: Sequence[Tensor], known: dict[tuple[int, ...], float]
) -> Generator[Losses, Tensor, list[float]]:
    """Ask for the losses of texts, write them down by their ids, and return them; infinite for what may not be."""
    prompts = [tuple(ids) for ids in space.encode(texts)]
    own = {token for beam in beams for token in beam.tolist()}
    possible = [
        good and bool(prompt) for prompt, good in zip(prompts, proposable(space, prompts, tuple(own)), strict=True)
    ]
    asked = list(dict.fromkeys(prompt for prompt, good in zip(prompts, possible, strict=True) if good))
    if asked:
        answers = yield from losses_of(asked, space.device)
        known.update(zip(asked, answers.tolist(), strict=True))
    return [known[prompt] if good else torch.inf for prompt, good in zip(prompts, possible, strict=True)]


def _tuple(ids: Tensor) -> tuple[int, ...]:
    return tuple(ids.tolist())
