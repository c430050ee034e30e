"""The loop that all models are trained with: AdamW, one cosine, checkpoints, one line of log in fifty steps."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    import torch

    Loss = Callable[[torch.Generator], tuple[torch.Tensor, dict[str, float]]]

__all__ = ["Schedule", "follow", "train"]


@frozen(kw_only=True)
class Schedule:
    """How long and how fast a model learns; each model's settings extend these."""

    seed: int = 0
    steps: int = 1_000
    batch: int = 128
    learning_rate: float = 2e-3
    warm_up: int = 100
    weight_decay: float = 0.05
    save_every: int = 200
    average: float = 0.995

    def share(self, step: int) -> float:
        """Return the share of the learning rate at a step: up in a line, down in half a cosine."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        progress = (step - self.warm_up) / (self.steps - self.warm_up)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def train(
    name: str,
    modules: "dict[str, torch.nn.Module]",
    loss: "Loss",
    schedule: Schedule,
    checkpoint: Path,
    on_save: Callable[[], None] | None = None,
    averages: "dict[str, torch.nn.Module] | None" = None,
) -> None:
    """Train modules in place, or take up a run that was cut off.

    Args:
        name: What the log calls the model.
        modules: All that learns, by names under which checkpoints keep it.
        loss: Draws a batch from a generator, seeded by the step, and returns its loss and what to log.
        schedule: How long and how fast.
        checkpoint: Where the run is kept.
        on_save: Called after each checkpoint.
        averages: Copies of some of the modules, by their names, which follow them as `follow` says; kept too.

    Raises:
        ValueError: The run that is kept has another seed.
    """
    import torch

    parameters = [parameter for module in modules.values() for parameter in module.parameters()]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=schedule.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=schedule.weight_decay,
    )
    step, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["seed"] != schedule.seed:
            message = (
                f"{checkpoint} keeps a run of seed {saved['seed']}, which seed {schedule.seed} cannot go on from: "
                "name another folder for checkpoints, or remove this one."
            )
            raise ValueError(message)
        for key, module in modules.items():
            module.load_state_dict(saved[key])
        for key, module in (averages or {}).items():
            module.load_state_dict(saved["average"][key])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], saved["seconds"]
        print(f"{name}: going on from step {step}", flush=True)
    for module in modules.values():
        module.train()
    began, first = time.monotonic(), step
    while step < schedule.steps:
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * schedule.share(step)
        value, parts = loss(torch.Generator().manual_seed(schedule.seed * 1_000_003 + step))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for key, module in (averages or {}).items():
            follow(module, modules[key], min(schedule.average, (1 + step) / (10 + step)))
        step += 1
        if step % 50 == 0:
            pace = (time.monotonic() - began) / (step - first)
            shown = "  ".join(f"{part} {number:.3f}" for part, number in parts.items())
            left = pace * (schedule.steps - step) / 60
            print(f"{name}: step {step}/{schedule.steps}  {shown}  {pace:.2f} s/step, {left:.0f} min left", flush=True)
        if step % schedule.save_every == 0 or step == schedule.steps:
            state: dict[str, Any] = {key: module.state_dict() for key, module in modules.items()}
            state["average"] = {key: module.state_dict() for key, module in (averages or {}).items()}
            seconds = spent + time.monotonic() - began
            state |= {"optimizer": optimizer.state_dict(), "step": step, "seconds": seconds, "seed": schedule.seed}
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").rename(checkpoint)
            if on_save is not None:
                on_save()


def follow(average: "torch.nn.Module", module: "torch.nn.Module", decay: float) -> None:
    """Move a running average of a module's parameters and buffers towards the module, in place.

    Args:
        average: A copy of the module.
        module: What it follows.
        decay: The share of the average that stays.
    """
    import torch

    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), module.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
