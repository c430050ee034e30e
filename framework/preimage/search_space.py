"""The texts that a search may propose: a model's tokens, less what the user bans, in the templates' context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs
import torch

from preimage.api.template import Template
from preimage.errors import ConstraintError
from preimage.text_space import BoundTemplate

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api.space import TextSpace

__all__ = ["Constraints", "SearchSpace"]


def _words(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(words)


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
        templates: the templates of all terms; a prompt is stable when it is stable in each.

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
        self.templates = tuple(dict.fromkeys(templates))
        self.allowed = _allowed(tokens, self.constraints)
        self.allowed_ids = self.allowed.nonzero().flatten()
        bound = [BoundTemplate(tokens, template) for template in self.templates]
        self.max_length = min((tokens.max_length - one.n_fixed) // one.n_slots for one in bound)
        self._first = bound[0]

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
        """Tell which rows of `ids`, ``(B, L)``, are read back from their text unchanged in every template."""
        stable = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
        for template in self.templates:
            stable &= self.tokens.is_stable(ids, template)
        return stable

    def check_length(self, length: int, what: str) -> None:
        """Raise unless `length` tokens fit the model besides the longest template.

        Raises:
            ConstraintError: they do not.
        """
        if length > self.max_length:
            message = (
                f"{what} has {length} tokens, but {self.name} has room for {self.max_length} "
                "besides the template and the special tokens: shorten it or the template."
            )
            raise ConstraintError(message)


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
