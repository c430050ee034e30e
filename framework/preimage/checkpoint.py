"""Runs saved so that they go on where they stopped: ten steps equal five, a kill, and five more.

One safetensors file: tensors as they are, everything else as JSON in its header. No pickles. It is written to a
temporary name and renamed, so that a kill leaves the previous one whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch

from preimage.api.events import Spent
from preimage.errors import CheckpointError, PluginError
from preimage.search import Search
from preimage.track import Best, Point, Track

if TYPE_CHECKING:
    from preimage.api.optimizer import Optimizer
    from preimage.problem import Problem

__all__ = ["Checkpoint", "load", "packed", "save", "unpacked"]

FORMAT = "preimage-run-3"


@attrs.frozen(eq=False)
class Checkpoint:
    """What was saved: the searches of each stage, those of the stages before the last as they ended."""

    stages: tuple[tuple[Search, ...], ...]
    coverage: tuple[Mapping[str, Mapping[str, int]], ...]
    """How the words of the gradients had been served by the end of each stage."""

    @property
    def searches(self) -> tuple[Search, ...]:
        """Those of the stage that the run had reached."""
        return self.stages[-1]


def save(
    path: str | os.PathLike[str],
    identity: str,
    stages: Sequence[tuple[Search, ...]],
    problem: Problem,
    covered: Sequence[Mapping[str, Mapping[str, int]]] = (),
) -> None:
    """Write the searches of all stages up to the one that was reached to `path`, replacing what was there.

    Arguments:
        path: the file.
        identity: a hash of everything that shaped the run, compared when it is loaded.
        stages: the searches of each stage, at the end of a step.
        problem: whose memory goes along, so that a resumed run meets the same numbers.
        covered: its coverage at the end of each stage before the last.

    Raises:
        PluginError: a state holds something other than tensors, numbers, texts and tuples of these.
    """
    from safetensors.torch import save_file

    tensors = {f"memory/{name}": tensor for name, tensor in problem.memory.to_tensors().items()}
    coverage = [*covered, problem.coverage()]
    header: dict[str, Any] = {"batch_size": problem.batch_size, "stages": [], "coverage": coverage}
    for stage, searches in enumerate(stages):
        header["stages"].append([])
        for number, search in enumerate(searches):
            place, kind = f"{stage}/{number}", type(search.state)
            fields = {
                field.name: packed(getattr(search.state, field.name), f"{place}/{field.name}", tensors, kind)
                for field in attrs.fields(kind)
            }
            tensors[f"{place}/rngs"] = torch.stack([rng.get_state() for rng in search.rngs])
            tracks = [attrs.asdict(track) for track in search.tracks]
            header["stages"][stage].append({"state": fields, "tracks": tracks})
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    metadata = {"format": FORMAT, "identity": identity, "run": json.dumps(header)}
    # Views of one storage cannot be saved, and a state may well hold some.
    save_file(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()},
        temporary,
        metadata,
    )
    temporary.replace(target)


def load(path: str | os.PathLike[str], identity: str, optimizers: list[Optimizer[Any]], problem: Problem) -> Checkpoint:
    """Read what `save` wrote and put the memory back.

    Raises:
        CheckpointError: there is no such file, it is not a saved run, or it belongs to a different run.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        message = f"{path} cannot be read as a saved run ({error}): give the file of an earlier run."
        raise CheckpointError(message) from error
    if metadata.get("format") != FORMAT:
        message = f"{path} is not a saved run: give the file of an earlier run."
        raise CheckpointError(message)
    if metadata["identity"] != identity:
        message = (
            f"{path} was saved by a run with other options, models, targets or seed: repeat the options of that run "
            "(only the budget may differ), or save to another file."
        )
        raise CheckpointError(message)
    header = json.loads(metadata["run"])
    device = problem.space.device
    memory = {name.removeprefix("memory/"): value for name, value in tensors.items() if name.startswith("memory/")}
    problem.memory.restore(memory)
    problem.batch_size = header["batch_size"]
    stages = []
    for stage, entries in enumerate(header["stages"]):
        optimizer = optimizers[stage]
        searches = []
        for number, saved in enumerate(entries):
            fields = {name: unpacked(value, tensors, device) for name, value in saved["state"].items()}
            state = optimizer.State(**fields)
            rngs = tuple(_generator(row) for row in tensors[f"{stage}/{number}/rngs"])
            tracks = [_track(track) for track in saved["tracks"]]
            searches.append(Search(state, rngs, tracks, optimizer.rowwise))
        stages.append(tuple(searches))
    return Checkpoint(tuple(stages), tuple(header["coverage"]))


def _generator(state: torch.Tensor) -> torch.Generator:
    rng = torch.Generator()
    # A row of a larger tensor is refused, however it lies in memory.
    rng.set_state(state.clone())
    return rng


def packed(value: Any, name: str, tensors: dict[str, torch.Tensor], owner: type) -> Any:
    """Return a value of a state as plain data, its tensors put into `tensors` under names that begin with `name`.

    Raises:
        PluginError: it is nothing that a state may hold.
    """
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, tuple):
        return [packed(item, f"{name}/{index}", tensors, owner) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    message = (
        f"The state {owner.__name__} holds a {type(value).__name__}, which cannot be saved: states are frozen "
        "records of tensors, numbers, texts and tuples of these."
    )
    raise PluginError(message)


def unpacked(value: Any, tensors: dict[str, torch.Tensor], device: torch.device) -> Any:
    """Return what `packed` was given, on a device."""
    if isinstance(value, dict):
        return tensors[value["tensor"]].to(device)
    if isinstance(value, list):
        return tuple(unpacked(item, tensors, device) for item in value)
    return value


def _track(saved: dict[str, Any]) -> Track:
    best, before = saved["best"], saved["before_cut"]
    if before is not None and saved["stop_reason"] is None:
        # Not the budget cut the step short, so no budget says whether it is repeated.
        return _track(before)
    return Track(
        **{
            **saved,
            "best": best and Best(**{**best, "ids": tuple(best["ids"]), "terms": tuple(best["terms"])}),
            "spent": Spent(**saved["spent"]),
            "before_stage": Spent(**saved["before_stage"]),
            "trajectory": [Point(**{**point, "spent": Spent(**point["spent"])}) for point in saved["trajectory"]],
            "before_cut": before and _track(before),
            # A larger budget may let the run go on, so why it stopped is decided anew.
            "stop_reason": None,
        }
    )
