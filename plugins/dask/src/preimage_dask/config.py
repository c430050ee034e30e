"""The options of the Dask executor."""

from __future__ import annotations

from typing import Any

import attrs
from attrs.validators import ge, gt, instance_of, optional

from preimage.errors import OptionError

__all__ = ["DaskConfig"]


def _whole(default: int | None, help_text: str) -> Any:
    return attrs.field(default=default, validator=optional([instance_of(int), ge(1)]), metadata={"help": help_text})


@attrs.frozen(kw_only=True)
class DaskConfig:
    """Which cluster, and how patient to be with it.

    Raises:
        OptionError: workers are asked for where the cluster has its own.

    >>> DaskConfig(workers=2).attempts
    5
    """

    address: str | None = attrs.field(
        default=None,
        validator=optional(instance_of(str)),
        metadata={"help": "Of the scheduler, such as tcp://10.0.0.7:8786; without it a cluster of this machine."},
    )
    workers: int | None = _whole(None, "Processes of a cluster of this machine; as many as it has cores without it.")
    attempts: int = _whole(5, "How many workers of a cluster of this machine may die of the same work.")
    timeout: float = attrs.field(
        default=30.0,
        converter=float,
        validator=gt(0.0),
        metadata={"help": "Seconds to wait for the scheduler to answer."},
    )

    def __attrs_post_init__(self) -> None:
        if self.address is not None and self.workers is not None:
            message = (
                f"{self.workers} workers are asked for, but the cluster at {self.address} has workers of its own: "
                "leave out one of the two."
            )
            raise OptionError(message)
