"""What has been scored already, so that no candidate goes through a model twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from itertools import islice
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Memory"]


class Memory:
    """The term values of the last candidates, the oldest forgotten first.

    Arguments:
        capacity: how many candidates it holds; at 16 tokens each takes about 300 bytes.

    Attributes:
        n_remembered: how many candidates it has been given so far.
    """

    def __init__(self, capacity: int = 1 << 16) -> None:
        self.capacity = capacity
        self.n_remembered = 0
        self._values: OrderedDict[bytes, tuple[float, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    @staticmethod
    def keys(candidates: Tensor, target: Tensor) -> list[bytes]:
        """Return one key for each row of `candidates`, ``(B, L)``, and its target, ``(B,)``."""
        rows = candidates.detach().cpu()
        targets = target.cpu().tolist()
        return [index.to_bytes(4, "little") + row.tobytes() for index, row in zip(targets, rows.numpy(), strict=True)]

    def recall(self, key: bytes) -> tuple[float, ...] | None:
        """Return the term values of a candidate, or None for one that is new or forgotten."""
        return self._values.get(key)

    def remember(self, key: bytes, values: tuple[float, ...]) -> None:
        """Keep the term values of a candidate."""
        self._values[key] = values
        self.n_remembered += 1
        if len(self._values) > self.capacity:
            self._values.popitem(last=False)

    def forget(self, since: int, targets: Collection[int]) -> None:
        """Drop the candidates of `targets` that have come since `n_remembered` was `since`."""
        for key in list(islice(reversed(self._values), self.n_remembered - since)):
            if int.from_bytes(key[:4], "little") in targets:
                del self._values[key]

    def to_tensors(self) -> dict[str, Tensor]:
        """Return everything it holds, for a checkpoint."""
        keys = list(self._values)
        return {
            "lengths": torch.tensor([len(key) for key in keys], dtype=torch.int64),
            "keys": torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8)
            if keys
            else torch.empty(0, dtype=torch.uint8),
            "values": torch.tensor([self._values[key] for key in keys], dtype=torch.float64),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `to_tensors` returned."""
        self._values.clear()
        data = tensors["keys"].numpy().tobytes()
        offset = 0
        for length, values in zip(tensors["lengths"].tolist(), tensors["values"].tolist(), strict=True):
            self._values[data[offset : offset + length]] = tuple(values)
            offset += length
