"""Cases for the laws of the data module and of training: small registries that are enough for a batch."""

from __future__ import annotations

import functools
from dataclasses import replace

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from dynaclr_strategies.cases import DataModuleCase, IndexCase, TrainingCase
from dynaclr_strategies.channels import ChannelSet, channel_sets
from dynaclr_strategies.descriptions import (
    ExperimentDescription,
    FovDescription,
    RegistryDescription,
    TrackDescription,
    WellDescription,
)
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["datamodule_cases", "training_cases"]

SIZE = 8
MOST_FRAMES = 5
AHEAD = {30.0: 1, 20.0: 2}
"""By interval in minutes, the frames to the first positive: half an hour is one at 30 and two at 20."""
TRAINED, HELD_OUT = ("exp_a", "exp_b", "exp_c", "exp_d"), ("val_a", "val_b")
CONDITIONS = (("uninfected", "A/1"), ("infected", "B/1"))


# Made once for each choice of parameters: making strategies anew for each draw would take most of the time.
@functools.cache
def _fovs(frames: int, z: int, max_tracks: int) -> st.SearchStrategy[list[FovDescription]]:
    place = st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1))

    def fov(places: list[tuple[int, int]]) -> FovDescription:
        tracks = tuple(
            TrackDescription(track_id=number, frames=tuple(range(frames)), y=float(y), x=float(x))
            for number, (y, x) in enumerate(places, start=1)
        )
        return FovDescription(name="0", frames=frames, z=z, y=SIZE, x=SIZE, tracks=tracks)

    fovs = st.lists(place, min_size=1, max_size=max_tracks).map(fov)
    return st.lists(fovs, min_size=1, max_size=len(CONDITIONS))


@functools.cache
def _channels(sources: int) -> st.SearchStrategy[ChannelSet]:
    return channel_sets(num_sources=st.just(sources), max_extras=1)


@st.composite
def _experiments(
    draw: st.DrawFn, name: str, *, sources: int, z: int, min_anchors: int, max_tracks: int
) -> ExperimentDescription:
    channels = draw(_channels(sources), label="channels")
    interval = draw(st.sampled_from(sorted(AHEAD, reverse=True)), label="interval in minutes")
    frames = draw(st.integers(AHEAD[interval] + min_anchors, MOST_FRAMES), label="frames")
    # As many wells as there are FOVs, so that dropping one drops all that goes with it.
    fovs = draw(_fovs(frames, z, max_tracks), label="FOVs")
    labelled = list(zip(CONDITIONS, fovs, strict=False))
    return ExperimentDescription(
        name=name,
        channel_names=channels.channel_names,
        source_channel=channels.source_channel,
        condition_wells=tuple((label, (well,)) for (label, well), _ in labelled),
        wells=tuple(WellDescription(name=well, fovs=(fov,)) for (_, well), fov in labelled),
        interval_minutes=interval,
        start_hpi=draw(st.sampled_from((0.0, 24.0)), label="start HPI"),
    )


def _anchors(experiments: list[ExperimentDescription]) -> int:
    """Return the number of anchors: each cell is seen in every frame, and its later frames are its positives."""
    return sum(
        len(track.frames) - AHEAD[experiment.interval_minutes]
        for experiment in experiments
        for _, fov in experiment.fovs()
        for track in fov.tracks
    )


@functools.cache
def _lists_of_experiments(min_size: int, max_size: int, **parts: int) -> st.SearchStrategy[list[ExperimentDescription]]:
    # A list of experiments rather than a number of them, so that one can be dropped as a whole.
    return st.lists(_experiments("", **parts), min_size=min_size, max_size=max_size)


@st.composite
def datamodule_cases(
    draw: st.DrawFn,
    *,
    min_batch_size: int = 1,
    min_held_out: int = 0,
    max_trained: int = 2,
    max_held_out: int = 1,
    max_tracks: int = 2,
    augmented: st.SearchStrategy[bool] | None = None,
) -> DataModuleCase:
    """Strategy for registries together with the parameters of a data module.

    Generates one to several training experiments, with and without held-out ones before and behind them, one store
    under two names, one or two wells, channels in other orders, one or two planes, crops of odd and even size, with and
    without leak, enrichment and augmentation, and channel dropout from never to always. Promises at least one full
    batch for training, an anchor for every held-out experiment, no store on both sides, and final crops of two pixels
    at least. Shrinks towards ``min_held_out`` held-out experiments and one to train on, each with one cell in as few
    frames as ``min_batch_size`` allows, without dropout and augmentation.

    Parameters
    ----------
    min_batch_size
        The smallest batch: 1, 2 or 3.
    min_held_out, max_trained, max_held_out, max_tracks
        Bounds of the number of experiments on either side, and of tracks per FOV.
    augmented
        Whether training crops get noise; by default with or without.
    """
    if not 1 <= min_batch_size <= MOST_FRAMES - max(AHEAD.values()):
        raise InvalidArgument(f"min_batch_size={min_batch_size!r} must be 1, 2 or 3")
    if not 0 <= min_held_out <= max_held_out <= len(HELD_OUT) or not 1 <= max_trained <= len(TRAINED):
        raise InvalidArgument(
            f"min_held_out={min_held_out!r} and max_held_out={max_held_out!r} must lie between 0 and {len(HELD_OUT)}, "
            f"max_trained={max_trained!r} between 1 and {len(TRAINED)}"
        )
    sources, z = draw(st.integers(1, 2), label="source channels"), draw(st.integers(1, 2), label="planes")
    parts = {"sources": sources, "z": z, "max_tracks": max_tracks}
    train = _sided(draw, TRAINED[:max_trained], 1, min_anchors=min_batch_size, **parts)
    val = _sided(draw, HELD_OUT[:max_held_out], min_held_out, min_anchors=1, **parts)
    registry = [*val, *train] if draw(st.booleans(), label="held-out ones first") else [*train, *val]
    # Two pixels at least: that both are zero by chance, as if dropped, has a probability of 2**-48.
    height, width = draw(st.integers(1, SIZE), label="height"), draw(st.integers(2, SIZE), label="width")
    return DataModuleCase(
        index=IndexCase(
            registry=RegistryDescription(experiments=tuple(registry)),
            z_range=(0, draw(st.integers(1, z), label="planes to read")),
            yx_patch_size=(height, width),
            tau_range_hours=(0.5, 1.0),
        ),
        sampling=_sampling(draw, min_batch_size, _anchors(train)),
        val_experiments=tuple(one.name for one in val),
        final_yx_patch_size=draw(st.tuples(st.integers(1, height), st.integers(2, width)), label="final size"),
        num_workers=draw(st.integers(0, 2), label="num_workers"),
        channel_dropout_channels=tuple(
            draw(st.lists(st.integers(0, sources - 1), unique=True), label="dropped channels")
        ),
        channel_dropout_prob=draw(st.sampled_from((0.0, 1.0, 0.5)), label="channel_dropout_prob"),
        augmented=draw(st.booleans() if augmented is None else augmented, label="augmented"),
    )


def _sided(draw: st.DrawFn, names: tuple[str, ...], min_size: int, **parts: int) -> list[ExperimentDescription]:
    """Draw the experiments of one side; two of them may share a store."""
    drawn = draw(_lists_of_experiments(min_size, len(names), **parts), label="experiments")
    named = [replace(experiment, name=name) for name, experiment in zip(names, drawn, strict=False)]
    # Drawn for a single experiment too: what else is drawn stays where it is when one of two is dropped.
    if draw(st.booleans(), label="one store for two experiments") and len(named) > 1:
        event("datamodule_cases: shared store")
        named[:2] = [replace(named[0], name=name, store=f"shared_{names[0]}") for name in names[:2]]
    return named


def _sampling(draw: st.DrawFn, min_batch_size: int, anchors: int) -> SamplerOptions:
    return SamplerOptions(
        batch_size=draw(st.integers(min_batch_size, min(anchors, 5)), label="batch_size"),
        leaky=draw(st.sampled_from((0.0, 0.3)), label="leaky"),
        temporal_enrichment=draw(st.booleans(), label="temporal_enrichment"),
        seed=draw(st.integers(0, 2**32 - 2), label="seed"),
    )


def training_cases(*, data: st.SearchStrategy[DataModuleCase] | None = None) -> st.SearchStrategy[TrainingCase]:
    """Strategy for small runs of training.

    Generates data modules of `datamodule_cases` with several temperatures and betas. Promises two anchors in a batch
    at least, so that each has a negative. Shrinks towards the smallest data module and the defaults of the loss.

    Parameters
    ----------
    data
        What to train on; by default `datamodule_cases` with batches of two and more.
    """
    return st.builds(
        TrainingCase,
        data=datamodule_cases(min_batch_size=2) if data is None else data,
        temperature=st.sampled_from((0.07, 0.5)),
        beta=st.sampled_from((0.5, 0.0, 1.0)),
    )
