"""Where two spaces must meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from preimage.api.space import TextSpace

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EmbeddingAdapter"]


@runtime_checkable
class EmbeddingAdapter(Protocol):
    """Carries gradients from the embeddings of one model back to those of another.

    Forward goes through text and is exact; backward is the approximation. A loss never needs the pull-back.
    An adapter is built by the catalogue as ``target(config, source=…, target=…)``. It may have a `coverage`, an attrs
    record of numbers that counts how the words of the gradients it pulled back were served; the host reports it in
    results and while it searches.
    """

    @property
    def source(self) -> TextSpace:
        """The space that is searched."""
        ...

    @property
    def target(self) -> TextSpace:
        """The space of the objective."""
        ...

    def fit(self, words: Sequence[str] | None = None) -> None:
        """Learn the map from words (its own default list without any); cached, so that a second call is free."""
        ...

    def translate(self, ids: Tensor) -> list[list[int]]:
        """Return the target's ids for each row of the source's, ``(B, L)``."""
        ...

    def pull_back(self, ids: Tensor, translated: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient at the source's embeddings, ``(B, L, d)``.

        Arguments:
            ids: the source's token ids, ``(B, L)``.
            translated: the target's token ids for the same texts, ``(B, M)``.
            gradient: at the target's embeddings, ``(B, M, e)``.
        """
        ...
