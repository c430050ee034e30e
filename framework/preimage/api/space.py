"""The two kinds of inputs that Preimage searches: texts as token ids, and rows of typed features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from preimage.api.template import Template

__all__ = ["FeatureSpace", "Reach", "TextSpace"]


@runtime_checkable
class TextSpace(Protocol):
    """A tokenizer together with its model's embedding matrix.

    Ids never include special tokens: those are the model's affair. All tensors are on `device`.
    `preimage.text_space.TokenizerSpace` implements this for every tokenizer of the `tokenizers` library.
    """

    @property
    def name(self) -> str:
        """The reference of the model that the space belongs to, for messages."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of the vocabulary and its normalisation: equal for spaces that read text alike."""
        ...

    @property
    def max_length(self) -> int:
        """How many tokens fit besides the special ones."""
        ...

    @property
    def embedding(self) -> Tensor:
        """The input embeddings, ``(V, d)``; frozen, shared with the model."""
        ...

    @property
    def allowed(self) -> Tensor:
        """Which ids may be proposed, bool ``(V,)``.

        Specials, undecodable and non-printing tokens and ids beyond the tokenizer are never allowed.
        """
        ...

    @property
    def device(self) -> torch.device:
        """Where the embedding lives."""
        ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text as the model reads it, without specials."""
        ...

    def decode(self, ids: Tensor) -> list[str]:
        """Return the text of each row of `ids`, ``(B, L)``."""
        ...

    def is_stable(self, ids: Tensor, template: Template) -> Tensor:
        """Tell for each row of `ids`, ``(B, L)``, whether typing its text gives the same ids, bool ``(B,)``.

        The text is decoded, put into every slot of `template` and encoded in that full context.
        """
        ...


@runtime_checkable
class FeatureSpace(Protocol):
    """Typed columns with bounds, immutables and directions, and one codec to and from floats.

    Rows are float64. Numbers are standardised by the data that the space was made from, two-valued columns are 0 or 1,
    and the levels of a nominal column are a one-hot block.
    """

    @property
    def width(self) -> int:
        """The number of floats, ``D``, that encode a row."""
        ...

    @property
    def device(self) -> torch.device:
        """Where encoded rows live."""
        ...

    @property
    def groups(self) -> tuple[slice, ...]:
        """The positions of each one-hot block."""
        ...

    @property
    def frozen(self) -> Tensor:
        """Which positions no answer may change, bool ``(D,)``."""
        ...

    def encode(self, table: Any) -> Tensor:
        """Return the rows of a table as floats, ``(B, D)``."""
        ...

    def around(self, queries: Any) -> Reach:
        """Return what may be answered to each row of a table."""
        ...


@runtime_checkable
class Reach(Protocol):
    """The rows that may answer each of ``N`` queries: everything that depends on where one starts.

    `run` names the query that each row is an answer to, ``(B,)``.
    """

    @property
    def reference(self) -> Tensor:
        """The queries, encoded, ``(N, D)``."""
        ...

    @property
    def lower(self) -> Tensor:
        """The least value of each float, ``(N, D)``: bounds, directions and what is fixed in one."""
        ...

    @property
    def upper(self) -> Tensor:
        """The greatest value of each float, ``(N, D)``."""
        ...

    @property
    def free(self) -> Tensor:
        """Which floats a search may move, bool ``(N, D)``: neither fixed nor computed from others."""
        ...

    @property
    def groups(self) -> tuple[slice, ...]:
        """The positions of each one-hot block."""
        ...

    @property
    def columns(self) -> Tensor:
        """The number of the column that each float belongs to, ``(D,)``, from 0 without gaps."""
        ...

    def project(self, features: Tensor, run: Tensor) -> Tensor:
        """Return the nearest feasible rows, ``(B, D)``; between levels and whole numbers all is feasible."""
        ...

    def round(self, features: Tensor, run: Tensor) -> Tensor:
        """Return the nearest rows that can be written down, ``(B, D)``: what a model will be asked about."""
        ...

    def pull_back(self, gradient: Tensor) -> Tensor:
        """Return a gradient, ``(..., D)``, with what computed floats feel handed to those they are computed from."""
        ...
