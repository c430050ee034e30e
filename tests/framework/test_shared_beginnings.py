"""How beginnings that texts have in common are found."""

import numpy as np
import pytest

from preimage.shared_beginnings import plan


def test_thousands_of_unlike_texts_are_planned():
    """Many searches in lockstep have no beginning in common, and planning must not recurse for each of them."""
    ids = np.random.default_rng(0).integers(0, 50_000, (5000, 12))
    branch = plan(ids)
    assert branch.positions(12) <= ids.size


@pytest.mark.parametrize("width", [64, 256, 1024])
@pytest.mark.parametrize("n_searches", [1, 5])
def test_texts_that_differ_in_one_token_share_what_stands_before_it(n_searches, width):
    """Little more than half of the positions is left to compute, however many searches there are in the batch."""
    rng = np.random.default_rng(1)
    ids = np.repeat(rng.integers(0, 1000, (n_searches, 16)), width, axis=0)
    ids[np.arange(len(ids)), rng.integers(0, 16, len(ids))] = rng.integers(1000, 2000, len(ids))
    branch = plan(ids)
    assert branch.positions(16) < (0.75 if width == 64 else 0.65) * ids.size


def test_what_a_row_takes_over_is_the_same_as_its_own_beginning():
    """Wherever a row starts, all rows run before it in its branch agree with it up to there."""
    rng = np.random.default_rng(2)
    ids = np.repeat(rng.integers(0, 9, (1, 10)), 300, axis=0)
    ids[np.arange(300), rng.integers(0, 10, 300)] = rng.integers(0, 9, 300)

    def check(branch, before):
        start = branch.start
        assert (ids[branch.rows, :start] == before[:start]).all()
        for child in branch.children:
            check(child, ids[branch.rows[0]])

    check(plan(ids), ids[0])
