"""Common beginnings are computed once, exactly, and only where that saves work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from preimage_open_clip.shared_prefix import Branch, plan


def swapped(base: torch.Tensor, count: int, seed: int, vocabulary: int = 49000) -> torch.Tensor:
    """Rows that differ from `base` in one token, as a search proposes them."""
    generator = torch.Generator().manual_seed(seed)
    rows = base.repeat(count, 1)
    at = torch.randint(len(base), (count,), generator=generator)
    rows[torch.arange(count), at] = torch.randint(vocabulary, (count,), generator=generator)
    return rows


def random_base(length: int, seed: int) -> torch.Tensor:
    return torch.randint(49000, (length,), generator=torch.Generator().manual_seed(seed))


BATCHES = {
    "one search": lambda: swapped(random_base(14, 0), 300, 1),
    "three searches": lambda: torch.cat([swapped(random_base(14, seed), 120, seed) for seed in range(3)]),
    "behind a template": lambda: torch.cat([random_base(5, 9).repeat(200, 1), torch.randint(49000, (200, 9))], dim=1),
    "all alike": lambda: random_base(6, 0).repeat(80, 1),
    "nothing alike": lambda: torch.randint(49000, (80, 6)),
    "one token": lambda: torch.randint(49000, (90, 1)),
    "last token only": lambda: torch.cat([random_base(9, 1).repeat(90, 1), torch.randint(49000, (90, 1))], dim=1),
    "few words": lambda: torch.randint(3, (200, 10)) + 500,
}


class TestVectors:
    @pytest.mark.parametrize("tower", ["plain", "custom-text", "quick-gelu", "layer-scale", "pooled-at-eos"])
    @pytest.mark.parametrize("batch", BATCHES)
    def test_equal_those_of_the_plain_tower(self, make_tower, tower: str, batch: str) -> None:
        """Sharing changes no vector."""
        ids = BATCHES[batch]()
        sharing, _ = make_tower(tower)
        plain, _ = make_tower(tower, share_prefixes=False)

        torch.testing.assert_close(sharing.encode_tokens(ids), plain.encode_tokens(ids), atol=1e-5, rtol=0)

    def test_order_of_rows_is_kept(self, make_tower) -> None:
        """Shuffling the rows shuffles the vectors."""
        ids = BATCHES["one search"]()
        encoder, _ = make_tower("plain")
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(2))

        torch.testing.assert_close(
            encoder.encode_tokens(ids[order]), encoder.encode_tokens(ids)[order], atol=1e-5, rtol=0
        )

    def test_small_batches_are_run_plainly(self, make_tower) -> None:
        """A few rows are not worth a plan."""
        encoder, _ = make_tower("plain")

        assert not encoder._shared.pays(swapped(random_base(14, 0), 20, 1))
        assert encoder._shared.pays(swapped(random_base(14, 0), 200, 1))

    def test_positions_computed_are_near_the_floor(self, make_tower) -> None:
        """One search of 512 rows runs at most a tenth more positions than its rows have behind their change."""
        encoder, _ = make_tower("plain")
        ids = swapped(random_base(16, 0), 512, 1)
        counted = []
        block = encoder._tower.blocks[0]
        handle = block.ln_1.register_forward_hook(lambda _, __, output: counted.append(output[..., 0].numel()))
        encoder.encode_tokens(ids)
        handle.remove()
        base = random_base(16, 0)
        changed = (ids != base).int()
        floor = sum(17 - int(row.argmax()) for row in changed if row.any())

        assert sum(counted) <= 1.1 * (floor + 18)


class TestPlan:
    @settings(max_examples=150, deadline=None)
    @given(
        seed=st.integers(0, 10_000),
        count=st.integers(1, 200),
        length=st.integers(1, 9),
        words=st.sampled_from([1, 2, 5, 1000]),
        searches=st.integers(1, 4),
    )
    def test_every_row_once_behind_its_own_beginning(
        self, seed: int, count: int, length: int, words: int, searches: int
    ) -> None:
        """Each row is run once, behind keys of its own beginning, and never at more cost than plainly."""
        generator = np.random.default_rng(seed)
        bases = generator.integers(words, size=(searches, length))
        ids = bases[generator.integers(searches, size=count)]
        at = generator.integers(length, size=count)
        ids[np.arange(count), at] = generator.integers(words, size=count)
        ids = np.concatenate([ids, np.full((count, 1), 7)], axis=1)
        root = plan(ids)
        seen: list[int] = []

        def walk(branch: Branch, beginning: np.ndarray) -> None:
            assert len(beginning) == branch.start <= length
            for row in branch.rows:
                assert (ids[row, : branch.start] == beginning).all()
            seen.extend(branch.rows.tolist())
            if branch.children:
                trunk = ids[branch.rows[0]]
                assert (ids[branch.rows] == trunk).all()
                for child in branch.children:
                    walk(child, trunk[: child.start])

        walk(root, ids[0, :0])
        assert sorted(seen) == list(range(count))
        assert root.positions(length + 1) <= count * (length + 1)

    def test_without_anything_in_common(self) -> None:
        """Rows with nothing in common are run together."""
        ids = np.arange(300).reshape(100, 3)

        assert not plan(ids).children
