"""Everything that refuses mistakes as a subject: ``make(given, case)`` builds, or uses, what the fault is about."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynaclr_strategies.fault_arms import FAULTS
from dynaclr_strategies.fault_descriptions import FaultDescription, Given
from dynaclr_strategies.subjects.base import Subject, on_disk, subject

__all__ = ["make_given"]


def make_given(given: Given, case: FaultDescription) -> Any:
    """Build ``dynaclr``'s own from what is given."""
    return _MAKERS[FAULTS[case.fault].subject](given)


def _registry(given: Given) -> Any:
    from dynaclr.experiment import ExperimentRegistry

    return ExperimentRegistry.from_yaml(given.yaml or "")


def _experiment(given: Given) -> Any:
    registry = _registry(given)
    name = given.arguments.get("name", registry.names[0])
    if "tau_range_hours" in given.arguments:
        return registry.tau_range_frames(name, given.arguments["tau_range_hours"])
    return registry.get_experiment(name)


def _config(given: Given) -> Any:
    from dynaclr.experiment import ExperimentConfig

    changes = dict(given.arguments)
    config = _registry(given).experiments[changes.pop("number", 0)]
    return ExperimentConfig(**{**config.model_dump(), **changes})


def _index(given: Given) -> Any:
    from dynaclr.index import MultiExperimentIndex

    not_its_own = {"dataset", "of"}
    return MultiExperimentIndex(
        _registry(given), **{name: value for name, value in given.arguments.items() if name not in not_its_own}
    )


def _dataset(given: Given) -> Any:
    from dynaclr.dataset import MultiExperimentTripletDataset

    options = {"tau_range_hours": given.arguments["tau_range_hours"], **given.arguments.get("dataset", {})}
    return MultiExperimentTripletDataset(_index(given), fit=False, **options)


def _batch(given: Given) -> Any:
    dataset = _dataset(given)
    if given.late is not None:
        given.late()
    tracks = dataset.index.tracks
    experiment, fov_name = given.arguments.get("of", tuple(tracks[["experiment", "fov_name"]].iloc[0]))
    wanted = (tracks["experiment"] == experiment) & (tracks["fov_name"] == fov_name)
    return dataset.__getitems__([int(wanted.to_numpy().argmax())])


def _datamodule(given: Given) -> Any:
    from dynaclr.datamodule import MultiExperimentDataModule

    arguments = dict(given.arguments)
    stage = arguments.pop("stage")
    arguments["normalizations"] = [_transform(name, **options) for name, options in arguments["normalizations"]]
    module = MultiExperimentDataModule(given.yaml or "", **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _repeated_anchors())
        module.setup(stage)
    return module


def _transform(name: str, **options: Any) -> Any:
    import dynaclr.transforms

    return getattr(dynaclr.transforms, name)(**options)


def _repeated_anchors() -> type[Warning]:
    from dynaclr.errors import RepeatedAnchorsWarning

    return RepeatedAnchorsWarning


def _sampler(given: Given) -> Any:
    from dynaclr.sampler import FlexibleBatchSampler

    with warnings.catch_warnings():
        # Tables too small for their batches are drawn on purpose.
        warnings.simplefilter("ignore", _repeated_anchors())
        arguments = {name: value for name, value in given.arguments.items() if name != "taken from"}
        return FlexibleBatchSampler(given.table, **arguments)  # type: ignore[arg-type]  # a fault may be anything


def _state(given: Given) -> Any:
    sampler = _sampler(given)
    table, options = given.arguments.get("taken from", (given.table, given.arguments))
    sampler.load_state_dict(_sampler(Given(options, table=table)).state_dict())
    return sampler


def _loss(given: Given) -> Any:
    import torch

    from dynaclr.loss import NTXentHCL

    return NTXentHCL(**given.arguments)(torch.eye(4), torch.tensor([0, 1, 0, 1]))


def _dropout(given: Given) -> Any:
    from dynaclr.augment import ChannelDropout

    return ChannelDropout(**given.arguments)


def _normalization(given: Given) -> Any:
    return _transform("NormalizeSampled", **given.arguments)


def _module(given: Given) -> Any:
    import torch

    from dynaclr.engine import ContrastiveModule
    from dynaclr.loss import NTXentHCL

    return ContrastiveModule(torch.nn.Identity(), NTXentHCL(), **given.arguments)


_MAKERS: dict[str, Callable[[Given], Any]] = {
    "batch": _batch,
    "config": _config,
    "dataset": _dataset,
    "datamodule": _datamodule,
    "dropout": _dropout,
    "experiment": _experiment,
    "index": _index,
    "loss": _loss,
    "module": _module,
    "normalization": _normalization,
    "registry": _registry,
    "sampler": _sampler,
    "state": _state,
}


def _materialise(case: FaultDescription, folder: Path) -> None:
    """Write what is broken as it is once it is broken, and what its error must tell."""
    given = case.given(folder)
    expected = case.apply(given)
    if given.table is not None:
        given.table.to_csv(folder / "anchors.csv", index_label="index")
    told = "\n".join(f"- {', '.join(problem)}" for problem in expected)
    arguments = "\n".join(f"- {name}: {value!r}" for name, value in given.arguments.items() if name != "taken from")
    (folder / "fault.md").write_text(
        f"# {case.fault}\n\nPromised: {FAULTS[case.fault].promise}\n\nThe error has to tell:\n\n{told}\n\n"
        f"Arguments:\n\n{arguments}\n",
        encoding="utf-8",
    )


subject(Subject("fault", FaultDescription, make_given, on_disk, _materialise))
