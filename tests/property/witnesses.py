"""One broken sampler per law: the reference sampler with a single defect, and a case on which it shows."""

from __future__ import annotations

import composition_witnesses
import order_witnesses
import process_witnesses
import reproducibility_witnesses
from witness_cases import PLAIN, WITNESSES, Witness, case

__all__ = [
    "PLAIN",
    "WITNESSES",
    "Witness",
    "case",
    "composition_witnesses",
    "order_witnesses",
    "process_witnesses",
    "reproducibility_witnesses",
]
