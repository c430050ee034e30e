"""The options of PEZ, with the defaults of the paper's code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import attrs
from attrs.validators import ge, gt, in_, instance_of, optional

from preimage.errors import OptionError
from preimage.preset import Preset
from preimage.start import TextStart

__all__ = ["PEZConfig"]


@attrs.frozen(kw_only=True)
class PEZConfig(TextStart):
    """How PEZ searches; how long is the budget's affair.

    Raises:
        OptionError: a learning rate that falls without saying until when, or one that is constant until then.

    >>> PEZConfig(restarts=4).prompt_length
    16
    """

    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            options={"prompt_length": 16, "lr": 0.1, "weight_decay": 0.1, "lr_schedule": "constant", "restarts": 1},
            num_steps=3000,
            summary="PEZ (arXiv:2302.03668) and the prompt recovery study (arXiv:2408.06502) alike.",
        )
    }

    prompt_length: int = attrs.field(
        default=16,
        validator=[instance_of(int), ge(1)],
        metadata={"help": "Tokens of the random start, when no text is given."},
    )
    restarts: int = attrs.field(
        default=1,
        validator=[instance_of(int), ge(1)],
        metadata={
            "help": "Prompts developed side by side for each target; the first starts where the options say, "
            "the others from random tokens."
        },
    )
    lr: float = attrs.field(
        default=0.1,
        converter=float,
        validator=[gt(0.0), attrs.validators.lt(math.inf)],
        metadata={"help": "The learning rate of AdamW: how far an embedding moves in a step, for each coordinate."},
    )
    weight_decay: float = attrs.field(
        default=0.1,
        converter=float,
        validator=[ge(0.0), attrs.validators.lt(math.inf)],
        metadata={"help": "How strongly AdamW draws embeddings to zero; times lr, the share that a step takes away."},
    )
    lr_schedule: str = attrs.field(
        default="constant",
        validator=in_(("constant", "cosine", "linear")),
        metadata={"help": "How lr falls: `constant`, not at all; `cosine` or `linear`, to zero at decay_steps."},
    )
    decay_steps: int | None = attrs.field(
        default=None,
        validator=optional([instance_of(int), ge(1)]),
        metadata={"help": "The step at which a falling lr reaches zero; the search is done there."},
    )

    def __attrs_post_init__(self) -> None:
        if self.lr_schedule != "constant" and self.decay_steps is None:
            message = (
                f"lr_schedule is {self.lr_schedule!r} and decay_steps is not given, so nothing says when lr reaches "
                "zero: set decay_steps, usually to the number of steps of the budget."
            )
            raise OptionError(message)
        if self.lr_schedule == "constant" and self.decay_steps is not None:
            message = (
                f"decay_steps is {self.decay_steps} and lr_schedule 'constant', with which lr never falls: "
                "choose lr_schedule 'cosine' or 'linear', or leave decay_steps out."
            )
            raise OptionError(message)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0.

        >>> config = PEZConfig(lr=0.4, lr_schedule="linear", decay_steps=4)
        >>> [round(config.learning_rate(step), 2) for step in range(6)]
        [0.4, 0.3, 0.2, 0.1, 0.0, 0.0]
        """
        if self.decay_steps is None:
            return self.lr
        progress = min(step / self.decay_steps, 1.0)
        if self.lr_schedule == "linear":
            return self.lr * (1 - progress)
        return self.lr * (1 + math.cos(math.pi * progress)) / 2
