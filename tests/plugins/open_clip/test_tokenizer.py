"""The Rust tokenizers read what open_clip's own read."""

from __future__ import annotations

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from preimage.api import Template
from preimage.errors import AssemblyError
from preimage.text_space import TokenizerSpace
from preimage_open_clip.tokenizer import Clean, Frame, clean_of, frame_of, rust_tokenizer

SIMPLE = SimpleTokenizer(context_length=20)
SPACE = TokenizerSpace(
    rust_tokenizer(SIMPLE, "toy"),
    torch.zeros(49408, 2),
    name="toy",
    max_length=18,
    special_ids=(49406, 49407),
    clean=clean_of(SIMPLE),
)
TEXTS = [
    "a red circle",
    "  Hello,   World!!  It's   the dog's 3rd BONE &amp; he'll   've it...",
    "naïve café — “quotes”, ‘single’ … 東京タワー 🙂👩‍👩‍👧 ½ ² ſ ß ŉ",
    "1234567890 3.14 1e-5 a1b2",
    "under_score-dash/slash\\back #hash @at <b>bold</b> <!-- no -->",
    "mojibake: schÃ¶n, â€œquotedâ€\x9d",
    "\ttabs\nand\r\nlines\u00a0and\u2003wide\u200bspaces",
    "antidisestablishmentarianism supercalifragilisticexpialidocious",
    "",
]
ASCII = st.text(alphabet=st.characters(codec="ascii"), max_size=40)
# Characters newer than Python's own tables are letters to one regular-expression library and not yet to another.
ASSIGNED = st.text(alphabet=st.characters(exclude_categories=("Cn", "Cs")), max_size=40)


class TestSimpleTokenizer:
    @pytest.mark.parametrize("text", TEXTS)
    def test_reads_alike(self, text: str) -> None:
        """Every awkward text has the ids that SimpleTokenizer gives it."""
        assert SPACE.encode([text]) == [SIMPLE.encode(text)]

    @settings(max_examples=400, deadline=None)
    @given(text=st.one_of(ASCII, ASSIGNED))
    def test_reads_any_text_alike(self, text: str) -> None:
        """Any text at all has the ids that SimpleTokenizer gives it."""
        assert SPACE.encode([text]) == [SIMPLE.encode(text)]

    def test_reads_every_token_alike(self) -> None:
        """The texts of all tokens of the vocabulary are read alike."""
        texts = [SIMPLE.decode([token]) for token in range(49406)]

        assert SPACE.encode(texts) == [SIMPLE.encode(text) for text in texts]

    @settings(max_examples=100, deadline=None)
    @given(ids=st.lists(st.integers(0, 49405), min_size=1, max_size=8))
    def test_decodes_alike(self, ids: list[int]) -> None:
        """Decoding differs from open_clip's in nothing but the spaces."""
        (text,) = SPACE.decode(torch.tensor([ids]))

        assert text.split() == SIMPLE.decode(ids).split()

    @settings(max_examples=200, deadline=None)
    @given(text=st.one_of(ASCII, ASSIGNED))
    @pytest.mark.parametrize("kind", ["lower", "whitespace", "canonicalize"])
    def test_short_cut_changes_nothing(self, kind: str, text: str) -> None:
        """Plain text is cleaned as open_clip would, without the repair it does not need."""
        full = open_clip.tokenizer.get_clean_fn(kind)

        assert Clean(full)(text) == full(text)

    def test_stability_follows_the_pipeline(self) -> None:
        """What cleaning would change is unstable: here an entity that open_clip unescapes."""
        ids = torch.tensor(SPACE.encode(["& amp ;"]))
        entity = torch.tensor([[SIMPLE.encoder["&"], SIMPLE.encoder["amp</w>"], SIMPLE.encoder[";</w>"]]])

        assert SPACE.is_stable(ids, Template()).all()
        assert not SPACE.is_stable(entity, Template()).any()


class TestFrame:
    def test_of_simple_tokenizer(self) -> None:
        """Start, prompt, end, zeros."""
        frame = frame_of(SIMPLE, SPACE.encode, 20, "toy")

        assert frame == Frame((49406,), (49407, *[0] * 17), 20)
        assert frame.max_length == 18
        assert frame.behind(18) == (49407,)

    def test_without_a_frame(self) -> None:
        """A tokenizer that changes prompts is refused in a sentence."""

        def shuffled(texts: list[str], context_length: int) -> torch.Tensor:
            return SIMPLE(texts, context_length=context_length).flip(1)

        with pytest.raises(AssemblyError, match="does not put prompts into a fixed frame"):
            frame_of(shuffled, SPACE.encode, 20, "toy")

    def test_without_a_fast_tokenizer(self) -> None:
        """A tokenizer without Rust behind it is refused in a sentence."""
        with pytest.raises(AssemblyError, match="not one of the `tokenizers` library"):
            rust_tokenizer(object(), "open_clip:toy")
