"""One state of an optimizer and the runs that it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import torch

    from preimage.track import Track

__all__ = ["Search"]


@attrs.define(eq=False)
class Search:
    """One state of an optimizer with its generator and the runs that it carries.

    A rowwise optimizer has one search for all targets that start from prompts of one length; any other has one per
    target.
    """

    state: Any
    rngs: tuple[torch.Generator, ...]
    tracks: list[Track]
    rowwise: bool = False

    @property
    def rng(self) -> Any:
        """What the optimizer draws from: a generator for each run if it is rowwise, otherwise the only one."""
        return self.rngs if self.rowwise else self.rngs[0]

    def copied(self) -> Search:
        """Return the search as it stands; going on with the one leaves the other alone."""
        tracks = [attrs.evolve(track, trajectory=list(track.trajectory)) for track in self.tracks]
        return Search(self.state, tuple(rng.clone_state() for rng in self.rngs), tracks, self.rowwise)

    @property
    def running(self) -> bool:
        """Whether any of its runs goes on."""
        return not self.state.done and any(track.stop_reason is None for track in self.tracks)
