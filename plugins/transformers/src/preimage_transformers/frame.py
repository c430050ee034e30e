"""What a model's tokenizer puts around a text, and how many tokens fit between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch
from tokenizers import Tokenizer
from torch import nn

from preimage.errors import AssemblyError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Frame", "embedding_table", "frame_of", "positions_of", "specials_of"]

_PROBES = ("a", "a cat", "red, green and blue", "The quick brown fox.")
# What tokenizers answer for "no limit" is larger than any context.
_NO_LIMIT = 10_000_000


@attrs.frozen
class Frame:
    """The special tokens around a text.

    Attributes:
        before: the ids before it.
        after: the ids behind it.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.before) + len(self.after)

    def around(self, ids: Tensor) -> Tensor:
        """Return whole rows, ``(B, T)``, for texts of ids ``(B, L)``."""
        before, after = (torch.tensor(part, dtype=ids.dtype, device=ids.device) for part in (self.before, self.after))
        return torch.cat([before.expand(len(ids), -1), ids, after.expand(len(ids), -1)], dim=1)

    def around_embeddings(self, embeddings: Tensor, table: Tensor) -> Tensor:
        """Return whole rows, ``(B, T, d)``, for texts of embeddings ``(B, L, d)`` and the table ``(V, d)``."""
        before, after = (table[list(part)].expand(len(embeddings), -1, -1) for part in (self.before, self.after))
        return torch.cat([before, embeddings.to(table.dtype), after], dim=1)


def frame_of(tokenizer: Any, reference: str) -> Frame:
    """Return the special tokens that a tokenizer of transformers puts around any text.

    Raises:
        AssemblyError: they are not the same for every text.
    """
    rust = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    rust.no_padding()
    rust.no_truncation()
    plain, whole = ([rust.encode(text, add_special_tokens=own).ids for text in _PROBES] for own in (False, True))
    ids, row = plain[0], whole[0]
    for start in range(len(row) - len(ids) + 1):
        frame = Frame(tuple(row[:start]), tuple(row[start + len(ids) :]))
        if all([*frame.before, *p, *frame.after] == w for p, w in zip(plain, whole, strict=True)):
            return frame
    message = (
        f"The tokenizer of {reference} does not put texts between fixed special tokens: {_PROBES[1]!r} is read as "
        f"{plain[1]} and becomes {whole[1]}. Such models cannot be searched; use another one."
    )
    raise AssemblyError(message)


def specials_of(tokenizer: Any, frame: Frame) -> set[int]:
    """Return the ids that no prompt may hold."""
    return {*tokenizer.all_special_ids, *frame.before, *frame.after}


def positions_of(model: nn.Module, config: Any, tokenizer: Any) -> int:
    """Return how many tokens a model reads in all, special ones included."""
    limits = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < _NO_LIMIT else []
    stated = (getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len", "n_positions"))
    known = [limit for limit in stated if isinstance(limit, int) and limit > 0]
    if known:
        limits.append(known[0] - _positions_lost(model))
    # Models without learned positions and without a stated limit take any length; this one is ours.
    return min(limits, default=2048)


def _positions_lost(model: nn.Module) -> int:
    """Return how many positions are never used: RoBERTa and its kin count from behind the padding's."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


@torch.no_grad()
def embedding_table(module: Any, reference: str) -> Tensor:
    """Return what a model's token embedding answers for every id, ``(V, d)``; shared with it where that is a matrix.

    Raises:
        AssemblyError: it is no table of vectors.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        message = (
            f"The token embedding of {reference} is a {type(module).__name__} without a matrix, so that prompts cannot "
            "be given to it as embeddings: use another model."
        )
        raise AssemblyError(message)
    if type(module) is nn.Embedding:
        return weight
    # Some scale their rows (Gemma); what the model reads is what counts.
    table: Tensor = module(torch.arange(len(weight), device=weight.device))
    return table.detach()
