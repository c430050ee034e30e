"""Event files, one folder a run: losses and costs step by step, the prompts as text."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter

if TYPE_CHECKING:
    from preimage.api import RunEvent, StepEvent
    from preimage.result import Result

__all__ = ["Writers"]


class Writers:
    """The event files of the runs that go on together.

    The folder of a run is ``FOLDER/OPTIMIZERS/TARGET/seed-N-TIME``, so that TensorBoard can select by any of these, and
    has ``-2``, ``-3``, … behind it where another run has begun in the same second.

    Arguments:
        folder: where all logs are.
        event: the beginning of the runs.
    """

    def __init__(self, folder: str, event: RunEvent) -> None:
        now = time.strftime("%Y%m%d-%H%M%S")
        names = event.targets or tuple(str(index) for index in range(event.n_runs))
        optimizers = _part("-".join(event.stages or (event.optimizer,)))
        self.folders = [
            _free(Path(folder) / optimizers / f"{index}-{_part(Path(name).stem)}" / f"seed-{event.seed}-{now}")
            for index, name in enumerate(names)
        ]
        self._writers = [SummaryWriter(log_dir=str(path)) for path in self.folders]
        self._texts = [""] * len(self._writers)
        self._steps = 0

    def step(self, event: StepEvent) -> None:
        """Write the losses and costs of each run, and its best prompt where there is a new one."""
        # Counted here, because an event counts the steps of its stage.
        self._steps += 1
        for index, writer in enumerate(self._writers):
            spent = event.spent[index]
            values = {
                "loss/step": event.loss[index],
                "loss/best": event.best_loss[index],
                "spent/candidates": spent.candidates,
                "spent/passes": spent.forward + spent.backward,
                "spent/seconds": spent.seconds,
                "stage": event.stage,
            }
            for name, value in values.items():
                writer.add_scalar(name, value, self._steps)
            if event.best_text[index] != self._texts[index]:
                self._texts[index] = event.best_text[index]
                writer.add_text("best prompt", _verbatim(event.best_text[index]), self._steps)

    def finish(self, results: Sequence[Result]) -> None:
        """Write what each run has found."""
        for writer, result in zip(self._writers, results, strict=True):
            facts = [f"loss {result.loss:.4f}", *(f"{name} {value:.4f}" for name, value in result.terms.items())]
            writer.add_text("result", _verbatim("\n".join([result.text, *facts, result.stop_reason])), self._steps)

    def close(self) -> None:
        """Write everything out."""
        for writer in self._writers:
            writer.close()


def _free(folder: Path) -> Path:
    """Make the folder, or the first with a number behind its name that nobody has; TensorBoard mixes up two runs."""
    for number in itertools.count(1):
        path = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError


def _part(name: str) -> str:
    """Return `name` as a part of a path."""
    return re.sub(r"\W+", "-", name, flags=re.ASCII).strip("-")[:60] or "unnamed"


def _verbatim(text: str) -> str:
    """Return text that TensorBoard, which reads Markdown, shows letter by letter."""
    return "\n".join(f"    {line}" for line in text.splitlines())
