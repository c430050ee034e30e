"""Rows in portions that fit into memory; how many those are is found by trying, and remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from preimage.errors import CapacityError, OptionError

__all__ = ["Chunks"]

_Answer = TypeVar("_Answer")


class Chunks:
    """Calls a function on spans of rows, halving the spans for good when memory runs out.

    Arguments:
        size: rows in a span at most; all of them without it.

    Raises:
        OptionError: the size is no whole number of at least 1.

    >>> chunks = Chunks(2)
    >>> [answer for _, answer in chunks(lambda span: list(range(5))[span], 5, "number")]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, size: int | None = None) -> None:
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            message = (
                f"batch_size is {size!r}, and it is how many rows are computed at once: give a whole number of at "
                "least 1, or leave it out to have it found by trying."
            )
            raise OptionError(message)
        self.size = size

    def __call__(self, function: Callable[[slice], _Answer], count: int, what: str) -> Iterator[tuple[slice, _Answer]]:
        """Yield ``(span, function(span))`` over `count` rows.

        Arguments:
            function: its answer must not depend on how the rows are split.
            count: how many rows there are.
            what: what a row is, for messages.

        Raises:
            CapacityError: not even one row fits.
        """
        start = 0
        while start < count:
            size = min(self.size or count, count - start)
            span = slice(start, start + size)
            try:
                answer = function(span)
            except (MemoryError, RuntimeError) as error:
                if isinstance(error, CapacityError) or not _out_of_memory(error):
                    raise
                if size == 1:
                    message = (
                        f"Not even one {what} fits into memory ({error}): "
                        "use a smaller model, half precision or a device with more memory."
                    )
                    raise CapacityError(message) from error
                self.size = size // 2
                if torch.cuda.is_initialized():
                    torch.cuda.empty_cache()
                continue
            yield span, answer
            start += size


def _out_of_memory(error: Exception) -> bool:
    # The CPU's allocator raises a plain RuntimeError, so its words are all there is to go by.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
