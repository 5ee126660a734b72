"""Which experiments train and which validate, what each side gets, and what a user has to know of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dynaclr.cascade.axes import ExperimentAxis, as_columns
from dynaclr.errors import DynaclrError, did_you_mean
from dynaclr.experiment import ExperimentRegistry
from dynaclr.fovs import KnownEntries, all_fovs
from dynaclr.index import MultiExperimentIndex
from dynaclr.wording import counted, listed

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """The two sides of a split by whole experiments.

    Parameters
    ----------
    train, val
        Names of the experiments, in the registry's order; ``val`` may be empty.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]


def split_experiments(registry: ExperimentRegistry, val_experiments: Sequence[str]) -> Split:
    """Hold whole experiments out for validation.

    Parameters
    ----------
    registry
        All experiments.
    val_experiments
        Names of those to hold out; none is fine.

    Returns
    -------
    Split
        Both sides.

    Raises
    ------
    DynaclrError
        If a name is unknown, nothing is left for training, or one store lies on both sides under two names.
    """
    if isinstance(val_experiments, str):
        raise DynaclrError(f"val_experiments needs a list of names, got {val_experiments!r}; write [{val_experiments}]")
    for name in val_experiments:
        if name not in registry.names:
            hint = did_you_mean(name, registry.names)
            raise DynaclrError(
                f"val_experiments has {name!r}, but the registry has the experiments {listed(registry.names)}{hint}"
            )
    val = tuple(name for name in registry.names if name in set(val_experiments))
    train = tuple(name for name in registry.names if name not in val)
    if not train:
        raise DynaclrError(
            f"val_experiments={list(val_experiments)!r} holds out every experiment; training needs at least one"
        )
    _check_stores_apart(registry, train, val)
    return Split(train, val)


def _check_stores_apart(registry: ExperimentRegistry, train: Sequence[str], val: Sequence[str]) -> None:
    """Refuse to validate on the images that are trained on, under whatever name or link."""
    trained = {registry.get_experiment(name).data_path.resolve(): name for name in train}
    for name in val:
        store = registry.get_experiment(name).data_path.resolve()
        if store in trained:
            raise DynaclrError(
                f"val_experiments has {name!r}, but experiment {trained[store]!r}, which is trained on, has the same "
                f"store {str(store)!r}; one store needs to be on one side"
            )


def check_weights(split: Split, axis: ExperimentAxis) -> None:
    """Refuse weights of experiments that are not trained on.

    The sampler would too, but it knows neither the split nor experiments without anchors.

    Parameters
    ----------
    split
        Which experiments train.
    axis
        The sampler's; where something else than experiments is drawn, nothing is known of the labels here.

    Raises
    ------
    DynaclrError
        If a weight names an experiment that is held out, or none.
    """
    if axis.columns != ("experiment",):
        return
    for name in axis.weights or ():
        if str(name) in split.train:
            continue
        known = listed(split.train)
        if str(name) in split.val:
            raise DynaclrError(
                f"experiment_weights names {name!r}, which val_experiments holds out; the experiments to train on are "
                f"{known}"
            )
        raise DynaclrError(
            f"experiment_weights names {name!r}, but the experiments to train on are {known}"
            f"{did_you_mean(name, split.train)}"
        )


def entries_for(
    registry: ExperimentRegistry, names: Sequence[str], entries: Sequence[str] | None
) -> Sequence[str] | None:
    """Return the entries of ``include_wells`` or ``exclude_fovs`` so that one side's index takes them.

    Parameters
    ----------
    registry
        All experiments.
    names
        The experiments of one side of a split.
    entries
        What the user wrote, for all experiments; None stays None.

    Returns
    -------
    sequence of str or None
        All the entries, marked as known where each matches a well or a FOV of either side: those of the other side are
        no mistake on this one, and its errors quote what the user wrote. Otherwise those that match nothing anywhere,
        so that the index refuses them.
    """
    if entries is None or set(names) == set(registry.names):
        return entries
    known = set().union(*(fov.selectors for fov in all_fovs(registry)))
    return [entry for entry in entries if entry not in known] or KnownEntries(entries)


def check_anchors(index: MultiExperimentIndex, purpose: str) -> None:
    """Refuse an index without an anchor, and warn of experiments and of their conditions without one.

    Parameters
    ----------
    index
        One side of the split.
    purpose
        What its experiments are for: ``"train on"`` or ``"validate on"``.

    Raises
    ------
    DynaclrError
        If no experiment has an anchor.
    """
    without = [name for name, anchors in index.experiment_groups.items() if not len(anchors)]
    wanted = f"anchor with a positive in tau_range={tuple(index.tau_range_hours)!r} hours"
    if len(without) == len(index.experiment_groups):
        raise DynaclrError(
            f"the experiments to {purpose}, {listed(without)}, need at least one {wanted}, but have none"
        )
    for name in without:
        _logger.warning("experiment %r has no %s, so there is nothing of it to %s", name, wanted, purpose)
    by = ["experiment", "condition"]
    with_anchors = _different(index.valid_anchors[by])
    for name, condition in _different(index.tracks[by]):
        if name not in without and (name, condition) not in with_anchors:
            _logger.warning(
                "condition %r of experiment %r has no %s, so there is nothing of it to %s",
                *(condition, name, wanted, purpose),
            )


def _different(labels: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the combinations of labels that a table has, in its order."""
    return list(labels.drop_duplicates().astype(str).itertuples(index=False, name=None))


def mixes_experiments(sampling: Mapping[str, Any]) -> bool:
    """Tell whether a training batch may hold anchors of several experiments.

    Parameters
    ----------
    sampling
        The options of `dynaclr.sampler.FlexibleBatchSampler`.
    """
    apart = "experiment" in as_columns(sampling["group_by"], "group_by")
    return not apart or not sampling["experiment_aware"] or bool(sampling["leaky"])


def warn_of_shared_images(index: MultiExperimentIndex, remedy: str) -> None:
    """Warn of FOVs that are in several experiments, for batches that mix experiments.

    A lineage belongs to one experiment, so nothing else knows that such cells are the same.

    Parameters
    ----------
    index
        What the batches are from.
    remedy
        What keeps the experiments apart, for the end of the sentence.
    """
    owner: dict[tuple[Path, str], str] = {}
    shared = Counter[tuple[str, str]]()
    for experiment, fov_name in index.tracks[["experiment", "fov_name"]].drop_duplicates().astype(str).to_numpy():
        image = index.registry.get_experiment(experiment).data_path.resolve(), fov_name
        first = owner.setdefault(image, experiment)
        if first != experiment:
            shared[first, experiment] += 1
    for (first, second), count in shared.items():
        _logger.warning(
            "experiments %r and %r have %s of one store in common: a batch with both may hold one cell as its own "
            "negative; %s",
            *(first, second, counted(count, "FOV"), remedy),
        )
