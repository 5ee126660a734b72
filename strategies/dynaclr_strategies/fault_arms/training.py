"""Faults of the data module, of statistics, and of what a network and its loss are made from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from dynaclr_strategies.cases import DataModuleCase
from dynaclr_strategies.fault_arms.stores import FovPlace, edit_attributes
from dynaclr_strategies.fault_arms.tracks import tracked_fovs
from dynaclr_strategies.fault_descriptions import Expected, Given, Needs, OptionSet, Subject, fault

__all__: list[str] = []

NAN, INF = math.nan, math.inf


def _names(case: DataModuleCase) -> list[str]:
    return [experiment.name for experiment in case.index.registry.experiments]


# --- the split --------------------------------------------------------------------------------------------------------


@fault(
    "held-out-experiment-unknown",
    "datamodule",
    "a name in `val_experiments` that no experiment has is an error",
    needs="training",
    values=("nobody", "EXP_A", ""),
)
def _(given: Given, case: DataModuleCase, _: None, name: str) -> Expected:
    given.arguments["val_experiments"] = [name]
    return [("val_experiments", repr(name), *map(repr, _names(case)))]


@fault(
    "no-experiment-to-train-on",
    "datamodule",
    "as is a split that leaves no training experiment",
    needs="training",
)
def _(given: Given, case: DataModuleCase, _: None, __: None) -> Expected:
    given.arguments["val_experiments"] = _names(case)
    return [("val_experiments", repr(_names(case)), "training")]


@fault("epoch-without-batch", "datamodule", "an epoch without a single batch", needs="training", values=(10**6,))
def _(given: Given, _: DataModuleCase, __: None, size: int) -> Expected:
    given.arguments["batch_size"] = size
    return [("batch_size", repr(size), "no batch")]


@fault(
    "one-store-on-both-sides",
    "datamodule",
    "One store under two experiment names never lands on both sides of the split",
    needs="shared store",
    places=lambda _: (0, 1),
)
def _(given: Given, case: DataModuleCase, held_out: int, _: None) -> Expected:
    names = _names(case)
    given.arguments["val_experiments"] = [names[held_out]]
    store = case.index.registry.store_of(names[0])
    return [("val_experiments", *map(repr, names), f"{store}.zarr")]


# --- channels, patches, stages ----------------------------------------------------------------------------------------


@fault(
    "dropout-channel-unknown", "datamodule", "a dropout channel that does not exist", needs="training", values=(0, 5)
)
def _(given: Given, case: DataModuleCase, _: None, beyond: int) -> Expected:
    count = len(case.index.registry.experiments[0].source_channel)
    given.arguments["channel_dropout_channels"] = [0, count + beyond]
    return [("channel_dropout_channels", repr(count + beyond), str(count))]


@fault(
    "final-patch-larger-than-first",
    "datamodule",
    "a final patch larger than the first",
    needs="training",
    values=("height", "width"),
)
def _(given: Given, case: DataModuleCase, _: None, side: str) -> Expected:
    height, width = case.index.yx_patch_size
    final = (height + 1, width) if side == "height" else (height, width + 1)
    given.arguments["final_yx_patch_size"] = final
    return [("final_yx_patch_size", repr(final), "yx_patch_size", repr((height, width)))]


@fault(
    "stage-without-data",
    "datamodule",
    "Every Lightning stage (fit, validate, test, predict) gives a loader or a clear error",
    needs="training",
    values=("test", "validate"),
)
def _(given: Given, _: DataModuleCase, __: None, stage: str) -> Expected:
    given.arguments |= {"stage": stage, "val_experiments": []}
    return [(repr(stage), "val_experiments")]


# --- statistics -------------------------------------------------------------------------------------------------------

SCHEMES = ("fov_statistics", "dataset_statistics", "timepoint_statistics")
FAULTY = {"missing": None, "not finite": NAN, "zero": 0.0}


def _channels_in_use(case: DataModuleCase) -> Iterator[tuple[FovPlace, str, str]]:
    for place in tracked_fovs(case.index):
        for channel in case.index.registry.experiments[place[0]].source_channel:
            for scheme in SCHEMES:
                yield place, channel, scheme


@fault(
    "statistics-unusable",
    "datamodule",
    "Statistics that are missing, not finite or zero in the divisor are an error before training that names FOV and "
    "channel",
    needs="statistics",
    places=_channels_in_use,
    values=("missing", "not finite", "zero"),
)
def _(given: Given, case: DataModuleCase, place: tuple[FovPlace, str, str], value: str) -> Expected:
    fov, channel, scheme = place
    path, content, attributes = edit_attributes(given, case.index.registry, fov)
    table = attributes["normalization"][channel][scheme]
    (table["0"] if scheme == "timepoint_statistics" else table)["std"] = FAULTY[value]
    path.write_text(json.dumps(content), encoding="utf-8")
    given.arguments["normalizations"] = _normalizations(case, scheme)
    return [(fov[1], repr(channel), scheme, "std", value)]


@fault(
    "statistics-absent",
    "datamodule",
    "Statistics that are missing [...] are an error before training that names FOV and channel",
    needs="statistics",
    places=_channels_in_use,
)
def _(given: Given, case: DataModuleCase, place: tuple[FovPlace, str, str], _: None) -> Expected:
    fov, channel, scheme = place
    path, content, attributes = edit_attributes(given, case.index.registry, fov)
    del attributes["normalization"]
    path.write_text(json.dumps(content), encoding="utf-8")
    given.arguments["normalizations"] = _normalizations(case, scheme)
    return [(fov[1], repr(channel), scheme, "missing", "dynaclr preprocess")]


def _normalizations(case: DataModuleCase, scheme: str) -> list[tuple[str, dict[str, Any]]]:
    keys = [f"ch_{i}" for i in range(len(case.index.registry.experiments[0].source_channel))]
    return [("NormalizeSampled", {"keys": keys, "level": scheme, "subtrahend": "mean", "divisor": "std"})]


# --- what is made from options alone ----------------------------------------------------------------------------------


def _option_fault(
    name: str, subject: Subject, parameter: str, values: tuple[Any, ...], promise: str, *texts: str
) -> None:
    """List a fault of one option, which is to be named together with its value."""

    @fault(name, subject, promise, needs=_OPTIONS[subject], values=values)
    def _(given: Given, _: OptionSet, __: None, value: Any) -> Expected:
        given.arguments[parameter] = value
        return [(parameter, repr(value), *texts)]


_OPTIONS: dict[str, Needs] = {
    "loss": "loss options",
    "dropout": "dropout options",
    "normalization": "normalization options",
    "module": "module options",
}

_option_fault(
    "temperature-not-positive",
    "loss",
    "temperature",
    (0, -0.1, NAN, INF),
    "finite, gradients too, [...] at any temperature down to 0.01",
    "finite",
)
_option_fault(
    "beta-negative-or-not-finite",
    "loss",
    "beta",
    (-0.5, NAN, INF),
    "With beta > 0 each negative's term in the denominator is multiplied",
    "finite",
)
_option_fault(
    "beta-on-unknown",
    "loss",
    "beta_on",
    ("logits", "", None),
    '`beta_on="cosine"` (default, what VisCy\'s configs mean) or `"logit"`',
    "'cosine'",
    "'logit'",
)
_option_fault(
    "tau-plus-out-of-range", "loss", "tau_plus", (1.0, -0.1, NAN), "`tau_plus=0.0` is its debiasing term", "[0, 1)"
)


@fault(
    "lineage-missing",
    "loss",
    "the batch carries `lineage` codes, and the loss can mask them (`mask_same_lineage`)",
    needs="loss options",
)
def _(given: Given, _: OptionSet, __: None, ___: None) -> Expected:
    given.arguments["mask_same_lineage"] = True
    return [("lineage", "mask_same_lineage")]


_option_fault(
    "dropout-no-probability",
    "dropout",
    "p",
    (1.5, -0.1, NAN, None),
    "zeroes each listed channel of each sample [...] independently with probability p",
    "probability",
)
_option_fault(
    "dropout-channels-no-positions",
    "dropout",
    "channels",
    ([-1], [0, 0], "1", 1),
    "zeroes each listed channel of each sample",
    "distinct",
)
_option_fault(
    "subtrahend-unknown",
    "normalization",
    "subtrahend",
    ("men", "std", None),
    "`subtrahend` mean or median",
    "'mean'",
    "'median'",
)
_option_fault(
    "divisor-unknown", "normalization", "divisor", ("sdt", "mean", None), "`divisor` std or iqr", "'std'", "'iqr'"
)
_option_fault(
    "level-unknown",
    "normalization",
    "level",
    ("fov_statistic", None),
    "statistics from the store: `fov_statistics`, `dataset_statistics` or `timepoint_statistics`",
    *map(repr, SCHEMES),
)
_option_fault(
    "schedule-unknown",
    "module",
    "schedule",
    ("Cosine", None),
    'schedule="Constant"|"WarmupCosine"',
    "'Constant'",
    "'WarmupCosine'",
)
_option_fault(
    "learning-rate-not-positive",
    "module",
    "lr",
    (0.0, -1e-3, NAN, INF),
    "`ContrastiveModule(encoder, loss_function, lr=1e-3",
    "positive",
)
