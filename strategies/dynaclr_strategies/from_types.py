"""Strategies for single parts of a description, and for types of ``dynaclr``: what ``st.from_type`` draws.

Which type is drawn by which strategy is listed in ``dynaclr_hypothesis``, the plugin that Hypothesis loads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from dynaclr_strategies.descriptions import (
    ExperimentDescription,
    FovDescription,
    RegistryDescription,
    TrackDescription,
    WellDescription,
)
from dynaclr_strategies.embeddings import embeddings
from dynaclr_strategies.fault_descriptions import OptionSet
from dynaclr_strategies.faults import loss_options
from dynaclr_strategies.lineages import lineages
from dynaclr_strategies.loss_descriptions import RowDescription
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.registries import conditions, experiments
from dynaclr_strategies.sampler_descriptions import LifeCase, LifeStep, SamplerCase, StratumDescription
from dynaclr_strategies.tables import anchor_tables

if TYPE_CHECKING:
    from dynaclr.experiment import ExperimentConfig

__all__ = [
    "embedding_rows",
    "experiment_configs",
    "experiment_registries",
    "fovs",
    "life_cases",
    "life_steps",
    "option_sets",
    "strata",
    "tracks",
    "wells",
]


def experiment_configs() -> st.SearchStrategy[ExperimentConfig]:
    """Strategy for ``dynaclr.experiment.ExperimentConfig``.

    Generates the configurations of `experiments`, with paths at which nothing is. Promises that each is valid by
    itself. Shrinks towards one channel and one well.
    """
    # What is seen in the wells is no part of a configuration.
    return experiments(max_frames=1, max_size=8, max_z=1, max_fovs=1, max_tracks=1).map(_config)


def _config(experiment: ExperimentDescription) -> ExperimentConfig:
    from dynaclr.experiment import ExperimentConfig

    store = RegistryDescription(experiments=(experiment,)).store_of(experiment.name)
    return ExperimentConfig(
        name=experiment.name,
        data_path=Path(f"{store}.zarr"),
        tracks_path=Path("tracks") / store,
        channel_names=list(experiment.channel_names),
        source_channel=list(experiment.source_channel),
        condition_wells={label: list(wells) for label, wells in experiment.condition_wells},
        interval_minutes=experiment.interval_minutes,
        start_hpi=experiment.start_hpi,
        organelle=experiment.organelle,
        date=experiment.date,
        moi=experiment.moi,
        founder_parent=experiment.founder_parent,
        impossible_parents=experiment.impossible_parents,
    )


def experiment_registries() -> NoReturn:
    """Refuse to draw ``dynaclr.experiment.ExperimentRegistry``: it checks itself against stores on disk.

    Raises
    ------
    InvalidArgument
        With what to draw instead.
    """
    raise InvalidArgument(
        "an ExperimentRegistry needs its stores on disk: draw a description from "
        "dynaclr_strategies.registries() or stores(), and in the test use write_registry(description, folder) and "
        "ExperimentRegistry.from_yaml"
    )


def wells() -> st.SearchStrategy[WellDescription]:
    """Strategy for the wells of a plate.

    Generates those of `experiments`, promises at least one field of view, and shrinks towards well ``"A/1"``.
    """
    # One well is drawn rather than taken from a plate, so that there is nothing else to shrink.
    plates = conditions(max_conditions=1, max_wells=1)
    return experiments(plates=plates, max_tracks=4).map(lambda experiment: experiment.wells[0])


def fovs() -> st.SearchStrategy[FovDescription]:
    """Strategy for fields of view.

    Generates those of `wells`, promises tracks as `lineages` does, and shrinks towards one cell in one frame.
    """
    return wells().map(lambda well: well.fovs[0])


def tracks() -> st.SearchStrategy[TrackDescription]:
    """Strategy for single tracks.

    Generates those of `lineages`, promises frames that ascend, and shrinks towards one cell in one frame.
    """
    return lineages().map(lambda cells: cells[-1])


def strata() -> st.SearchStrategy[StratumDescription]:
    """Strategy for the anchors that share experiment and condition.

    Generates those of `anchor_tables`, promises at least one anchor, and shrinks towards one at 0 h.
    """
    return anchor_tables(max_strata=1).map(lambda table: table.strata[0])


def embedding_rows() -> st.SearchStrategy[RowDescription]:
    """Strategy for single embeddings.

    Generates those of `embeddings`, promises finite entries, and shrinks towards the simplest row.
    """
    return embeddings().map(lambda batch: batch.rows[0])


def life_steps() -> st.SearchStrategy[LifeStep]:
    """Strategy for one thing that happens to a sampler.

    Generates every action, promises that its numbers are small, and shrinks towards taking no batch.
    """
    return st.builds(
        LifeStep,
        action=st.sampled_from(("train", "set_epoch", "interrupt", "save", "resume", "look")),
        first=st.integers(0, 9),
        second=st.integers(0, 9),
    )


def life_cases(cases: st.SearchStrategy[SamplerCase] | None = None) -> st.SearchStrategy[LifeCase]:
    """Strategy for the lives of samplers.

    Generates what `sampler_cases` does, with up to eight steps. Promises that the sampler accepts table and options.
    Shrinks towards no step at all.

    Parameters
    ----------
    cases
        Strategy for table and options; by default `sampler_cases`.
    """
    return st.builds(
        lambda case, ranks, steps: LifeCase(table=case.table, options=case.options, ranks=ranks, steps=tuple(steps)),
        sampler_cases() if cases is None else cases,
        st.integers(1, 4),
        st.lists(life_steps(), max_size=8),
    )


def option_sets() -> st.SearchStrategy[OptionSet]:
    """Strategy for arguments of something that is made from nothing else.

    Generates those of the loss, promises that it accepts them, and shrinks towards its defaults.
    """
    return loss_options()
