"""The samplers of pictures: which there are for a model, and how many steps each needs."""

from __future__ import annotations

from typing import Any

import diffusers

from preimage.errors import AssemblyError, OptionError, nearest
from preimage_diffusers.quiet import quietly

__all__ = ["scheduler_named", "steps_of"]

# What their authors use; all others get what diffusers' pipelines take by default.
_STEPS = {"LCMScheduler": 4, "TCDScheduler": 4}
_FAST = ("DPMSolver", "UniPC", "DEIS")
_FAST_STEPS, _USUAL_STEPS = 25, 50


def steps_of(scheduler: Any) -> int:
    """Return how many denoising steps a scheduler is used with.

    >>> from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
    >>> steps_of(DDIMScheduler()), steps_of(DPMSolverMultistepScheduler())
    (50, 25)
    """
    name = type(scheduler).__name__
    return _STEPS.get(name, _FAST_STEPS if name.startswith(_FAST) else _USUAL_STEPS)


def scheduler_named(name: str | None, saved: Any) -> Any:
    """Return another scheduler for a model, or a copy of its own where none is named.

    Arguments:
        name: of a class of diffusers; capitals, dashes and the ending "Scheduler" do not matter.
        saved: the model's own, whose noise the other must follow.

    Raises:
        OptionError: none that fits the model has that name.

    >>> from diffusers import DDIMScheduler
    >>> type(scheduler_named("euler-discrete", DDIMScheduler())).__name__
    'EulerDiscreteScheduler'
    """
    with quietly():
        if name is None:
            return type(saved).from_config(saved.config)
        fitting = {
            _short(kind): kind for kind in saved._compatibles if isinstance(getattr(diffusers, kind, None), type)
        }
        wanted = _short(name)
        if wanted not in fitting and f"{wanted}discrete" in fitting:
            wanted = f"{wanted}discrete"
        if wanted not in fitting:
            message = (
                f"There is no scheduler {name!r} for a model with a {type(saved).__name__}."
                f"{nearest(wanted, list(fitting))} Those that fit: {', '.join(sorted(fitting)) or 'none'}."
            )
            raise OptionError(message)
        kind = getattr(diffusers, fitting[wanted])
        if getattr(kind, "_backends", None):
            message = f"The scheduler {name!r} needs {' and '.join(kind._backends)}: install that, or take another one."
            raise AssemblyError(message)
        return kind.from_config(saved.config)


def _short(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "").removesuffix("scheduler")
