"""What the witnesses of the sampler share: cases on which defects show, and the list that each is put on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.sampler_descriptions import (
    LifeCase,
    SamplerCase,
    SamplerOptions,
    StratumDescription,
    TableDescription,
)


def table_of(*strata: tuple[str, str, tuple[float, ...], int], lineages: int | None = None) -> TableDescription:
    """Return a table of strata, each with its experiment, condition, times in hours and cells at each time."""
    return TableDescription(
        strata=tuple(
            StratumDescription(experiment=e, condition=c, hpi=hpi, cells=cells, lineages=lineages)
            for e, c, hpi, cells in strata
        )
    )


TIMES = (0.0, 0.5, 1.0, 4.0)
PLAIN = SamplerCase(
    table=table_of(("a", "c", TIMES, 3), ("a", "d", TIMES, 2), ("b", "c", TIMES, 2), ("b", "d", TIMES, 1)),
    options=SamplerOptions(batch_size=6, seed=3),
)


def case(table: TableDescription = PLAIN.table, **options: Any) -> SamplerCase:
    """Return the plain case with other options."""
    return SamplerCase(table=table, options=replace(PLAIN.options, **options))


THREE = table_of(("a", "c", TIMES, 2), ("b", "c", TIMES, 2), ("z", "c", TIMES, 2))
ENRICHED = case(temporal_enrichment=True, temporal_window_hours=0.5, temporal_global_fraction=0.0)


@dataclass(frozen=True)
class Witness:
    """A broken sampler and a case on which its law has to notice."""

    law: str
    sampler: type[ReferenceSampler]
    case: SamplerCase | LifeCase

    @property
    def name(self) -> str:
        """What the docs call it; the docstring of the sampler says what is wrong with it."""
        return self.sampler.__name__


WITNESSES: list[Witness] = []


def witness(law: str, shown_by: SamplerCase | LifeCase = PLAIN) -> Any:
    """List a broken sampler as the witness of a law."""

    def enlist(sampler: type[ReferenceSampler]) -> type[ReferenceSampler]:
        WITNESSES.append(Witness(law, sampler, shown_by))
        return sampler

    return enlist
