"""The texts that a search may propose: a model's tokens, less what the user bans, in the templates' context."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import combinations
from operator import itemgetter
from typing import TYPE_CHECKING

import attrs
import torch

from preimage.api.template import Template
from preimage.errors import ConstraintError, InputError
from preimage.text_space import BoundTemplate

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.space import TextSpace

__all__ = ["Constraints", "SearchSpace"]


def _words(words: Iterable[str]) -> tuple[str, ...]:
    # A single word is also an iterable of texts, namely of its letters.
    return (words,) if isinstance(words, str) else tuple(words)


@attrs.frozen(kw_only=True)
class Constraints:
    """What the user allows a prompt to hold."""

    allow_non_ascii: bool = attrs.field(
        default=False, metadata={"help": "Propose tokens with letters outside ASCII, too."}
    )
    allowed_words: tuple[str, ...] | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(_words),
        metadata={"help": "Propose only tokens that these words are made of."},
    )
    banned_words: tuple[str, ...] = attrs.field(
        default=(), converter=_words, metadata={"help": "Never propose a token of which one of these is made."}
    )


class SearchSpace:
    """A `TextSpace` as an optimizer sees it: the user's bans applied, stability judged in every template.

    Attributes:
        tokens: the space it restricts.
        templates: those in which models read its tokens; a prompt is stable when it is stable in each.
        max_length: how many tokens a prompt may have, so that it fits in each.
        strangers: models' spaces with tokens of their own, in which the prompts are read as well, with their templates.

    Raises:
        ConstraintError: no token is left.
    """

    def __init__(
        self,
        tokens: TextSpace,
        constraints: Constraints | None = None,
        templates: Sequence[Template] = (Template(),),
    ) -> None:
        self.tokens = tokens
        self.constraints = constraints or Constraints()
        self.allowed = _allowed(tokens, self.constraints)
        self.allowed_ids = self.allowed.nonzero().flatten()
        self._bind([(tokens, template) for template in templates])

    def read_by(self, readers: Sequence[tuple[TextSpace, Template]]) -> SearchSpace:
        """Return this space for prompts that each of `readers` is asked about: a model's space and its template.

        Those with the tokens of this space decide on the templates and the length. Those with tokens of their own read
        the text, whatever it was made of, but a prompt that one of them has no room for is not stable.
        """
        read = copy.copy(self)
        read._bind(readers)
        return read

    def _bind(self, readers: Sequence[tuple[TextSpace, Template]]) -> None:
        """Take over who reads the prompts."""
        own = self.tokens.fingerprint
        near = [(space, template) for space, template in readers if space.fingerprint == own]
        near = near or [(self.tokens, Template())]
        self.templates = tuple(dict.fromkeys(template for _, template in near))
        self.max_length, self._narrowest = min(
            ((_room(space, template), space.name) for space, template in near), key=itemgetter(0)
        )
        self._first = BoundTemplate(self.tokens, self.templates[0])
        self._readers = tuple(readers)
        self.strangers = tuple((space, template) for space, template in readers if space.fingerprint != own)
        # A copy must not take along what was found out for other readers.
        self.__dict__.pop("at_odds", None)

    @cached_property
    def at_odds(self) -> tuple[Template, Template] | None:
        """Two templates that no prompt is stable in at once, as far as single tokens tell; None where all agree.

        Byte-level tokenizers have two tokens for a word, one for the beginning of a text and one for the place behind
        other text, so that a template that begins with its slot and one that does not have no token in common.
        """
        if len(self.templates) == 1:
            return None
        single = self.allowed_ids[:, None]
        stable = {template: self.tokens.is_stable(single, template) for template in self.templates}
        for one, other in combinations(self.templates, 2):
            if stable[one].any() and stable[other].any() and not (stable[one] & stable[other]).any():
                return one, other
        return None

    @property
    def name(self) -> str:
        """The reference of the model that the space belongs to."""
        return self.tokens.name

    @property
    def embedding(self) -> Tensor:
        """The input embeddings, ``(V, d)``."""
        return self.tokens.embedding

    @property
    def device(self) -> torch.device:
        """Where the embedding lives."""
        return self.tokens.device

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text as a prompt, read in the first template."""
        return self._first.encode(texts)

    def decode(self, ids: Tensor) -> list[str]:
        """Return the text of each row of `ids`, ``(B, L)``."""
        return self.tokens.decode(ids)

    def is_stable(self, ids: Tensor) -> Tensor:
        """Tell which rows of `ids`, ``(B, L)``, are read back from their text unchanged in every template.

        Where models with other tokens read the prompts, too, each has to have room for the text.
        """
        stable = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
        for template in self.templates:
            stable &= self.tokens.is_stable(ids, template)
        rows = stable.nonzero().flatten()
        if self.strangers and len(rows):
            stable[rows] = self.strangers_hold(self.decode(ids[rows])).to(ids.device)
        return stable

    def strangers_hold(self, texts: Sequence[str]) -> Tensor:
        """Tell which prompts each model with tokens of its own can read, bool ``(B,)``: neither empty nor too long."""
        return _held(self.strangers, texts)

    def is_readable(self, texts: Sequence[str]) -> Tensor:
        """Tell which prompts all models can read, bool ``(B,)``, those of the searched tokens among them."""
        return _held(self._readers, texts)

    def check_readable(self, texts: Sequence[str]) -> None:
        """Raise unless each model can read each prompt in its template.

        Raises:
            InputError: a text has no token for one of the models, or more than it reads.
        """
        for space, template in self._readers:
            for text, length in zip(texts, _lengths(space, template, texts), strict=True):
                if not 0 < length <= space.max_length:
                    message = (
                        f"The prompt {text!r} has {length} tokens for {space.name} in the template "
                        f"{template.text!r}, which reads 1 to {space.max_length}: "
                        f"{'shorten the prompt' if length else 'give a text with a word in it'}."
                    )
                    raise InputError(message)

    def check_length(self, length: int, what: str) -> None:
        """Raise unless `length` tokens fit every model with these tokens besides its template.

        Raises:
            ConstraintError: they do not.
        """
        if length > self.max_length:
            message = (
                f"{what} has {length} tokens, but {self._narrowest} has room for {self.max_length} "
                "besides the template and the special tokens: shorten it or the template."
            )
            raise ConstraintError(message)


def _room(space: TextSpace, template: Template) -> int:
    """Return how many tokens a prompt may have in each slot of the template."""
    bound = BoundTemplate(space, template)
    return (space.max_length - bound.n_fixed) // bound.n_slots


def _lengths(space: TextSpace, template: Template, texts: Sequence[str]) -> list[int]:
    """Return how many tokens each of `texts` has when it is typed into the template."""
    return [len(ids) for ids in space.encode([template.fill(text) for text in texts])]


def _held(readers: Iterable[tuple[TextSpace, Template]], texts: Sequence[str]) -> Tensor:
    """Tell which of `texts` all readers have room for, bool ``(B,)``."""
    held = torch.ones(len(texts), dtype=torch.bool)
    for space, template in readers:
        lengths = torch.tensor(_lengths(space, template, texts))
        held &= (lengths > 0) & (lengths <= space.max_length)
    return held


def _allowed(tokens: TextSpace, constraints: Constraints) -> Tensor:
    """Return which ids may be proposed, bool ``(V,)``."""
    allowed = tokens.allowed.clone()
    if constraints.allowed_words is not None:
        wanted = torch.zeros_like(allowed)
        wanted[_ids_of(tokens, constraints.allowed_words)] = True
        allowed &= wanted
    if constraints.banned_words:
        allowed[_ids_of(tokens, constraints.banned_words)] = False
    if not constraints.allow_non_ascii:
        ids = allowed.nonzero().flatten()
        ascii_only = [text.isascii() for text in tokens.decode(ids[:, None])]
        allowed[ids] = torch.tensor(ascii_only, dtype=torch.bool, device=allowed.device)
    if not allowed.any():
        message = (
            f"No token of {tokens.name} is left to search: its own mask allows {int(tokens.allowed.sum())} and "
            f"the constraints {constraints} exclude them all. Allow more words or ban fewer."
        )
        raise ConstraintError(message)
    return allowed


def _ids_of(tokens: TextSpace, words: Sequence[str]) -> list[int]:
    """Return the ids that `words` are made of, at the start of a text and after a space."""
    encoded = tokens.encode([spelling for word in words for spelling in (word, f" {word}")])
    return sorted({token for ids in encoded for token in ids})
