"""All that the data module knows of a trainer's inside: where it stands, and what it must not be set to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer

from dynaclr.encoder import ContrastiveEncoder
from dynaclr.engine import ContrastiveModule
from dynaclr.errors import DynaclrError

_LIMITS = {"fit": "limit_train_batches", "validate": "limit_val_batches", "predict": "limit_predict_batches"}
"""What a trainer calls the number of batches that a stage is about."""


def check_trainer(trainer: Trainer, stage: str) -> None:
    """Refuse settings that would bring other batches than the user believes.

    Parameters
    ----------
    trainer
        The trainer.
    stage
        What it is to do: ``"fit"``, ``"validate"`` or ``"predict"``.

    Raises
    ------
    DynaclrError
        If there are to be no batches, or if batches are to be repeated, rounded, or shared out over the ranks a second
        time.
    """
    limit = getattr(trainer, _LIMITS[stage])
    if limit == 0:  # Lightning would skip the stage without a word
        raise DynaclrError(f"{_LIMITS[stage]} is {limit!r}, but needs to be above 0: nothing would be done")
    precision = str(trainer.precision)
    if precision in ("16-true", "bf16-true"):
        raise DynaclrError(
            f"precision is {precision!r}, but needs to be '{precision.removesuffix('-true')}-mixed' or '32-true': "
            "Lightning would round the raw pixels before they are normalized"
        )
    overfit = getattr(trainer, "overfit_batches", 0)
    if overfit:
        raise DynaclrError(
            f"overfit_batches is {overfit!r}, but needs to be 0: every epoch draws other "
            "batches; to overfit, keep a few FOVs with include_wells"
        )
    connector = getattr(trainer, "_accelerator_connector", None)
    # Lightning also shares out on a single rank, where the strategy could take several.
    if getattr(connector, "is_distributed", False) and getattr(connector, "use_distributed_sampler", False):
        raise DynaclrError(
            "use_distributed_sampler is True with a distributed strategy, but needs to be False: the "
            "loaders share the batches out themselves; set Trainer(use_distributed_sampler=False)"
        )


def check_encoder(model: object, shape: tuple[int, ...]) -> None:
    """Refuse the `ContrastiveEncoder` of a `ContrastiveModule` that cannot take batches of this shape.

    Parameters
    ----------
    model
        What is trained; what other models hand to their encoder nobody knows.
    shape
        Samples, channels, slices, height and width in pixels.

    Raises
    ------
    DynaclrError
        In the encoder's own words.
    """
    if isinstance(model, ContrastiveModule) and isinstance(model.encoder, ContrastiveEncoder):
        model.encoder.check_shape(shape)


def number_in_transfer(trainer: Trainer) -> int:
    """Return which batch of the epoch is being transferred: Lightning counts it as ready only afterwards."""
    return int(_batches(trainer).current.ready)


def trained_batches(trainer: Trainer) -> int:
    """Return how many batches of the epoch training has finished."""
    return int(_batches(trainer).current.processed)


def state_left_behind(trainer: Trainer) -> Mapping[str, Any] | None:
    """Return the loader's part of a checkpoint, if the trainer is in the middle of an epoch and has not handed it on.

    Lightning (2.6) makes the loaders before it has restored where the run was if the model asks how many steps there
    will be while it configures the optimizers (``estimated_stepping_batches``), and does not look again.
    """
    loop: Any = trainer.fit_loop
    states, loop._combined_loader_states_to_load = loop._combined_loader_states_to_load, []  # noqa: SLF001  no other way
    return states[0] if states and loop.restarting else None


def correct_progress(trainer: Trainer, epoch: int, behind: int, begun: bool) -> None:
    """Correct what a trainer has made of a checkpoint, before it begins to train.

    Parameters
    ----------
    trainer
        Has just loaded the checkpoint.
    epoch
        The epoch in which the batches go on.
    behind
        How many of this rank's batches of that epoch have been trained on.
    begun
        Whether it has begun to train nevertheless.

    Raises
    ------
    DynaclrError
        If it has begun, and something is to be corrected.
    """
    epochs: Any = trainer.fit_loop.epoch_progress
    batches = _batches(trainer)
    shift = behind - batches.current.processed
    if begun and (shift or epochs.current.processed > epoch):
        raise DynaclrError(
            "the model asked for estimated_stepping_batches in configure_optimizers, so the loaders were made before "
            "the trainer knew where the checkpoint was written; to go on with other batches, or on another number of "
            "ranks, it needs to do without"
        )
    if epochs.current.processed > epoch:
        # The epoch is over. With max_steps Lightning (2.6) believes to be in its middle all the same, and would end the
        # next one after a single batch.
        epochs.increment_completed()
        batches.reset_on_run()
        return
    # On another number of ranks than before, the same place is another number of batches.
    for count in ("ready", "started", "processed", "completed"):
        setattr(batches.current, count, getattr(batches.current, count) + shift)


def _batches(trainer: Trainer) -> Any:
    return trainer.fit_loop.epoch_loop.batch_progress


class Unvalidated:
    """A trainer that is told to train without validating, until it gets its setting back.

    Of an empty list of loaders Lightning would warn in every run.

    Parameters
    ----------
    trainer
        The trainer.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._limit = trainer, trainer.limit_val_batches
        trainer.limit_val_batches = 0

    def give_back(self) -> None:
        """Let it validate as it was set to."""
        self._trainer.limit_val_batches = self._limit
