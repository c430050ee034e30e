"""Which beginnings the texts of a batch have in common, so that a causal model need compute each only once.

The candidates of a search mostly differ in one token. In a causal model everything left of that token is the
same for all of them, and so are its keys and values. The texts of a batch form a tree of beginnings: from its
root the *trunk* follows the most frequent token at each position. The trunk is run once, and its keys and values
are kept; the texts that leave it at a position start from there, with the trunk's keys and values before them.
Texts that leave it together may have a trunk of their own (several searches in one batch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FEWEST_ROWS", "Branch", "plan"]

FEWEST_ROWS = 24
"""Fewer rows than this do not get a run of their own: each run costs the launch of every operation."""
# Share only where it leaves at most this part of the positions to compute.
_WORTHWHILE = 0.85


@attrs.frozen(eq=False)
class Branch:
    """Rows that are run together from position `start` on.

    Attributes:
        start: the first position that is computed; those before it come from the parent's first row.
        rows: indices of the rows; with `children` all of them are equal, and only the first is run.
        children: rows that leave the first row later.
    """

    start: int
    rows: NDArray[np.int64]
    children: tuple[Branch, ...] = ()

    def positions(self, length: int) -> int:
        """Return how many positions are computed in all, for rows of `length`."""
        own = 1 if self.children else len(self.rows)
        return own * (length - self.start) + sum(child.positions(length) for child in self.children)


def plan(ids: NDArray[np.int64]) -> Branch:
    """Return how to compute rows of ids, ``(B, T)``, whose last position is always computed.

    >>> branch = plan(np.array([[1, 2, 3, 9]] + [[1, 2, token, 9] for token in range(10, 40)]))
    >>> branch.start, branch.children[0].start, len(branch.children[0].rows)
    (0, 2, 30)
    """
    length = ids.shape[1]
    order = np.lexsort(ids.T[::-1])
    differs = ids[order[1:]] != ids[order[:-1]]
    # How long a beginning each row has in common with the one before it, in the order of the tree.
    common = np.where(differs.any(axis=1), differs.argmax(axis=1), length)
    return _grow(order, common, 0, length)


def _grow(rows: NDArray[np.int64], common: NDArray[np.int64], start: int, length: int) -> Branch:
    """Return the branch of sorted `rows` that have all positions before `start` in common."""
    alone = Branch(start, rows)
    if len(rows) <= FEWEST_ROWS:
        return alone
    leaving = []
    first, last = 0, len(rows)
    while last - first > 1 and (fork := int(common[first : last - 1].min())) < length:
        cuts = first + 1 + np.flatnonzero(common[first : last - 1] == fork)
        bounds = np.concatenate([[first], cuts, [last]])
        widest = int(np.diff(bounds).argmax())
        low, high = int(bounds[widest]), int(bounds[widest + 1])
        leaving.append(_joined(rows, common, (first, low), (high, last), fork))
        first, last = low, high
    children = tuple(branch for group in _large_enough(leaving) for branch in _parted(*group, length))
    shared = Branch(start, rows[first:last], children)
    if not children or shared.positions(length) > _WORTHWHILE * alone.positions(length):
        return alone
    return shared


def _parted(fork: int, rows: NDArray[np.int64], common: NDArray[np.int64], length: int) -> list[Branch]:
    """Return branches for sorted `rows` that have all positions before `fork` in common.

    Rows with the same token at `fork` make a branch if they are many; all others are run together. So branches
    within branches fork ever later, and their depth is bounded by `length` however different the rows are.
    """
    bounds = np.concatenate([[0], 1 + np.flatnonzero(common == fork), [len(rows)]])
    spans = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    many = [(low, high) for low, high in spans if high - low >= FEWEST_ROWS]
    few = [rows[low:high] for low, high in spans if high - low < FEWEST_ROWS]
    branches = [_grow(rows[low:high], common[low : high - 1], fork, length) for low, high in many]
    return [*branches, Branch(fork, np.concatenate(few))] if few else branches


_Group = tuple[int, "NDArray[np.int64]", "NDArray[np.int64]"]


def _joined(
    rows: NDArray[np.int64],
    common: NDArray[np.int64],
    left: tuple[int, int],
    right: tuple[int, int],
    fork: int,
) -> _Group:
    """Return the rows of two neighbouring spans, which part at `fork`, as one sorted group."""
    seam = [fork] if left[1] > left[0] and right[1] > right[0] else []
    spans = (left, right)
    members = np.concatenate([rows[low:high] for low, high in spans])
    shared = np.concatenate(
        [common[left[0] : max(left[1] - 1, left[0])], seam, common[right[0] : max(right[1] - 1, right[0])]]
    )
    return fork, members, shared.astype(np.int64)


def _large_enough(groups: list[_Group]) -> list[_Group]:
    """Join neighbouring groups until each is large enough; the earlier one's beginning is one of all of them."""
    kept: list[_Group] = []
    for group in groups:
        if kept and len(kept[-1][1]) < FEWEST_ROWS:
            kept[-1] = _together(kept[-1], group)
        else:
            kept.append(group)
    if len(kept) > 1 and len(kept[-1][1]) < FEWEST_ROWS:
        last = kept.pop()
        kept[-1] = _together(kept[-1], last)
    return kept


def _together(earlier: _Group, later: _Group) -> _Group:
    """Return two groups as one, which leaves where the earlier leaves."""
    fork, rows, common = earlier
    _, others, theirs = later
    return fork, np.concatenate([rows, others]), np.concatenate([common, [fork], theirs])
