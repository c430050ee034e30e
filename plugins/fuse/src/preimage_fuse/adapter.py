"""What FUSE and its baselines have in common: words in, gradients back to each word's own tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import attrs
import torch

from preimage.errors import AssemblyError, InputError
from preimage_fuse.alignment import WordPair, align
from preimage_fuse.cache import AdapterCache, Saved, default_folder, digest_of, key_of
from preimage_fuse.cells import Cell, fit_cell
from preimage_fuse.config import STORAGE, AdapterConfig
from preimage_fuse.spans import Spans, locate
from preimage_fuse.words import WordTable, shuffled, vocabulary_words

if TYPE_CHECKING:
    from torch import Tensor

    from preimage.api import TextSpace

__all__ = ["Case", "CaseQuality", "Coverage", "WordAdapter"]

C = TypeVar("C", bound=AdapterConfig)

Case = tuple[int, int]
"""How many tokens a word has, in the source and in the target."""

_FORMAT = 2
"""Part of every key: a change of what is learned from the same facts must change it."""


@attrs.frozen
class CaseQuality:
    """How good the map of one case is; see `Cell` for the numbers."""

    case: Case
    n_words: int
    residual: float
    held_out: float | None


@attrs.frozen
class Coverage:
    """How the words of the gradients pulled back so far were served.

    >>> Coverage(exact=2) + Coverage(nearest=1)
    Coverage(exact=2, nearest=1, zero=0)
    """

    exact: int = 0
    """By the map of their own case."""
    nearest: int = 0
    """By the map of the nearest case, because their own was not fitted."""
    zero: int = 0
    """With a zero gradient, because there was no map, or no token on the other side."""

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(self.exact + other.exact, self.nearest + other.nearest, self.zero + other.zero)


class WordAdapter(Generic[C]):
    """An `EmbeddingAdapter` that works word by word.

    Forward goes through text and is exact. Backward, both rows of tokens are aligned by the words of the text,
    the words of one case are pulled back together, and each word's gradient goes to its own source tokens.

    Arguments:
        config: the options.
        source: the space that is searched.
        target: the space of the objective.

    Attributes:
        coverage: how the words pulled back so far were served.
        saved_in: the file that keeps what was fitted, once it was, if it is kept.
    """

    name: ClassVar[str]

    def __init__(self, config: C, *, source: TextSpace, target: TextSpace) -> None:
        self.config = config
        self.source = source
        self.target = target
        self.coverage = Coverage()
        self.saved_in: Path | None = None
        self._cells: dict[Case, Cell] | None = None
        self._words: tuple[str, ...] | None = None

    @property
    def quality(self) -> tuple[CaseQuality, ...]:
        """How good each fitted map is, smallest case first.

        Raises:
            AssemblyError: nothing was fitted yet.
        """
        return tuple(
            CaseQuality(case, cell.n_words, cell.residual, cell.held_out) for case, cell in self._fitted().items()
        )

    def fit(self, words: Sequence[str] | None = None) -> None:
        """Learn the map, or read it from the cache; a second call with the same words is free.

        Arguments:
            words: to learn from, without white space inside; those of ``words_file``, or else of the two
                vocabularies, unless given.

        Raises:
            InputError: the words cannot be read, or one holds white space.
        """
        wanted = None if words is None else tuple(words)
        if self._cells is not None and wanted == self._words:
            return
        chosen = self._chosen(wanted)
        if self.config.use_cache:
            folder = default_folder() if self.config.cache_dir is None else Path(self.config.cache_dir).expanduser()
            cache, key = AdapterCache(folder), self.key(chosen)
            saved = cache.get(self.name, key, lambda: self._learn(chosen), self.source.device)
            path = cache.path(self.name, key)
            self.saved_in = path if path.is_file() else None
        else:
            saved, self.saved_in = self._learn(chosen), None
        self._cells, self._words = _cells_of(saved), wanted

    def key(self, words: Sequence[str] | None = None) -> str:
        """Return a hash of everything that shapes what is learned: both models, all options, the words."""
        options = {name: value for name, value in attrs.asdict(self.config).items() if name not in STORAGE}
        joined = None if words is None else "\n".join(words).encode(errors="surrogatepass")
        facts = {
            "format": _FORMAT,
            "adapter": self.name,
            "options": options,
            "words": None if joined is None else hashlib.blake2b(joined, digest_size=16).hexdigest(),
            "spaces": [
                [space.fingerprint, digest_of(space.allowed), digest_of(space.embedding)]
                for space in (self.source, self.target)
            ],
        }
        return key_of(facts)

    def translate(self, ids: Tensor) -> list[list[int]]:
        """Return the target's ids for each row of the source's, ``(B, L)``."""
        return self.target.encode(self.source.decode(ids))

    def pull_back(self, ids: Tensor, translated: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient at the source's embeddings, ``(B, L, d)``.

        Arguments:
            ids: the source's token ids, ``(B, L)``.
            translated: the target's token ids for the same texts, ``(B, M)``.
            gradient: at the target's embeddings, ``(B, M, e)``.

        Raises:
            AssemblyError: nothing was fitted yet.
        """
        cells = self._fitted()
        embedding = self.source.embedding
        working = torch.promote_types(torch.promote_types(gradient.dtype, embedding.dtype), torch.float32)
        far = gradient.detach().to(embedding.device, working)
        pulled = far.new_zeros(*ids.shape, embedding.shape[1])
        for (count, other), places in self._by_case(ids, translated).items():
            used = self._cell_for((count, other), cells)
            self.coverage += _served((count, other), used, len(places))
            if used is None or not count or not other:
                continue
            rows, starts, other_starts = torch.tensor(places, device=far.device).T
            theirs = far[rows[:, None], other_starts[:, None] + torch.arange(other, device=far.device)]
            ours = self._pull(cells[used].weight.to(theirs), theirs, count)
            pulled[rows[:, None], starts[:, None] + torch.arange(count, device=far.device)] = ours
        return pulled.to(embedding.dtype)

    @property
    def _longest_word(self) -> int:
        """The most tokens of a word to learn from."""
        raise NotImplementedError

    def _align(self, source: Spans, target: Spans) -> list[WordPair]:
        """Return which tokens belong together."""
        return align(source, target)

    def _fit(self, table: WordTable) -> dict[Case, Cell]:
        """Return the maps that a table of words leads to."""
        raise NotImplementedError

    def _fit_cell(self, x: Tensor, y: Tensor, observed: int | None = None, weights: Tensor | None = None) -> Cell:
        """Return the map from words ``(N, d, n)`` to words ``(N, e, n)``, those to hold out last."""
        config = self.config
        return fit_cell(
            x,
            y,
            ridge=config.ridge,
            held_out=config.held_out,
            observed=observed,
            center=config.center,
            weights=weights,
        )

    def _cell_for(self, case: Case, cells: Mapping[Case, Cell]) -> Case | None:
        """Return the case whose map serves words of `case`, None if there is none."""
        raise NotImplementedError

    def _pull(self, weight: Tensor, gradient: Tensor, count: int) -> Tensor:
        """Return the gradient at the words' source tokens, ``(N, count, d)``, from ``(N, j, e)``."""
        raise NotImplementedError

    def _fitted(self) -> dict[Case, Cell]:
        if self._cells is None:
            message = (
                f"The adapter {self.name} from {self.source.name} to {self.target.name} was asked before it had "
                "learned anything: call its fit() first."
            )
            raise AssemblyError(message)
        return self._cells

    def _chosen(self, words: tuple[str, ...] | None) -> list[str] | None:
        """Return the words to learn from in the order of the seed, None for the vocabularies'."""
        if words is None and self.config.words_file is not None:
            try:
                words = tuple(Path(self.config.words_file).expanduser().read_text("utf-8").split())
            except (OSError, UnicodeDecodeError) as error:
                message = (
                    f"The words in {self.config.words_file!r} cannot be read ({error}): give a text file in UTF-8 "
                    "with white space between the words."
                )
                raise InputError(message) from error
        return None if words is None else shuffled(words, seed=self.config.seed)

    def _learn(self, words: Sequence[str] | None) -> Saved:
        if words is None:
            words = vocabulary_words(self.source, self.target, seed=self.config.seed)
        table = WordTable.build(
            self.source,
            self.target,
            words,
            max_subtokens=self._longest_word,
            max_examples_per_case=self.config.max_examples_per_case,
            leading_space=self.config.leading_space,
        )
        cells = self._fit(table)
        record = [
            {"case": list(case), "n_words": cell.n_words, "residual": cell.residual, "held_out": cell.held_out}
            for case, cell in cells.items()
        ]
        return Saved({_tensor_name(case): cell.weight for case, cell in cells.items()}, {"cells": record})

    def _by_case(self, ids: Tensor, translated: Tensor) -> dict[Case, list[tuple[int, int, int]]]:
        """Return ``(row, start in the source, start in the target)`` of the words of each case."""
        rows, other_rows = ids.tolist(), translated.tolist()
        places: dict[Case, list[tuple[int, int, int]]] = {}
        for row, (ours, theirs) in enumerate(
            zip(locate(self.source, rows), locate(self.target, other_rows), strict=True)
        ):
            for pair in self._align(ours, theirs):
                places.setdefault(pair.counts, []).append((row, pair.source[0], pair.target[0]))
        return places


def _served(case: Case, used: Case | None, count: int) -> Coverage:
    if used is None or 0 in case:
        return Coverage(zero=count)
    return Coverage(exact=count) if used == case else Coverage(nearest=count)


def _tensor_name(case: Case) -> str:
    return f"{case[0]}-{case[1]}"


def _cells_of(saved: Saved) -> dict[Case, Cell]:
    cells = {}
    for entry in saved.record["cells"]:
        case: Case = (entry["case"][0], entry["case"][1])
        weight = saved.tensors[_tensor_name(case)]
        cells[case] = Cell(weight, entry["n_words"], entry["residual"], entry["held_out"])
    return cells
