"""Cases for the laws of the data module and of training: small registries that are enough for a batch."""

from __future__ import annotations

from hypothesis import strategies as st

from dynaclr_strategies.cases import DataModuleCase, IndexCase
from dynaclr_strategies.channels import channel_sets
from dynaclr_strategies.descriptions import (
    ExperimentDescription,
    FovDescription,
    RegistryDescription,
    TrackDescription,
    WellDescription,
)
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["datamodule_cases"]

SIZE = 8


@st.composite
def _tracks(draw: st.DrawFn, frames: int, max_tracks: int) -> tuple[TrackDescription, ...]:
    place = st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1))
    places = draw(st.lists(place, min_size=1, max_size=max_tracks), label="centroids")
    return tuple(
        TrackDescription(track_id=number, frames=tuple(range(frames)), y=float(y), x=float(x))
        for number, (y, x) in enumerate(places, start=1)
    )


@st.composite
def _experiments(draw: st.DrawFn, name: str, sources: int, z: int, max_tracks: int) -> ExperimentDescription:
    channels = draw(channel_sets(num_sources=st.just(sources), max_extras=1), label="channels")
    frames = draw(st.integers(4, 6), label="frames")
    wells = []
    for well in draw(st.sampled_from((("A/1",), ("A/1", "B/1"))), label="wells"):
        tracks = draw(_tracks(frames, max_tracks), label=f"tracks of {well}")
        fov = FovDescription(name="0", frames=frames, z=z, y=SIZE, x=SIZE, tracks=tracks)
        wells.append(WellDescription(name=well, fovs=(fov,)))
    labels = ("uninfected", "infected")
    return ExperimentDescription(
        name=name,
        channel_names=channels.channel_names,
        source_channel=channels.source_channel,
        condition_wells=tuple((label, (well.name,)) for label, well in zip(labels, wells, strict=False)),
        wells=tuple(wells),
        interval_minutes=draw(st.sampled_from((30.0, 20.0)), label="interval in minutes"),
        start_hpi=draw(st.sampled_from((0.0, 24.0)), label="start HPI"),
    )


def _anchors(experiment: ExperimentDescription) -> int:
    """Return the number of anchors: each track is seen in every frame, and its next frames are its positives."""
    # Half an hour is one frame at 30 minutes and two at 20.
    ahead = 1 if experiment.interval_minutes == 30.0 else 2
    return sum(len(track.frames) - ahead for _, fov in experiment.fovs() for track in fov.tracks)


@st.composite
def datamodule_cases(
    draw: st.DrawFn, *, min_batch_size: int = 1, max_experiments: int = 2, max_tracks: int = 2
) -> DataModuleCase:
    """Strategy for registries together with the parameters of a data module.

    Generates one or several training experiments, with and without a held-out one, one or two wells, channels in other
    orders, one or two planes, crops of odd and even size, with and without leak and enrichment, and channel dropout
    from never to always. Promises at least one full batch for training and an anchor for validation. Shrinks towards
    one experiment with one cell in four frames, batches of ``min_batch_size``, and no dropout.

    Parameters
    ----------
    min_batch_size
        The smallest batch, 1 or 2.
    max_experiments, max_tracks
        Bounds of the number of experiments, and of tracks per FOV.
    """
    sources, z = draw(st.integers(1, 2), label="source channels"), draw(st.integers(1, 2), label="planes")
    names = draw(
        st.lists(st.sampled_from(("exp_a", "exp_b", "exp_c")), min_size=1, max_size=max_experiments, unique=True),
        label="names",
    )
    experiments = [draw(_experiments(name, sources, z, max_tracks), label=name) for name in names]
    held_out = draw(st.booleans(), label="held out") and len(names) > 1
    train = experiments[:-1] if held_out else experiments
    anchors = sum(_anchors(experiment) for experiment in train)
    # Two pixels at least: that both are zero by chance, as if dropped, has a probability of 2**-48.
    height, width = draw(st.integers(1, SIZE), label="height"), draw(st.integers(2, SIZE), label="width")
    final = draw(st.integers(1, height), label="final height"), draw(st.integers(2, width), label="final width")
    dropped = draw(st.lists(st.integers(0, sources - 1), unique=True), label="dropped channels")
    sampling = SamplerOptions(
        batch_size=draw(st.integers(min_batch_size, max(min_batch_size, min(anchors, 5))), label="batch_size"),
        leaky=draw(st.sampled_from((0.0, 0.3)), label="leaky"),
        temporal_enrichment=draw(st.booleans(), label="temporal_enrichment"),
        seed=draw(st.integers(0, 2**32 - 1), label="seed"),
    )
    return DataModuleCase(
        index=IndexCase(
            registry=RegistryDescription(experiments=tuple(experiments)),
            z_range=(0, draw(st.integers(1, z), label="planes to read")),
            yx_patch_size=(height, width),
            tau_range_hours=(0.5, 1.0),
        ),
        sampling=sampling,
        val_experiments=tuple(names[-1:]) if held_out else (),
        final_yx_patch_size=final,
        num_workers=draw(st.integers(0, 2), label="num_workers"),
        channel_dropout_channels=tuple(dropped),
        channel_dropout_prob=draw(st.sampled_from((0.0, 1.0, 0.5)), label="channel_dropout_prob"),
    )
