"""open_clip's tokenizers as Rust tokenizers, and what open_clip puts around a prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from open_clip import tokenizer as open_clip_tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from preimage.errors import AssemblyError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Clean", "Frame", "clean_of", "frame_of", "read_plainly", "rust_tokenizer"]

# The words of SimpleTokenizer; its special tokens are left to the tokenizer's own list of them.
_WORDS = Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)")

# What each of open_clip's normalisations does after `basic_clean` (ftfy and HTML entities).
_AFTER_BASIC: dict[str, Callable[[str], str]] = {
    "_clean_lower": lambda text: " ".join(text.split()).lower(),
    "_clean_whitespace": lambda text: " ".join(text.split()),
    "_clean_canonicalize": open_clip_tokenizer.canonicalize_text,
}
_PROBES = ("a", "a cat", "red, green and blue", "the quick brown fox jumps over the lazy dog")


@attrs.frozen(repr=False)
class Clean:
    """One of open_clip's normalisations of a text, with a short cut for plain text.

    Repairing encodings (ftfy) costs 50 µs a text and changes nothing in printable ASCII without an ampersand,
    which is what nearly all candidates are.
    """

    function: Callable[[str], str]

    def __repr__(self) -> str:
        return f"open_clip.{self.function.__name__}"

    def __call__(self, text: str) -> str:
        """Return the text as the tokenizer is given it."""
        short = _AFTER_BASIC.get(self.function.__name__)
        if short is not None and text.isascii() and text.isprintable() and "&" not in text:
            return short(text)
        return self.function(text)


@attrs.frozen
class Frame:
    """What open_clip puts around a prompt's ids to fill the context.

    Attributes:
        before: the ids before a prompt.
        after: the ids behind the shortest prompt, to the end of the context: the end token and padding.
        context: how many ids a row has in all.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    context: int

    @property
    def max_length(self) -> int:
        """How many ids fit, with one behind them."""
        return self.context - len(self.before) - 1

    def behind(self, length: int) -> tuple[int, ...]:
        """Return what follows a prompt of `length` ids, to the end of the context."""
        return self.after[: self.context - len(self.before) - length]


def rust_tokenizer(tokenizer: Any, reference: str) -> Tokenizer:
    """Return the Rust tokenizer that reads a cleaned text as one of open_clip's tokenizers does.

    Raises:
        AssemblyError: there is none.
    """
    if isinstance(tokenizer, open_clip_tokenizer.SimpleTokenizer):
        return _from_simple(tokenizer)
    backend = getattr(getattr(tokenizer, "tokenizer", None), "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        message = (
            f"The tokenizer of {reference} ({type(tokenizer).__name__}) is not one of the `tokenizers` library, so "
            "that thousands of candidates could not be read at once: use a model with a fast tokenizer, for "
            "example one whose folder holds a tokenizer.json."
        )
        raise AssemblyError(message)
    return backend


def clean_of(tokenizer: Any) -> Clean:
    """Return the normalisation that one of open_clip's tokenizers applies before it reads a text."""
    # SigLipTokenizer has no attribute for it: it always canonicalises.
    function = getattr(tokenizer, "clean_fn", None) or open_clip_tokenizer.get_clean_fn("canonicalize")
    return Clean(function)


def read_plainly(rust: Tokenizer, clean: Clean, texts: list[str]) -> list[list[int]]:
    """Return the ids of texts without special tokens, whatever padding is set on the tokenizer."""
    encodings = rust.encode_batch([clean(text) for text in texts], add_special_tokens=False)
    return [
        [token for token, real in zip(encoding.ids, encoding.attention_mask, strict=True) if real]
        for encoding in encodings
    ]


def frame_of(
    tokenizer: Callable[..., Tensor],
    encode: Callable[[list[str]], list[list[int]]],
    context: int,
    reference: str,
) -> Frame:
    """Return what `tokenizer` puts around the ids that `encode` reads, checked on some texts.

    Raises:
        AssemblyError: the rows are not a prompt's ids in a fixed frame.
    """
    pairs = [(text, ids) for text, ids in zip(_PROBES, encode(list(_PROBES)), strict=True) if len(ids) < context - 2]
    read = [ids for _, ids in pairs]
    rows = tokenizer([text for text, _ in pairs], context_length=context).tolist()
    shortest, ids = rows[0], read[0]
    starts = [at for at in range(len(shortest)) if shortest[at : at + len(ids)] == ids]
    if starts:
        before, after = shortest[: starts[0]], shortest[starts[0] + len(ids) :]
        frame = Frame(tuple(before), tuple(after), context)
        if all(row == [*before, *ids, *frame.behind(len(ids))] for row, ids in zip(rows, read, strict=True)):
            return frame
    message = (
        f"The tokenizer of {reference} does not put prompts into a fixed frame (start, prompt, end, padding on "
        f"the right): {pairs[0][0]!r} is read as {ids} and becomes {shortest[:12]}. Such models cannot be "
        "searched; use another one."
    )
    raise AssemblyError(message)


def _from_simple(tokenizer: open_clip_tokenizer.SimpleTokenizer) -> Tokenizer:
    """Return the byte-level BPE with word ends that `SimpleTokenizer` is."""
    rust = Tokenizer(
        models.BPE(
            vocab=tokenizer.encoder,
            merges=list(tokenizer.bpe_ranks),
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
        )
    )
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORDS, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens([tokenizer.decoder[token] for token in tokenizer.all_special_ids])
    return rust
