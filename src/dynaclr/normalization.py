"""Which statistics a normalization needs, and where they are missing or unusable."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dynaclr.checks import is_number
from dynaclr.errors import DynaclrError, did_you_mean
from dynaclr.experiment import ExperimentConfig, ExperimentRegistry
from dynaclr.plate import Position
from dynaclr.transforms import NormalizeSampled
from dynaclr.wording import listed

if TYPE_CHECKING:
    from dynaclr.index import MultiExperimentIndex

SCHEMES = ("fov_statistics", "dataset_statistics", "timepoint_statistics")
"""What the statistics are taken over: a FOV, all FOVs of a store, one frame of a FOV."""

SUBTRAHENDS = ("mean", "median")
DIVISORS = ("std", "iqr")

_REMEDIES = {
    "missing": "run `dynaclr preprocess` on the registry",
    "not finite": "run `dynaclr preprocess` on the registry with overwrite",
    "negative": "run `dynaclr preprocess` on the registry with overwrite",
    "zero": "choose another divisor or leave those FOVs out",
}

_ROUNDS_TO_ZERO = 2.0**-150
"""The largest number that is 0 in float32, in which batches are divided."""


def is_complete(entry: Any, frames: int) -> bool:
    """Tell whether a channel's metadata hold all three kinds of statistics, finite, for each frame.

    Parameters
    ----------
    entry
        What stands under ``normalization`` for the channel, whatever it is.
    frames
        Number of frames of the FOV.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("timepoint_statistics"), dict):
        return False
    if set(entry["timepoint_statistics"]) != {str(frame) for frame in range(frames)}:
        return False
    return all(
        _fault(statistics, (*SUBTRAHENDS, *DIVISORS), None) is None
        for scheme in SCHEMES
        for _, statistics in _tables(entry, scheme, frames)
    )


def check_statistics(
    registry: ExperimentRegistry,
    scheme: str,
    subtrahend: str,
    divisor: str,
    *,
    fovs: Mapping[str, Collection[str]] | None = None,
    channels: Collection[int] | None = None,
) -> None:
    """Refuse to train where a normalization would lack a statistic, divide by zero, or mix what was computed apart.

    The statistics over a store need to be the same numbers in all its FOVs in use, however they came there: written by
    two runs over different wells, they would shift one condition against another. Statistics that say what they were
    computed from (those of `dynaclr preprocess`) need to be of the images that are there now.

    Parameters
    ----------
    registry
        The experiments; each source channel of each position is checked.
    scheme
        ``"fov_statistics"``, ``"dataset_statistics"`` or ``"timepoint_statistics"``.
    subtrahend
        ``"mean"`` or ``"median"``.
    divisor
        ``"std"`` or ``"iqr"``.
    fovs
        For each experiment the FOVs that are in use; None for all of them.
    channels
        Source positions of the channels that are normalized; None for all of them.

    Raises
    ------
    DynaclrError
        If an argument is unknown; with every FOV and channel whose statistics are missing, not finite or not above
        zero in the divisor; or with every store and channel whose statistics were computed from other images, or apart.
    """
    for parameter, value, known in (
        ("scheme", scheme, SCHEMES),
        ("subtrahend", subtrahend, SUBTRAHENDS),
        ("divisor", divisor, DIVISORS),
    ):
        if value not in known:
            names = " or ".join(repr(name) for name in known)
            raise DynaclrError(f"{parameter} is {value!r}, but needs {names}{did_you_mean(value, known)}")
    faults: dict[tuple[str, str, str], list[str]] = {}
    for experiment, fov, channel, what in _faults(registry, scheme, (subtrahend, divisor), fovs, channels):
        faults.setdefault((experiment, channel, what), []).append(fov)
    if faults:
        found = "; ".join(
            f"experiment {experiment!r}, channel {channel!r}: {what} in {listed(names)}"
            for (experiment, channel, what), names in faults.items()
        )
        kinds = (kind for kind in _REMEDIES for *_, what in faults if what.endswith(kind))
        remedy = ", ".join(dict.fromkeys(_REMEDIES[kind] for kind in kinds))
        raise DynaclrError(f"normalization by {scheme} needs finite statistics, but {found} ({remedy})")
    stale = _stale(registry, scheme, (subtrahend, divisor), fovs, channels)
    if stale:
        raise DynaclrError(
            f"normalization by {scheme} needs statistics of the images in use, computed together, but "
            f"{'; '.join(stale)} (run `dynaclr preprocess --overwrite` on the registry)"
        )


def check_normalizations(
    transforms: Iterable[object], registry: ExperimentRegistry, indexes: Iterable[MultiExperimentIndex | None]
) -> None:
    """Refuse to begin where a `NormalizeSampled` would fail on the way, with all that is wrong for any of them.

    Parameters
    ----------
    transforms
        All transforms of a batch; others than `NormalizeSampled` need no statistics.
    registry
        The experiments.
    indexes
        What is read: the FOVs of their rows are in use.

    Raises
    ------
    DynaclrError
        As `check_statistics` does.
    """
    fovs: dict[str, set[str]] = {}
    for index in filter(None, indexes):
        in_use = index.tracks[["experiment", "fov_name"]].drop_duplicates().astype(str)
        for experiment, fov_name in in_use.itertuples(index=False):
            fovs.setdefault(experiment, set()).add(fov_name)
    problems: dict[str, None] = {}
    for transform in transforms:
        if isinstance(transform, NormalizeSampled):
            channels = [i for i in range(registry.num_source_channels) if f"ch_{i}" in transform.names]
            level, subtrahend, divisor = transform.level, transform.subtrahend, transform.divisor
            try:
                check_statistics(registry, level, subtrahend, divisor, fovs=fovs, channels=channels)
            except DynaclrError as problem:
                problems[str(problem)] = None
    if problems:
        raise DynaclrError("; and ".join(problems))


def _entries(
    registry: ExperimentRegistry, fovs: Mapping[str, Collection[str]] | None, channels: Collection[int] | None
) -> Iterator[tuple[ExperimentConfig, Position, str, Any]]:
    """Yield experiment, position, channel and what stands there, for what is in use."""
    for config in registry.experiments:
        for fov, position in registry.positions(config.name).items():
            if fovs is not None and fov not in fovs.get(config.name, ()):
                continue
            for i, channel in enumerate(config.source_channel):
                if channels is None or i in channels:
                    yield config, position, channel, (position.normalization or {}).get(channel)


def _stale(
    registry: ExperimentRegistry,
    scheme: str,
    needed: tuple[str, str],
    fovs: Mapping[str, Collection[str]] | None,
    channels: Collection[int] | None,
) -> list[str]:
    """Say which statistics are of other images, and in which stores they were not computed together."""
    problems: dict[tuple[str, str], str] = {}  # of each store, channel and kind of problem the first
    first: dict[str, tuple[str, list[float]]] = {}
    for config, position, channel, entry in _entries(registry, fovs, channels):
        place = f"store {str(config.data_path.resolve())!r}, channel {channel!r}"
        fov, record = position.fov_name, entry.get("computed_from")
        now = {"shape": list(position.shape), "dtype": position.dtype.name}
        for name, value in now.items() if isinstance(record, dict) else ():
            if record.get(name, value) != value:
                of_others = f"{place}: those of FOV {fov!r} are of {name} {record[name]}, but the FOV has {value}"
                problems.setdefault((place, name), of_others)
        if scheme == "dataset_statistics":
            numbers = [entry[scheme][name] for name in needed]
            other, expected = first.setdefault(place, (fov, numbers))
            if numbers != expected:
                problems.setdefault((place, scheme), f"{place}: those of FOVs {other!r} and {fov!r} differ")
    return list(problems.values())


def _faults(
    registry: ExperimentRegistry,
    scheme: str,
    needed: tuple[str, str],
    fovs: Mapping[str, Collection[str]] | None,
    channels: Collection[int] | None,
) -> Iterator[tuple[str, str, str, str]]:
    """Yield ``(experiment, FOV, channel, what is wrong)``, of the frames of a FOV the first wrong one."""
    for config, position, channel, entry in _entries(registry, fovs, channels):
        for place, statistics in _tables(entry, scheme, position.shape[0]):
            what = _fault(statistics, needed, needed[1])
            if what is not None:
                yield config.name, position.fov_name + place, channel, what
                break


def _tables(entry: Any, scheme: str, frames: int) -> Iterator[tuple[str, Any]]:
    """Yield where and what: the one table of statistics of a scheme, or one for each frame."""
    table = entry.get(scheme) if isinstance(entry, dict) else None
    if scheme != "timepoint_statistics":
        yield "", table
    elif not isinstance(table, dict):
        yield "", None
    else:
        for frame in range(frames):
            yield f" (frame {frame})", table.get(str(frame))


def _fault(statistics: Any, needed: tuple[str, ...], divisor: str | None) -> str | None:
    """Say what is wrong with a table of statistics, or return None."""
    for name in needed:
        value = statistics.get(name) if isinstance(statistics, dict) else None
        if value is None:
            return f"{name} is missing"
        if not is_number(value):
            return f"{name} is not finite"
        if name == divisor and value <= _ROUNDS_TO_ZERO:
            return f"{name} is negative" if value < 0 else f"{name} is zero" if value == 0 else f"{name} rounds to zero"
    return None
