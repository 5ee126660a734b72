"""How the learning rate changes over a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

from lightning.pytorch import Trainer

from dynaclr.errors import DynaclrError, did_you_mean

Schedule = Literal["Constant", "WarmupCosine"]

WARMUP_SHARE = 0.1
"""The share of a run's steps in which `"WarmupCosine"` raises the learning rate."""

WARMUP_START = 1e-3
"""The factor on the learning rate at the first step of the warm-up."""


def checked_schedule(schedule: Schedule) -> Schedule:
    """Return the name of a schedule.

    Raises
    ------
    DynaclrError
        If there is none of that name.
    """
    known = get_args(Schedule)
    if schedule not in known:
        raise DynaclrError(f"schedule={schedule!r} needs one of {known}{did_you_mean(schedule, known)}")
    return schedule


def check_end(trainer: Trainer) -> None:
    """Refuse a run without an end, of whose steps no share is known.

    Raises
    ------
    DynaclrError
        If the trainer has neither `max_epochs` nor `max_steps`.
    """
    if trainer.max_epochs == trainer.max_steps == -1:
        raise DynaclrError(
            "schedule='WarmupCosine' needs to know where the run ends: set max_epochs or max_steps of the trainer"
        )


def warmup_cosine(step: int, total: int) -> float:
    """Return the factor on the learning rate at one step of a run.

    It rises linearly from `WARMUP_START` to 1 over the first `WARMUP_SHARE` of the steps, at least one of them, then
    falls to 0 along half a cosine (Loshchilov and Hutter, *SGDR*, ICLR 2017, without restarts).

    Parameters
    ----------
    step
        Number of the step, from 0; beyond the end the factor stays 0.
    total
        How many steps the run has.

    Examples
    --------
    >>> [round(warmup_cosine(step, 20), 3) for step in (0, 2, 11, 20)]
    [0.001, 1.0, 0.5, 0.0]
    """
    warmup = max(1, round(WARMUP_SHARE * total))
    if step < warmup:
        return WARMUP_START + (1 - WARMUP_START) * step / warmup
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    return 0.5 * (1 + math.cos(math.pi * progress))


def rate_factor(trainer: Trainer) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the step, for a run on a trainer.

    Parameters
    ----------
    trainer
        Knows how many steps the run has.

    Returns
    -------
    callable
        `warmup_cosine` of a step, from 0.
    """
    # A plain function: LambdaLR keeps no state of it, so a longer run resumed from a checkpoint has its own length.
    # Asked for after the first step only, since Lightning makes the loaders for it, and those that are made before it
    # has restored at which batch a checkpoint was written begin the epoch anew.
    total: list[int] = []

    def factor(step: int) -> float:
        if step and not total:
            total.append(int(trainer.estimated_stepping_batches))
        return warmup_cosine(step, total[0] if step else 1)

    return factor
