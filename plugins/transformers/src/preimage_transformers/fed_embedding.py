"""Text towers that read ids only, made to read embeddings.

They are run on the ids of a placeholder text while their token embedding answers with the embeddings that were given:
every step of the model's own forward pass is kept, whatever the architecture.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["FedEmbedding"]


class FedEmbedding:
    """A token embedding that can be told what to answer, in the calling thread only.

    >>> import torch
    >>> table = torch.nn.Embedding(3, 2)
    >>> fed = FedEmbedding(table)
    >>> with fed.answering(torch.ones(1, 1, 2)):
    ...     table(torch.tensor([[2]])).tolist()
    [[[1.0, 1.0]]]
    """

    def __init__(self, module: nn.Module) -> None:
        self._local = threading.local()
        module.register_forward_hook(self._answer)

    @contextmanager
    def answering(self, embeddings: Tensor) -> Iterator[None]:
        """Make the module answer `embeddings`, ``(B, T, d)``, whatever ids it is given."""
        self._local.embeddings = embeddings
        try:
            yield
        finally:
            self._local.embeddings = None

    def _answer(self, _module: nn.Module, _ids: tuple[Tensor, ...], _looked_up: Tensor) -> Tensor | None:
        return getattr(self._local, "embeddings", None)
