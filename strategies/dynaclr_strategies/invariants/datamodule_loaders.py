# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""The promises of splits and loaders: who trains and who validates, on which batches, on how many ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dynaclr_strategies.cases import DataModuleCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.datamodule_runs import (
    Crops,
    arrays,
    check_same_crops,
    named,
    oracle_of,
    quiet,
    set_up,
    trainer_options,
)
from dynaclr_strategies.invariants.evidence import TracksEvidence
from dynaclr_strategies.oracles.dataset import Observation

__all__ = [
    "check_loader_follows_sampler",
    "check_predict_in_order",
    "check_ranks_share_out",
    "check_resumes_with_the_next",
    "check_split_disjoint",
    "check_validation_complete",
]

RANKS = 3
EPOCHS = 2


def has_validation(case: DataModuleCase) -> bool:
    """Tell whether experiments are held out."""
    return bool(case.val_experiments)


# --- who is on which side ---------------------------------------------------------------------------------------------


@invariant("split-disjoint", subject="datamodule")
def check_split_disjoint(make: Any, case: DataModuleCase, root: Path) -> None:
    """Exactly the named experiments validate and all others train: each anchor on one side, no store on both."""
    datamodule, registry = set_up(make, case, root, "fit"), case.index.registry
    held_out = set(case.val_experiments)
    sides = {
        "training": (datamodule.train_index, {one.name for one in registry.experiments} - held_out),
        "validation": (datamodule.val_index, held_out),
    }
    names = {side: _names(index) for side, (index, _) in sides.items()}
    for side, (_, expected) in sides.items():
        if names[side] != expected:
            raise InvariantViolation(
                side, f"experiments {sorted(names[side])}", f"{sorted(expected)}", "split-disjoint"
            )
    shared = set.intersection(*({registry.store_of(name) for name in side} for side in names.values()))
    if shared:
        raise InvariantViolation("both sides", f"stores {sorted(shared)}", "none", "split-disjoint")
    oracle = oracle_of(case)
    anchors = [one for one in oracle.observations if oracle.candidates(one)]
    for side, (index, expected) in sides.items():
        seen = [] if index is None else named(index.valid_anchors)
        _check_each_once(side, seen, [one for one in anchors if one.experiment in expected], "split-disjoint")


def _names(index: Any) -> set[str]:
    return set() if index is None else set(index.tracks["experiment"].astype(str))


def _check_each_once(side: str, seen: Iterable[Observation], expected: Iterable[Observation], law: str) -> None:
    """Raise unless both are the same observations, in whatever order."""
    found, wanted = Counter(seen), Counter(expected)
    for one in sorted(found | wanted):
        if found[one] != wanted[one]:
            here = [tuple((o.track_id, o.t) for o in group if o[:2] == one[:2]) for group in (found, wanted)]
            evidence = TracksEvidence(one.experiment, one.fov_name, (one.track_id, one.t), *here)
            raise InvariantViolation(f"{side}, {one}", f"{found[one]} times", f"{wanted[one]}", law, evidence=evidence)


# --- training ---------------------------------------------------------------------------------------------------------


def _training_epochs(datamodule: Any, epochs: int = EPOCHS) -> list[list[Crops]]:
    loader = datamodule.train_dataloader()
    read: list[list[Crops]] = []
    for epoch in range(epochs):
        datamodule.train_sampler.set_epoch(epoch)
        read.append([arrays(batch) for batch in loader])
    return read


@invariant("loader-follows-sampler", subject="datamodule")
def check_loader_follows_sampler(make: Any, case: DataModuleCase, root: Path) -> None:
    """In every epoch the training loader yields the batches that the sampler says, in its order, and no others."""
    law = "loader-follows-sampler"
    datamodule = set_up(make, case, root, "fit")
    oracle, sampler = oracle_of(case), datamodule.train_sampler
    anchors = named(datamodule.train_index.valid_anchors)
    for epoch, batches in enumerate(_training_epochs(datamodule)):
        if len(batches) != len(sampler) or not batches:
            raise InvariantViolation(f"epoch {epoch}", f"{len(batches)} batches", f"{len(sampler) or 'some'}", law)
        dataset = datamodule.train_dataloader().dataset
        dataset.epoch = epoch
        for number, batch in enumerate(batches):
            indices = sampler.batch(number, epoch=epoch)
            wanted = arrays(dataset.__getitems__(indices))
            wanted["anchor"] = _stacked([oracle.patch(anchors[index]) for index in indices])
            where = f"batch {number} of epoch {epoch}"
            check_same_crops(where, batch, wanted, case, law, f"the crop of anchor {indices}, as the sampler says")


def _stacked(patches: list[Any]) -> Any:
    import numpy as np

    return np.stack(patches)


@invariant("resumes-with-the-next", subject="datamodule")
def check_resumes_with_the_next(make: Any, case: DataModuleCase, root: Path) -> None:
    """A loader's state after any number of consumed batches goes on with the next one, whatever was read ahead."""
    law = "resumes-with-the-next"
    through = _training_epochs(set_up(make, case, root / "through", "fit"))
    for consumed in range(len(through[0])):
        state = _state_after(set_up(make, case, root / f"stopped {consumed}", "fit"), consumed)
        resumed = set_up(make, case, root / f"resumed {consumed}", "fit")
        loader = resumed.train_dataloader()
        loader.load_state_dict(state)
        left = [arrays(batch) for batch in loader]
        resumed.train_sampler.set_epoch(1)
        later = [arrays(batch) for batch in loader]
        for epoch, seen, expected in ((0, left, through[0][consumed:]), (1, later, through[1])):
            where = f"epoch {epoch}, resumed after {consumed} batches of epoch 0"
            if len(seen) != len(expected):
                raise InvariantViolation(where, f"{len(seen)} batches", f"{len(expected)}", law)
            for number, (batch, wanted) in enumerate(zip(seen, expected, strict=True)):
                meant = "that of the uninterrupted run"
                check_same_crops(f"{where}, batch {number} of those", batch, wanted, case, law, meant)


def _state_after(datamodule: Any, consumed: int) -> Mapping[str, Any]:
    loader = datamodule.train_dataloader()
    datamodule.train_sampler.set_epoch(0)
    batches = iter(loader)
    for _ in range(consumed):
        next(batches)
    state: Mapping[str, Any] = loader.state_dict()
    batches.close()
    return state


# --- validation and prediction ----------------------------------------------------------------------------------------


@invariant("validation-complete", subject="datamodule", when="val_experiments", applies=has_validation)
def check_validation_complete(make: Any, case: DataModuleCase, root: Path) -> None:
    """Validation holds each anchor of the held-out experiments once, however often its loader is read."""
    oracle = oracle_of(case)
    datamodule = set_up(make, case, root, "validate")
    held_out = [one for one in oracle.observations if one.experiment in case.val_experiments]
    # Two cells at one place show the same crop, so crops are counted.
    wanted = Counter(oracle.patch(one).tobytes() for one in held_out if oracle.candidates(one))
    loader = datamodule.val_dataloader()
    for time in ("first", "second"):
        crops = [crop for batch in loader for crop in arrays(batch)["anchor"]]
        seen = Counter(crop.tobytes() for crop in crops)
        if seen != wanted:
            extra, lacking = (seen - wanted).total(), (wanted - seen).total()
            what = f"{len(crops)} crops, {extra} too many and {lacking} missing"
            raise InvariantViolation(
                f"validation, read for the {time} time", what, f"each of {wanted.total()} once", "validation-complete"
            )


def _predicted(datamodule: Any) -> list[Observation]:
    rows = [row for batch in datamodule.predict_dataloader() for row in batch["index"]]
    return [Observation(*(row[name] for name in Observation._fields)) for row in rows]


@invariant("predict-in-order", subject="datamodule")
def check_predict_in_order(make: Any, case: DataModuleCase, root: Path) -> None:
    """Prediction reads every observation of every experiment once, in the order of the index, without positives."""
    law, oracle = "predict-in-order", oracle_of(case)
    datamodule = set_up(make, case, root, "predict")
    seen = _predicted(datamodule)
    _check_each_once("prediction", seen, oracle.observations, law)
    for place, (one, expected) in enumerate(zip(seen, named(datamodule.predict_index.tracks), strict=True)):
        if one != expected:
            raise InvariantViolation(f"observation {place}", f"{one}", f"{expected}", law)
    batches = list(datamodule.predict_dataloader())
    positives = [number for number, batch in enumerate(batches) if "positive" in batch]
    if positives:
        raise InvariantViolation(f"batches {positives}", "positives", "none", law)
    crops = [crop for batch in batches for crop in arrays(batch)["anchor"]]
    for place, (crop, one) in enumerate(zip(crops, seen, strict=True)):
        if crop.tobytes() != oracle.patch(one).tobytes():
            raise InvariantViolation(f"observation {place}", "another crop", f"that of {one}", law)


@invariant("ranks-share-out", subject="datamodule")
def check_ranks_share_out(make: Any, case: DataModuleCase, root: Path) -> None:
    """Ranks share out what one alone reads: predictions once each, nobody idle, validation in equal steps, no gap."""
    trainers = _ranks()
    alone = set_up(make, case, root / "alone", "predict")
    ranks = [set_up(make, case, root / f"predict {rank}", "predict", one) for rank, one in enumerate(trainers)]
    whole, shares = _predicted(alone), [_predicted(datamodule) for datamodule in ranks]
    if idle := [rank for rank, share in enumerate(shares) if not share]:
        where = f"prediction on {RANKS} ranks"
        raise InvariantViolation(where, f"no batch on ranks {idle}", "one at least, or others wait", "ranks-share-out")
    # Whoever has nothing left repeats the first.
    wanted = whole + whole[:1] * (RANKS - len(whole))
    predicted = [one for share in shares for one in share]
    _check_each_once(f"prediction on {RANKS} ranks", predicted, wanted, "ranks-share-out")
    if case.val_experiments:
        _check_validation_shared(make, case, root, trainers)


def _check_validation_shared(make: Any, case: DataModuleCase, root: Path, trainers: list[Any]) -> None:
    law = "ranks-share-out"
    whole = [crop for batch in _validated(make, case, root / "all") for crop in batch]
    ranks = [_validated(make, case, root / str(rank), one) for rank, one in enumerate(trainers)]
    steps = [len(batches) for batches in ranks]
    wanted = -(-len(whole) // (case.sampling.batch_size * RANKS))
    if set(steps) != {wanted}:
        raise InvariantViolation(f"validation on {RANKS} ranks", f"{steps} steps", f"{wanted} each", law)
    seen = Counter(crop for batches in ranks for batch in batches for crop in batch)
    # Where ranks outnumber the last anchors, some are repeated so that all make equally many steps.
    total = max(len(whole), wanted * RANKS)
    if seen.total() != total or Counter(whole) - seen:
        what = f"{seen.total()} crops, {(Counter(whole) - seen).total()} of {len(whole)} missing"
        raise InvariantViolation(f"validation on {RANKS} ranks", what, f"{total}, none missing", law)


def _validated(make: Any, case: DataModuleCase, root: Path, trainer: Any = None) -> list[list[bytes]]:
    datamodule = set_up(make, case, root, "validate", trainer)
    return [[crop.tobytes() for crop in arrays(batch)["anchor"]] for batch in datamodule.val_dataloader()]


def _ranks() -> list[Any]:
    """Return a real trainer for each of several ranks, none of which has begun to talk to the others."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.pytorch import Trainer

    class Environment(LightningEnvironment):
        """One process of several, as a cluster would tell it."""

        def __init__(self, rank: int) -> None:
            super().__init__()
            self.rank = rank

        @property
        def creates_processes_externally(self) -> bool:
            return True

        def world_size(self) -> int:
            return RANKS

        def global_rank(self) -> int:
            return self.rank

        def set_world_size(self, size: int) -> None: ...
        def set_global_rank(self, rank: int) -> None: ...

    with quiet():
        # From the last to the first: Lightning keeps, process-wide, the rank of the trainer that it made last.
        trainers = [
            Trainer(**trainer_options(), num_nodes=RANKS, strategy="ddp", plugins=[Environment(rank)])
            for rank in reversed(range(RANKS))
        ]
    return trainers[::-1]
