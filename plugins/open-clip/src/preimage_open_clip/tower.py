"""A text tower of open_clip, fed with embeddings, over no more positions than the result depends on.

open_clip pads every text to its context, mostly 77 positions. In a causal tower that is pooled at the end
token nothing behind that token is ever read, so cutting there is exact. Towers that look in both directions
or pool elsewhere (SigLIP, CoCa) are run padded, as they were trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from open_clip.model import CLIP
from open_clip.transformer import ResidualAttentionBlock, TextTransformer
from torch import nn
from torch.nn import functional

from preimage.errors import AssemblyError

if TYPE_CHECKING:
    from torch import Tensor

    from preimage_open_clip.tokenizer import Frame

__all__ = ["TextTower", "finish", "heads", "project", "text_module"]


class TextTower:
    """The text side of an open_clip model.

    Arguments:
        model: the whole model.
        frame: what stands around a prompt.
        reference: the model's name, for messages.
        largest_id: the largest id that a prompt can hold.

    Attributes:
        embedding: the token embeddings, ``(V, d)``.
        frame: what stands around a prompt.
        cuts: nothing behind the end token is read, so that padding can be left out.
        shares: the blocks are the plain ones, whose keys and values can be kept.

    Raises:
        AssemblyError: the tower cannot be fed with embeddings, or pools where no prompt can be told from
            padding.
    """

    def __init__(self, model: nn.Module, frame: Frame, reference: str, *, largest_id: int) -> None:
        self._module = text_module(model, reference)
        self.frame = frame
        plain = isinstance(self._module, CLIP)
        self.embedding: Tensor = self._module.token_embedding.weight
        self.pool: str = self._module.text_pool_type if plain else self._module.pool_type
        self.class_embedding: Tensor | None = None if plain else self._module.cls_emb
        self._pads_masked = not plain and (self.class_embedding is not None or self._module.use_pad_mask)
        at_end = self.class_embedding is None and self.pool in ("argmax", "eos")
        if at_end:
            end_id = self._module.text_eos_id if plain else self._module.eos_id
            _check_end(frame, self.pool, end_id, largest_id, reference)
        elif self.class_embedding is None and self.pool not in ("first", "last"):
            message = (
                f"The text tower of {reference} pools by {self.pool!r}, which gives no single vector for a "
                "prompt: use a model whose text tower pools at a token."
            )
            raise AssemblyError(message)
        blocks = self._module.transformer.resblocks
        self.cuts = at_end and self._module.attn_mask is not None and not self._pads_masked
        self.shares = self.cuts and all(
            type(block) is ResidualAttentionBlock and block.attn.batch_first for block in blocks
        )
        self._before = torch.tensor(frame.before, dtype=torch.long, device=self.embedding.device)
        self._after = torch.tensor(frame.after, dtype=torch.long, device=self.embedding.device)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer's blocks."""
        blocks: nn.ModuleList = self._module.transformer.resblocks
        return blocks

    @property
    def masked_ids(self) -> tuple[int, ...]:
        """Ids that the tower takes for padding wherever they stand."""
        return (self._module.pad_id,) if self._pads_masked else ()

    def framed(self, ids: Tensor) -> Tensor:
        """Return the ids, ``(B, T)``, that are run for the prompts `ids`, ``(B, L)``."""
        behind = 1 if self.cuts else self.frame.context - len(self._before) - ids.shape[1]
        rows = len(ids)
        return torch.cat([self._before.expand(rows, -1), ids, self._after[:behind].expand(rows, -1)], dim=1)

    def encode(self, embeddings: Tensor) -> Tensor:
        """Return the vectors, ``(B, D)``, of prompts given as embeddings, ``(B, L, d)``; differentiable."""
        rows, length, _ = embeddings.shape
        behind = 1 if self.cuts else self.frame.context - len(self._before) - length
        x = torch.cat(
            [
                self.embedding[self._before].expand(rows, -1, -1),
                embeddings.to(self.embedding.dtype),
                self.embedding[self._after[:behind]].expand(rows, -1, -1),
            ],
            dim=1,
        ).to(self.dtype)
        if self.shares:
            return self.pooled(self._run_plain_blocks(x + self.positions(0, x.shape[1])))
        return self._encode_as_open_clip(x, len(self._before) + length)

    @property
    def dtype(self) -> torch.dtype:
        """What the blocks compute in."""
        kind: torch.dtype = self._module.transformer.get_cast_dtype()
        return kind

    def positions(self, start: int, stop: int) -> Tensor:
        """Return the positional embeddings, ``(stop - start, d)``."""
        positions: Tensor = self._module.positional_embedding[start:stop]
        return positions.to(self.dtype)

    def pooled(self, x: Tensor) -> Tensor:
        """Return the vectors, ``(B, D)``, for the last block's output at the pooled position, ``(B, d)``."""
        pooled: Tensor = self._module.ln_final(x)
        projection = self._module.text_projection
        if projection is not None:
            pooled = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        return pooled

    def _run_plain_blocks(self, x: Tensor) -> Tensor:
        """Return the last block's output at the last position, ``(B, d)``, for a causal tower."""
        *inner, last = self.blocks
        for block in inner:
            query, key, value = project(block, x)
            attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = finish(block, x, attended)
        # Of the last block only the end token's output is read, and that token may look at everything.
        query, key, value = project(last, x, queries=1)
        attended = functional.scaled_dot_product_attention(query, key, value)
        return finish(last, x[:, -1:], attended)[:, 0]

    def _encode_as_open_clip(self, x: Tensor, end: int) -> Tensor:
        """Return the vectors, ``(B, D)``, as ``TextTransformer.forward`` does for embedded ids `x`."""
        if self.class_embedding is not None:
            x = torch.cat([x, self.class_embedding.to(x).expand(len(x), 1, -1)], dim=1)
        width = x.shape[1]
        mask = self._module.attn_mask
        mask = None if mask is None else mask[:width, :width].to(x)
        if self._pads_masked:
            padding = self._padding_mask(end, width, x.dtype)
            mask = padding if mask is None else mask + padding
        x = self._module.transformer(x + self.positions(0, width), attn_mask=mask)
        if self.class_embedding is not None or self.pool == "last":
            return self.pooled(x[:, -1])
        return self.pooled(x[:, 0 if self.pool == "first" else end])

    def _padding_mask(self, end: int, width: int, dtype: torch.dtype) -> Tensor:
        """Return open_clip's additive mask, ``(T, T)``: all rows are padded alike."""
        pad_id = self._module.pad_id
        content = next(token for token in range(len(self.embedding)) if token != pad_id)
        length = end - len(self._before)
        row = [*self.frame.before, *[content] * length, *self.frame.behind(length)]
        ids = torch.tensor([row], device=self.embedding.device)
        mask: Tensor = self._module._build_additive_mask(ids, width, dtype)
        return mask[0]


def project(block: ResidualAttentionBlock, x: Tensor, queries: int | None = None) -> tuple[Tensor, ...]:
    """Return a block's queries (of the last `queries` positions), keys and values, each ``(B, heads, T, e)``."""
    attention = block.attn
    x = block.ln_1(x)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if queries is None:
        parts: tuple[Tensor, ...] = functional.linear(x, weight, bias).chunk(3, dim=-1)
    else:
        width = x.shape[-1]
        query = functional.linear(x[:, -queries:], weight[:width], bias[:width])
        parts = (query, *functional.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1))
    return tuple(heads(part, attention.num_heads) for part in parts)


def heads(x: Tensor, count: int) -> Tensor:
    """Return ``(B, heads, T, e)`` of ``(B, T, d)``."""
    split: Tensor = x.unflatten(-1, (count, -1))
    return split.transpose(1, 2)


def finish(block: ResidualAttentionBlock, x: Tensor, attended: Tensor) -> Tensor:
    """Return a block's output for its input `x`, ``(B, T, d)``, and what was attended, ``(B, heads, T, e)``."""
    x = x + block.ls_1(block.attn.out_proj(attended.transpose(1, 2).flatten(-2)))
    output: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return output


def text_module(model: Any, reference: str) -> Any:
    """Return the module with the text tower's parts.

    Raises:
        AssemblyError: the tower is not one of open_clip's own.
    """
    if isinstance(model, CLIP):
        return model
    text = getattr(model, "text", None)
    if isinstance(text, TextTransformer):
        return text
    message = (
        f"The text tower of {reference} is a {type(text).__name__}, not one of open_clip's own, so that prompts "
        "cannot be given to it as embeddings and no gradient reaches them: use a model with open_clip's text "
        "transformer, for example ViT-B-32."
    )
    raise AssemblyError(message)


def _check_end(frame: Frame, pool: str, end_id: int, largest_id: int, reference: str) -> None:
    """Raise unless open_clip's pooling finds the end token of every prompt."""
    end = frame.after[0] if frame.after else None
    if pool == "eos" and end != end_id:
        message = (
            f"The text tower of {reference} pools at token {end_id}, but its tokenizer ends prompts with {end}: "
            "set eos_id in the model's text_cfg to the tokenizer's end token."
        )
        raise AssemblyError(message)
    largest = max(*frame.before, *frame.after, largest_id)
    if pool == "argmax" and end != largest:
        message = (
            f"The text tower of {reference} pools at the largest token id, but its tokenizer ends prompts with "
            f"{end} while ids go up to {largest}, so that it would read another token's output: set pool_type to "
            "'eos' and eos_id to the end token in the model's text_cfg."
        )
        raise AssemblyError(message)
