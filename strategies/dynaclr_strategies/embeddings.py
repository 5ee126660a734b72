"""Batches of embeddings for the loss, and the loss's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import get_args

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from dynaclr_strategies.loss_descriptions import (
    FLOATS,
    EmbeddingsDescription,
    FloatDtype,
    FloatFormat,
    LossCase,
    RowDescription,
)

__all__ = ["embeddings", "loss_cases"]

ENTRIES = (1, 0, -1, 2, -2, 3, -3)
BELOW_THE_FLOOR = (-38, -42)
"""Exponents on both sides of 1e-12, below which a length counts as zero."""

Drawn = tuple[list[int], str, int, int, int]


def _exponents(kind: FloatFormat) -> tuple[int, ...]:
    """Return lengths about 1, near the floor, and at both ends of the format."""
    ends = (kind.smallest, kind.smallest + kind.digits, kind.bound - 3, kind.bound - 2)
    usual = (0, 0, 0, 0, 1, -1, 3, -4)
    return tuple(exponent for exponent in (*usual, *BELOW_THE_FLOOR, *ends) if exponent >= kind.smallest)


def _batch(dtype: FloatDtype, drawn: Sequence[Drawn]) -> EmbeddingsDescription:
    rows: list[RowDescription] = []
    for entries, relation, exponent, label, lineage in drawn:
        direction = tuple(entries)
        if rows and relation != "new":
            sign = 1 if relation == "twin" else -1
            direction = tuple(sign * entry for entry in rows[-1].entries)
        rows.append(RowDescription(entries=direction, label=label, exponent=exponent, lineage=lineage))
    return EmbeddingsDescription(rows=tuple(rows), dtype=dtype)


def embeddings(
    *,
    dtypes: Sequence[FloatDtype] = get_args(FloatDtype),
    min_rows: int = 1,
    max_rows: int = 8,
    max_width: int = 4,
    max_labels: int = 4,
) -> st.SearchStrategy[EmbeddingsDescription]:
    """Strategy for batches of embeddings and their labels.

    Generates double, single and both half precisions; duplicates, collinear and opposite rows, rows of zeros, lengths
    at both ends of the dtype and on both sides of 1e-12; several positives of an anchor, none, and no negatives.
    Promises between ``min_rows`` and ``max_rows`` rows that their dtype holds exactly, all of them finite. Shrinks
    towards ``min_rows`` rows of one label along the first feature, of length 1, in the first of ``dtypes``.

    Parameters
    ----------
    dtypes
        What the embeddings may be held in.
    min_rows, max_rows
        Bounds of the number of embeddings.
    max_width
        Largest number of features.
    max_labels
        Largest number of different labels.
    """
    if not 1 <= min_rows <= max_rows:
        raise InvalidArgument(f"min_rows={min_rows!r} must lie between 1 and max_rows={max_rows!r}")
    if max_width < 1 or max_labels < 1:
        raise InvalidArgument(f"max_width={max_width!r} and max_labels={max_labels!r} must be at least 1")
    if not dtypes or any(dtype not in FLOATS for dtype in dtypes):
        raise InvalidArgument(f"dtypes={dtypes!r} must name at least one of {list(FLOATS)}")
    batches = {
        dtype: st.lists(
            st.tuples(
                st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=max_width),
                st.sampled_from(("new", "twin", "opposite")),
                st.sampled_from(_exponents(FLOATS[dtype])),
                st.integers(0, max_labels - 1),
                st.integers(0, 2),
            ),
            min_size=min_rows,
            max_size=max_rows,
        ).map(partial(_batch, dtype))
        for dtype in dtypes
    }
    return st.sampled_from(list(dtypes)).flatmap(batches.__getitem__)


def loss_cases(*, batches: st.SearchStrategy[EmbeddingsDescription] | None = None) -> st.SearchStrategy[LossCase]:
    """Strategy for a batch of embeddings with the parameters of the loss.

    Generates temperatures from 0.01 to 2, no beta, the usual ones, a huge one and one that float32 cannot hold, both
    meanings of beta, debiasing and masked lineages. Promises parameters that ``NTXentHCL`` takes. Shrinks towards
    temperature 0.5 with neither beta nor debiasing nor masks, on the smallest batch.

    Parameters
    ----------
    batches
        What the embeddings are drawn from; by default `embeddings` with all its defaults.
    """
    return st.builds(
        LossCase,
        embeddings=embeddings() if batches is None else batches,
        temperature=st.sampled_from((0.5, 0.07, 2.0, 0.1, 0.01)),
        beta=st.sampled_from((0.0, 0.5, 1.0, 7.0, 1e4, 1e-50)),
        beta_on=st.sampled_from(("cosine", "logit")),
        tau_plus=st.sampled_from((0.0, 0.1, 0.6)),
        mask_same_lineage=st.booleans(),
    )
