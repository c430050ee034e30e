"""A tokenizer with its embedding matrix: the one implementation of `TextSpace`, and templates bound to it.

Whether a row of ids is *stable* is always judged on its text: it is decoded, put into the template, and
encoded as a whole by the model's own pipeline. Nothing here assumes how a tokenizer marks words, so
word-boundary suffixes (CLIP), continuation marks (WordPiece), leading spaces (byte-level BPE) and word starts
(Metaspace, unigram) are all right; an assumption that fails costs candidates, never correctness.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import torch
from tokenizers import Tokenizer, decoders

from preimage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from preimage.api.space import TextSpace
    from preimage.api.template import Template

__all__ = ["BoundTemplate", "Reading", "TokenizerSpace", "template_ids"]

# What stands before a piece while it is read in context; the first that stays whole is taken.
_PROBES = ("x", "a", "the", ".")
# Letters, capitals, digits, marks and an empty word: what tokenizers treat differently beside a space.
_SENTENCE = "a Cat isn't 42 , it's (very) big. é x-y  !!"
_REMEMBERED_WORDS = 100_000


@attrs.frozen
class Reading:
    """A text as a model reads it, and where in it each token stands.

    Attributes:
        text: the text as the tokenizer is given it, after the pipeline's own cleaning.
        ids: the token ids, without specials.
        offsets: the ``(start, end)`` of each token in `text`; a character that takes several tokens is in each
            of their ranges, and whether the space before a word is in its range is the tokenizer's affair.
    """

    text: str
    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


class TokenizerSpace:
    """A `TextSpace` over a tokenizer of the `tokenizers` library.

    The tokenizer is copied, so that padding or truncation set on the original elsewhere cannot change what is
    read here.

    Arguments:
        tokenizer: the Rust tokenizer; for one of transformers, its ``backend_tokenizer``.
        embedding: the model's input embeddings, ``(V, d)``; may have more rows than the tokenizer has tokens.
        name: the reference of the model, for messages.
        max_length: how many tokens fit besides the special ones.
        special_ids: ids that no prompt may hold, besides those the tokenizer itself calls special.
        clean: the pipeline's own normalisation of a text before its tokenizer, for example open_clip's
            ``clean_fn``.

    Raises:
        InputError: the embedding is not a matrix, or no token fits.

    >>> import torch
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> words = Tokenizer(models.WordLevel({"a": 0, "red": 1, "circle": 2, "?": 3}, unk_token="?"))
    >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> space = TokenizerSpace(words, torch.zeros(4, 8), name="toy", max_length=16, special_ids=())
    >>> space.encode(["a red circle", "red"])
    [[0, 1, 2], [1]]
    >>> space.decode(torch.tensor([[0, 1, 2]]))
    ['a red circle']
    >>> space.allowed.tolist()
    [True, True, True, False]
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        embedding: Tensor,
        *,
        name: str,
        max_length: int,
        special_ids: Iterable[int],
        clean: Callable[[str], str] | None = None,
    ) -> None:
        if embedding.ndim != 2:
            message = (
                f"The input embeddings of {name} have the shape {tuple(embedding.shape)}, but a text space "
                "needs one row for each token: pass the weight (V, d) of the model's token embedding."
            )
            raise InputError(message)
        if max_length < 1:
            message = (
                f"The text model of {name} would have room for {max_length} tokens, so that no prompt fits: "
                "use a model with a longer context."
            )
            raise InputError(message)
        self.name = name
        self.max_length = max_length
        self.embedding = embedding
        self.special_ids = frozenset(special_ids)
        self._clean = clean
        self._tokenizer = _private_copy(tokenizer)
        self._bound: dict[Template, BoundTemplate] = {}
        self._words: dict[str, list[int]] = {}

    @property
    def device(self) -> torch.device:
        """Where the embedding lives."""
        return self.embedding.device

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the vocabulary and its normalisation: equal for spaces that read text alike."""
        saved = self._saved
        reading = {key: saved.get(key) for key in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
        clean = "" if self._clean is None else getattr(self._clean, "__qualname__", repr(self._clean))
        text = json.dumps([reading, clean], sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()

    @cached_property
    def allowed(self) -> Tensor:
        """Which ids may be proposed, bool ``(V,)``: those whose text can be typed, seen and read.

        A pipeline that ignores case never answers with a capital letter, so tokens with one are left out too.
        """
        rows = len(self.embedding)
        forbidden = self.special_ids | self._own_special_ids
        ids = [
            token
            for token in sorted(self._tokenizer.get_vocab(with_added_tokens=True).values())
            if token < rows and token not in forbidden
        ]
        texts = self._tokenizer.decode_batch([[token] for token in ids], skip_special_tokens=False)
        read = self.encode(texts)
        capital = [text for text in texts if text != text.lower()]
        small = dict(zip(capital, self.encode([text.lower() for text in capital]), strict=True))
        allowed = torch.zeros(rows, dtype=torch.bool)
        allowed[ids] = torch.tensor(
            [_is_visible(text) and bool(own) and own != small.get(text) for text, own in zip(texts, read, strict=True)],
            dtype=torch.bool,
        )
        return allowed.to(self.device)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text as the model reads it, without specials.

        The written name of a special token, such as ``<|endoftext|>``, is read as ordinary characters.
        """
        return self._encode_clean([self._cleaned(text) for text in texts])

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Reading]:
        """Return the token ids of each text, as `encode` does, and where each token stands.

        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> words = Tokenizer(models.WordLevel({"a": 0, "red": 1, "?": 2}, unk_token="?"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> space = TokenizerSpace(words, torch.zeros(3, 8), name="toy", max_length=16, special_ids=())
        >>> space.encode_with_offsets(["a red"])[0].offsets
        ((0, 1), (2, 5))
        """
        cleaned = [self._cleaned(text) for text in texts]
        encodings = self._tokenizer.encode_batch(cleaned, add_special_tokens=False)
        return [
            Reading(text, tuple(encoding.ids), tuple(encoding.offsets))
            for text, encoding in zip(cleaned, encodings, strict=True)
        ]

    def decode(self, ids: Tensor) -> list[str]:
        """Return the text of each row of `ids`, ``(B, L)``, as a person would type it: single spaces only."""
        texts = self._tokenizer.decode_batch(ids.tolist(), skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def is_stable(self, ids: Tensor, template: Template) -> Tensor:
        """Tell for each row of `ids`, ``(B, L)``, whether typing its text gives the same ids, bool ``(B,)``.

        The text is decoded, put into every slot of `template` and encoded in that full context. A text in
        which the name of a special token can be read is never stable: elsewhere it would end the prompt.
        """
        texts = [self._cleaned(template.fill(prompt)) for prompt in self.decode(ids)]
        expected = self.bound(template).fill(ids).tolist()
        named = self._special_names
        stable = [
            read == wanted and (named is None or named.search(text) is None)
            for read, wanted, text in zip(self._encode_clean(texts), expected, texts, strict=True)
        ]
        return torch.tensor(stable, dtype=torch.bool, device=ids.device)

    def bound(self, template: Template) -> BoundTemplate:
        """Return `template` bound to this space; made once."""
        if template not in self._bound:
            self._bound[template] = BoundTemplate(self, template)
        return self._bound[template]

    def _cleaned(self, text: str) -> str:
        return text if self._clean is None else self._clean(text)

    def _encode_clean(self, texts: list[str]) -> list[list[int]]:
        if not self._reads_words_apart:
            return self._encode_whole(texts)
        rows = [text.split(" ") for text in texts]
        unknown = sorted({word for words in rows for word in words} - self._words.keys())
        if len(self._words) > _REMEMBERED_WORDS:
            self._words, unknown = {}, sorted({word for words in rows for word in words})
        self._words.update(zip(unknown, self._encode_whole(unknown), strict=True))
        known = self._words
        return [[token for word in words for token in known[word]] for words in rows]

    def _encode_whole(self, texts: list[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    @cached_property
    def _reads_words_apart(self) -> bool:
        """Whether a word between spaces is read alike wherever it stands, so that its ids can be remembered.

        True of tokenizers that mark the ends of words, as CLIP's do. Most words of a step's candidates are
        those of the step before, so that remembering them saves most of the time of the round-trip check.
        """
        if not getattr(self._tokenizer.model, "end_of_word_suffix", None):
            return False
        whole, *parts = self._encode_whole([_SENTENCE, *_SENTENCE.split(" ")])
        return whole == [token for part in parts for token in part]

    @cached_property
    def _saved(self) -> dict[str, Any]:
        saved: dict[str, Any] = json.loads(self._tokenizer.to_str())
        return saved

    @cached_property
    def _own_special_ids(self) -> frozenset[int]:
        """The ids that the tokenizer calls special, and the one it uses for what it does not know."""
        special = {token["id"] for token in self._saved["added_tokens"] if token["special"]}
        model = self._saved["model"]
        unknown = model.get("unk_id")
        if unknown is None and model.get("unk_token") is not None:
            unknown = self._tokenizer.token_to_id(model["unk_token"])
        return frozenset(special if unknown is None else special | {unknown})

    @cached_property
    def _special_names(self) -> re.Pattern[str] | None:
        names = [token["content"] for token in self._saved["added_tokens"] if token["special"]]
        if not names:
            return None
        return re.compile("|".join(re.escape(name) for name in names), re.IGNORECASE)


class BoundTemplate:
    """A template as a model reads it: the ids of its fixed pieces around one or several slots.

    Attributes:
        prefix: the ids before the first slot, ``(P,)``.
        n_slots: how many slots receive the prompt.
        n_fixed: how many ids the pieces have in all.

    >>> import torch
    >>> from preimage.api import Template
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> words = Tokenizer(models.WordLevel({"an": 0, "image": 1, "of": 2, "it": 3}, unk_token="it"))
    >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> space = TokenizerSpace(words, torch.zeros(4, 8), name="toy", max_length=16, special_ids=())
    >>> bound = BoundTemplate(space, Template("an image of {optim_str}"))
    >>> bound.fill(torch.tensor([[3, 3]]))
    tensor([[0, 1, 2, 3, 3]])
    >>> bound.gather(torch.ones(1, 5, 8), length=2).shape
    torch.Size([1, 2, 8])
    """

    def __init__(self, space: TextSpace, template: Template) -> None:
        self.template = template
        self._space = space
        self._pieces = [
            torch.tensor(ids, dtype=torch.long, device=space.device) for ids in template_ids(space, template)
        ]

    @property
    def prefix(self) -> Tensor:
        """The ids before the first slot, ``(P,)``."""
        return self._pieces[0]

    @property
    def n_slots(self) -> int:
        """How many slots receive the prompt."""
        return len(self._pieces) - 1

    @property
    def n_fixed(self) -> int:
        """How many ids the pieces have in all."""
        return sum(len(piece) for piece in self._pieces)

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each prompt as it is read in the first slot.

        Byte-level tokenizers read a first word behind other text as another token than at the start of a text.
        Where a prompt melts into the text around it, it is read on its own.
        """
        alone = self._space.encode(prompts)
        in_context = self._space.encode([self.template.fill(prompt) for prompt in prompts])
        fixed = [piece.tolist() for piece in self._pieces]
        return [self._slot_of(whole, fixed) or ids for whole, ids in zip(in_context, alone, strict=True)]

    def _slot_of(self, whole: list[int], fixed: list[list[int]]) -> list[int] | None:
        """Return the ids that stand in every slot of `whole`, or None if it is not the template filled."""
        length = (len(whole) - self.n_fixed) // self.n_slots
        prompt = whole[len(fixed[0]) :][:length]
        filled = fixed[0] + [token for piece in fixed[1:] for token in prompt + piece]
        return prompt if filled == whole else None

    def fill(self, ids: Tensor) -> Tensor:
        """Return the whole text's ids, ``(B, L_full)``, with the prompts `ids`, ``(B, L)``, in every slot."""
        first, *rest = (piece.to(ids).expand(len(ids), -1) for piece in self._pieces)
        parts = [first]
        for piece in rest:
            parts += [ids, piece]
        return torch.cat(parts, dim=1)

    def starts(self, length: int) -> list[int]:
        """Return where in the whole text each slot begins, for prompts of `length` tokens."""
        starts, position = [], 0
        for piece in self._pieces[:-1]:
            position += len(piece)
            starts.append(position)
            position += length
        return starts

    def gather(self, gradient: Tensor, length: int) -> Tensor:
        """Return the prompt's part, ``(B, L, d)``, of a gradient ``(B, L_full, d)``: the sum over slots."""
        first, *rest = (gradient[:, start : start + length] for start in self.starts(length))
        return sum(rest, start=first)


def template_ids(space: TextSpace, template: Template) -> list[list[int]]:
    """Return the ids of each of the template's pieces, before, between and after the slots.

    A piece after a slot is read behind a probe, because some tokenizers would take it for the start of a text
    (Metaspace puts a space before the first word). Where no probe stays whole, it is read on its own: no
    prompt is stable there, and the check on the text says so.
    """
    first, *rest = template.pieces
    (prefix,) = space.encode([first]) if first else ([],)
    return [prefix, *(_read_behind_slot(space, piece) if piece else [] for piece in rest)]


def _read_behind_slot(space: TextSpace, piece: str) -> list[int]:
    alone, *read = space.encode([piece, *_PROBES, *(probe + piece for probe in _PROBES)])
    for probe, joined in zip(read[: len(_PROBES)], read[len(_PROBES) :], strict=True):
        if joined[: len(probe)] == probe and len(joined) > len(probe):
            return joined[len(probe) :]
    return alone


def _is_visible(text: str) -> bool:
    """Tell whether what a single token decodes to can be typed and seen."""
    return bool(text.strip()) and text.isprintable() and "\ufffd" not in text


def _private_copy(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy that neither pads nor truncates and that decodes word ends as spaces."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    copy.encode_special_tokens = True
    suffix = getattr(copy.model, "end_of_word_suffix", None)
    if suffix and isinstance(copy.decoder, decoders.ByteLevel):
        # The byte-level decoder alone leaves CLIP's "</w>" in the text (huggingface/tokenizers#872).
        copy.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(suffix, " ")])
    return copy
