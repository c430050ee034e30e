"""Beginnings that texts of a batch have in common, computed once by a causal language model.

Which these are is planned by `preimage.shared_beginnings`; their keys and values are kept in transformers' own
cache. The results are those of the plain model up to rounding.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from preimage.shared_beginnings import FEWEST_ROWS, Branch, plan

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["SharedPrefixes", "at_least_single", "log_probs_of"]

KeysAndValues = list[tuple["Tensor", "Tensor"]]


class SharedPrefixes:
    """Tells how likely tokens are, running each common beginning once; no gradient.

    Arguments:
        model: a causal language model of transformers.
        logits_at_once: how many logits may be in memory.
    """

    def __init__(self, model: Any, *, logits_at_once: int) -> None:
        self._model = model
        self._logits_at_once = logits_at_once

    @staticmethod
    def fits(model: Any) -> bool:
        """Tell whether all that a model remembers of a text are the keys and values of each token."""
        parameters = inspect.signature(model.forward).parameters
        if not {"past_key_values", "logits_to_keep", "use_cache"} <= set(parameters):
            return False
        layers = DynamicCache(config=model.config).layers
        return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)

    def pays(self, inputs: Tensor) -> bool:
        """Tell whether ids, ``(B, T)``, are enough for sharing to be worth planning."""
        return len(inputs) > 2 * FEWEST_ROWS and inputs.shape[1] > 1

    @torch.no_grad()
    def log_probs(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the log-probabilities, ``(B, N)``, of the tokens behind the last N positions.

        Arguments:
            inputs: what is read, ``(B, T)``.
            targets: what stands behind the last N of its positions, ``(B, N)``.
        """
        branch = plan(inputs.cpu().numpy())
        width = torch.promote_types(self._model.dtype, torch.float32)
        output = torch.empty(targets.shape, dtype=width, device=inputs.device)
        self._run(branch, inputs, targets, [], output)
        return output

    def _run(self, branch: Branch, inputs: Tensor, targets: Tensor, before: KeysAndValues, output: Tensor) -> None:
        """Write the branch's log-probabilities from its first position on into `output`."""
        count = min(targets.shape[1], inputs.shape[1] - branch.start)
        rows = torch.from_numpy(branch.rows).to(inputs.device)
        if not branch.children:
            for some in rows.split(self._rows_at_once(count)):
                logits, _ = self._forward(inputs[some, branch.start :], before, count)
                output[some, -count:] = log_probs_of(targets[some, -count:], logits)
            return
        logits, own = self._forward(inputs[rows[:1], branch.start :], before, count)
        # Every row below begins like this one; the children write over what is different in them.
        everyone = torch.from_numpy(_rows_of(branch)).to(inputs.device)
        output[everyone, -count:] = (
            at_least_single(logits)[0].log_softmax(dim=-1).gather(-1, targets[everyone, -count:].T).T
        )
        for child in branch.children:
            self._run(child, inputs, targets, _first(own, child.start), output)

    def _forward(self, ids: Tensor, before: KeysAndValues, count: int) -> tuple[Tensor, KeysAndValues]:
        """Run rows ``(B, T)`` behind one row's keys and values.

        Returns:
            The logits at the last `count` positions, ``(B, count, V)``, and each layer's keys and
            values from position 0 on.
        """
        cache = DynamicCache(config=self._model.config)
        for index, (keys, values) in enumerate(before):
            cache.update(keys.expand(len(ids), -1, -1, -1), values.expand(len(ids), -1, -1, -1), index)
        answer = self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=count)
        layers: list[Any] = cache.layers
        return answer.logits, [(layer.keys, layer.values) for layer in layers]

    def _rows_at_once(self, count: int) -> int:
        size: int = self._model.config.get_text_config().vocab_size
        return max(1, self._logits_at_once // (count * size))


def log_probs_of(targets: Tensor, logits: Tensor) -> Tensor:
    """Return the log-probabilities of `targets`, ``(B, T)``, under logits ``(B, T, V)``."""
    logits = at_least_single(logits)
    # Not all log-probabilities are written: a quarter less work on the vocabulary.
    return logits.gather(-1, targets[..., None]).squeeze(-1) - logits.logsumexp(dim=-1)


def at_least_single(values: Tensor) -> Tensor:
    """Return half precision as single precision, and all else as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _first(kept: KeysAndValues, length: int) -> KeysAndValues:
    return [(keys[:, :, :length], values[:, :, :length]) for keys, values in kept]


def _rows_of(branch: Branch) -> NDArray[np.int64]:
    """Return the rows of a branch and of all its children."""
    return np.concatenate([branch.rows, *(_rows_of(child) for child in branch.children)])
