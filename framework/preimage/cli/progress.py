"""How a search fares, while it runs: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from preimage.cli.results import printable, served

if TYPE_CHECKING:
    from rich.console import Console, Group

    from preimage.api.events import StepEvent
    from preimage.budget import Budget
    from preimage.pipeline import Pipeline

__all__ = ["Progress"]

_LINE_EVERY = 5.0
"""Seconds between two lines where there are no bars."""

_SHOWN = 4
"""Pictures whose prompts are shown at once."""


class Progress:
    """Shows the steps of a search on stderr; use as a context manager.

    Arguments:
        pipeline: what is run.
        names: of the pictures.
        quiet: show nothing.
        forced: show something even if stderr is no terminal.
        console: where to; stderr without it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        names: Sequence[str],
        *,
        quiet: bool = False,
        forced: bool = False,
        console: Console | None = None,
    ) -> None:
        from rich.console import Console

        self._pipeline = pipeline
        self._names = names
        self._console = Console(stderr=True, highlight=False) if console is None else console
        self._view: _Bars | _Lines | None = None
        if not quiet and self._console.is_terminal:
            self._view = _Bars(self._console, names)
        elif not quiet and forced:
            self._view = _Lines(self._console)
        self._meter = _Meter(pipeline)

    @property
    def listeners(self) -> tuple[Callable[[StepEvent], object], ...]:
        """What to hand to the run; nothing where nothing is shown, so that nothing is prepared either."""
        return () if self._view is None else (self._hear,)

    def __enter__(self) -> Progress:
        if self._view is not None:
            self._view.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._view is not None:
            self._view.stop()

    def _hear(self, event: StepEvent) -> None:
        assert self._view is not None
        self._view.show(event, self._meter.read(event))


class _Meter:
    """Turns events into what a reader wants to know: how far, how fast, in which stage."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._stages = pipeline.stages
        self._stage = -1
        self._before: tuple[int, float] = (0, 0.0)
        self._last: tuple[int, float] = (0, 0.0)
        self._clock: tuple[float, int] | None = None

    def read(self, event: StepEvent) -> dict[str, Any]:
        """Return what to show for an event."""
        spent = max(event.spent, key=lambda item: item.candidates)
        if event.stage != self._stage:
            self._stage = event.stage
            self._before = self._last
        self._last = (spent.candidates, spent.seconds)
        now, total = time.perf_counter(), sum(item.candidates for item in event.spent)
        if self._clock is None:
            # The first event only starts the clock: what came before it includes the start.
            self._clock = (now, total)
        elapsed = now - self._clock[0]
        stage = self._stages[event.stage]
        name = stage.optimizer if isinstance(stage.optimizer, str) else type(stage.optimizer).__name__
        count = len(self._stages)
        return {
            "title": name if count == 1 else f"{name} ({event.stage + 1}/{count})",
            "fraction": self._fraction(event, stage.budget),
            "steps": f"{event.step}/{stage.budget.num_steps}" if stage.budget.num_steps else f"{event.step}",
            "rate": (total - self._clock[1]) / elapsed if elapsed > 0 else 0.0,
        }

    def _fraction(self, event: StepEvent, budget: Budget) -> float:
        """Return how much of the budget is used, by the limit that is nearest."""
        if not event.running:
            return 1.0
        candidates, seconds = self._last[0] - self._before[0], self._last[1] - self._before[1]
        used = [
            value / limit
            for value, limit in (
                (event.step, budget.num_steps),
                (candidates, budget.max_candidates),
                (seconds, budget.max_seconds),
            )
            if limit
        ]
        return min(1.0, max(used, default=0.0))


class _Bars:
    """A bar for the steps, one for the pictures where there are several, and the best prompts below."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._names = names
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}", justify="right"),
            TextColumn("{task.fields[rate]}", justify="right"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._pictures = (
            self._bars.add_task("pictures", total=len(names), count=f"0/{len(names)}", rate="")
            if len(names) > 1
            else None
        )
        self._steps = self._bars.add_task("loading", total=None, count="", rate="")
        self._live = Live(self._bars, console=console, refresh_per_second=8, transient=True)
        self._recent: list[int] = list(range(min(len(names), _SHOWN)))
        self._losses: list[float] = [float("inf")] * len(names)

    def start(self) -> None:
        self._live.start()

    def stop(self) -> None:
        self._live.stop()

    def show(self, event: StepEvent, reading: dict[str, Any]) -> None:
        self._bars.update(
            self._steps,
            description=reading["title"],
            total=1.0,
            completed=reading["fraction"],
            count=f"{reading['steps']} steps",
            rate=f"{reading['rate']:,.0f} candidates/s",
        )
        if self._pictures is not None:
            finished = len(self._names) - event.running
            self._bars.update(self._pictures, completed=finished, count=f"{finished}/{len(self._names)} done")
        for index, loss in enumerate(event.best_loss):
            if loss < self._losses[index] and index not in self._recent and len(self._names) > _SHOWN:
                self._recent = [*self._recent[1:], index]
            self._losses[index] = loss
        self._live.update(self._with_prompts(event))

    def _with_prompts(self, event: StepEvent) -> Group:
        from rich.console import Group
        from rich.text import Text

        lines = []
        for index in sorted(self._recent):
            line = Text(no_wrap=True, overflow="ellipsis")
            line.append(f"{event.best_loss[index]:.4f} ", style="cyan")
            if len(self._names) > 1:
                line.append(f"{printable(self._names[index].rpartition('/')[2])} ", style="dim")
            line.append(printable(event.best_text[index]), style="bold")
            lines.append(line)
        for name, counts in event.coverage.items():
            lines.append(Text(f"gradient of {name}: {served(counts)}", style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(self._bars, *lines)


class _Lines:
    """One line every few seconds, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def start(self) -> None:
        self._next = time.perf_counter()

    def stop(self) -> None:
        """Do nothing; the last line was written with the last step."""

    def show(self, event: StepEvent, reading: dict[str, Any]) -> None:
        now = time.perf_counter()
        if now < self._next and event.running:
            return
        self._next = now + _LINE_EVERY
        index = min(range(len(event.best_loss)), key=event.best_loss.__getitem__)
        line = (
            f"{reading['title']}: {reading['fraction']:4.0%}, step {reading['steps']}, "
            f"{reading['rate']:,.0f} candidates/s, {event.running} running, "
            f"best {event.best_loss[index]:.4f} {printable(event.best_text[index])!r}"
        )
        line += "".join(f", gradient of {name}: {served(counts)}" for name, counts in event.coverage.items())
        self._console.print(line, markup=False, soft_wrap=True)
