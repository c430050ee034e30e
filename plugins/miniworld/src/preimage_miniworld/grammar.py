"""Weighted grammars: expressions of words, sequences and choices with known probabilities.

An expression can be sampled, enumerated, matched against a text and asked for its entropy. The
entropy adds up over the parts, which is exact as long as no text has two derivations; the tests
check that of the caption grammar.
"""

import itertools
import math
import random
from collections.abc import Iterable, Iterator

from attrs import field, frozen

__all__ = ["Choice", "Expression", "Sequence", "Words", "choice", "sequence"]


def _tokens(tokens: Iterable[str]) -> tuple[str, ...]:
    return tuple(tokens)


@frozen
class Words:
    """A fixed run of words, possibly empty."""

    tokens: tuple[str, ...] = field(converter=_tokens)

    def sample(self, rng: random.Random) -> tuple[str, ...]:
        """Give the words."""
        return self.tokens

    def first(self) -> tuple[str, ...]:
        """Give the words."""
        return self.tokens

    def all(self) -> Iterator[tuple[str, ...]]:
        """Give the words, once."""
        yield self.tokens

    def entropy(self) -> float:
        """Zero: there is nothing to choose."""
        return 0.0

    def ends(self, text: tuple[str, ...], start: int) -> dict[int, float]:
        """Where the words may end in ``text`` when they begin at ``start``: {end: probability}."""
        end = start + len(self.tokens)
        return {end: 1.0} if text[start:end] == self.tokens else {}


@frozen
class Choice:
    """One of several expressions, drawn with the given probabilities."""

    options: tuple["Expression", ...]
    probabilities: tuple[float, ...]

    def sample(self, rng: random.Random) -> tuple[str, ...]:
        """Draw an option and a text of it."""
        return rng.choices(self.options, self.probabilities)[0].sample(rng)

    def first(self) -> tuple[str, ...]:
        """Give the first text of the first option."""
        return self.options[0].first()

    def all(self) -> Iterator[tuple[str, ...]]:
        """Give every text of every option."""
        for option in self.options:
            yield from option.all()

    def entropy(self) -> float:
        """The entropy of the draw and of what follows, in nats."""
        pairs = zip(self.options, self.probabilities, strict=True)
        return sum(share * (option.entropy() - math.log(share)) for option, share in pairs)

    def ends(self, text: tuple[str, ...], start: int) -> dict[int, float]:
        """Where a text of an option may end: {end: probability}."""
        found: dict[int, float] = {}
        for option, share in zip(self.options, self.probabilities, strict=True):
            for end, probability in option.ends(text, start).items():
                found[end] = found.get(end, 0.0) + share * probability
        return found


@frozen
class Sequence:
    """Several expressions one after the other, drawn independently."""

    parts: tuple["Expression", ...]

    def sample(self, rng: random.Random) -> tuple[str, ...]:
        """Draw a text of each part."""
        return tuple(itertools.chain.from_iterable(part.sample(rng) for part in self.parts))

    def first(self) -> tuple[str, ...]:
        """Give the first text of each part."""
        return tuple(itertools.chain.from_iterable(part.first() for part in self.parts))

    def all(self) -> Iterator[tuple[str, ...]]:
        """Give every combination of the parts' texts."""
        if not self.parts:
            yield ()
            return
        for head in self.parts[0].all():
            for tail in Sequence(self.parts[1:]).all():
                yield head + tail

    def entropy(self) -> float:
        """The sum of the parts' entropies, in nats."""
        return sum(part.entropy() for part in self.parts)

    def ends(self, text: tuple[str, ...], start: int) -> dict[int, float]:
        """Where the last part may end: {end: probability}."""
        reached = {start: 1.0}
        for part in self.parts:
            following: dict[int, float] = {}
            for middle, before in reached.items():
                for end, probability in part.ends(text, middle).items():
                    following[end] = following.get(end, 0.0) + before * probability
            reached = following
        return reached


Expression = Words | Choice | Sequence


def _expression(entry: "str | Expression") -> Expression:
    return Words(entry.split()) if isinstance(entry, str) else entry


def choice(*options: "str | Expression", weights: tuple[float, ...] | None = None) -> Choice:
    """Make a choice; without weights all options are equally probable.

    Example:
        >>> round(choice("tiny", "small").entropy(), 3)
        0.693
    """
    shares = weights or (1.0,) * len(options)
    total = sum(shares)
    return Choice(tuple(_expression(option) for option in options), tuple(share / total for share in shares))


def sequence(*parts: "str | Expression") -> Sequence:
    """Make a sequence of words and expressions.

    Example:
        >>> " ".join(sequence("a", choice("red"), "circle").first())
        'a red circle'
    """
    return Sequence(tuple(_expression(part) for part in parts))
