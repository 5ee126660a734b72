"""A sampler that keeps every law of the cascade in the simplest way: lists, filters and one pass after the other.

It is slow, and it is not how ``dynaclr`` does it; the batches of the two differ, their laws do not. Each step is a
small method, so that a test can break one of them and see which law notices.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pandas as pd

from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

__all__ = ["ReferenceSampler"]

Pass = list[int]
Row = dict[str, Any]


class ReferenceSampler:
    """Batches built by brute force.

    Parameters
    ----------
    table
        The valid anchors.
    options
        All parameters.
    """

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        self.oracle = CascadeOracle(table, options)
        self.options = options
        self.replicas, self.rank = options.num_replicas or 1, options.rank or 0
        self.epoch = 0
        self.consumed = self.resume_at = 0
        self._built: dict[int, list[list[Row]]] = {}
        self._passes: dict[tuple[int, Any], Pass] = {}
        self._counts: dict[int, Counter[int]] = {}

    # --- the interface ------------------------------------------------------------------------------------------------

    def set_epoch(self, epoch: int) -> None:
        """Select an epoch."""
        if epoch != self.epoch:
            self.epoch, self.consumed, self.resume_at = epoch, 0, 0

    def __len__(self) -> int:
        return math.ceil(max(0, self.oracle.num_batches - self.resume_at) / self.replicas)

    def __iter__(self) -> Iterator[list[int]]:
        start, count, epoch = self.resume_at, len(self), self.epoch
        self.resume_at, self.consumed = 0, start
        for place in range(count):
            self.consumed = start + (place + 1) * self.replicas
            yield self.batch(self.number(start, place), epoch)

    def number(self, start: int, place: int) -> int:
        """Return the global number of this rank's batch."""
        return start + self.rank + place * self.replicas

    def batch(self, i: int, epoch: int | None = None) -> list[int]:
        """Return global batch ``i`` of an epoch."""
        return [row["anchor"] for row in self._rows(i, epoch)]

    def explain(self, i: int, epoch: int | None = None) -> pd.DataFrame:
        """Return the provenance of global batch ``i`` of an epoch."""
        rows = self._rows(i, epoch)
        table = pd.DataFrame(rows).astype({"condition": object, "experiment": object, "time": object})
        focal = rows[0]["focal_hpi"]
        table.attrs["focal_hpi"] = None if focal is None else float(focal)
        return table

    def state_dict(self) -> dict[str, Any]:
        """Return how far the iteration is, and of which table with which options."""
        return {"epoch": self.epoch, "consumed": self.consumed, **self.fingerprint()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where a state was taken; `ValueError` for a state of another table or other options."""
        for name, mine in self.fingerprint().items():
            if state[name] != mine:
                raise ValueError(f"{name}={state[name]!r} of the state differs from {mine!r} of this sampler")
        self.epoch = state["epoch"]
        self.consumed = self.resume_at = state["consumed"]

    def fingerprint(self) -> dict[str, Any]:
        """Return what a state has to agree in."""
        rows = hashlib.sha256(repr(self.oracle.rows).encode()).hexdigest()
        options = self.options.to_plain()
        return {name: options[name] for name in options if name not in {"num_replicas", "rank"}} | {"table": rows}

    # --- an epoch -----------------------------------------------------------------------------------------------------

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        """Return the generator of one purpose in one epoch."""
        return random.Random(f"{self.options.seed}/{epoch}/{purpose}")  # noqa: S311 - not for secrets

    def _rows(self, i: int, epoch: int | None) -> list[Row]:
        epoch = self.epoch if epoch is None else epoch
        built = self._built.setdefault(epoch, [])
        while len(built) <= i:
            built.append(self.build(len(built), epoch))
        return built[i]

    def schedule(self, epoch: int, lap: int) -> list[Label | None]:
        """Return the experiment of each batch of an epoch, or of its continuation."""
        rng = self.rng(epoch, "schedule", lap)
        counts = self.round({group: self.oracle.share(group) for group in self.oracle.groups}, rng.random())
        owners = [group for group, count in counts.items() for _ in range(count)]
        rng.shuffle(owners)
        return owners

    def round(self, expected: dict[Any, Fraction], offset: float) -> dict[Any, int]:
        """Round numbers with a whole sum: floor or ceiling, unbiased, the sum kept."""
        rounded, total = {}, Fraction(offset)
        for name, value in expected.items():
            rounded[name] = math.floor(total + value) - math.floor(total)
            total += value
        return rounded

    def build(self, i: int, epoch: int) -> list[Row]:
        """Return the rows of one batch."""
        oracle, rng = self.oracle, self.rng(epoch, "batch", i)
        owner = self.schedule(epoch, i // oracle.num_batches)[i % oracle.num_batches]
        quotas = self.quotas(owner, rng)
        focal, near = self.focus(owner, quotas, rng)
        taken: list[int] = []
        rows: list[Row] = []
        for condition, quota in quotas.items():
            stratum = oracle.strata[owner][condition]
            drawn: list[tuple[int, str | None]]
            if focal is None:
                drawn = [(anchor, None) for anchor in self.draw_pass(epoch, owner, condition, quota, taken)]
            else:
                drawn = self.draw_near(stratum, quota, near[condition], focal, taken, rng)
            for anchor, time in drawn:
                plain = "global" if self.options.temporal_enrichment else None
                rows.append({"anchor": anchor, "source": "primary", "time": time or plain})
        leaked = self.draw_leaked(owner, taken, rng)
        rows += [{"anchor": anchor, "source": "leaked", "time": None} for anchor in leaked]
        rng.shuffle(rows)
        return self.describe(rows, focal)

    def quotas(self, owner: Label | None, rng: random.Random) -> dict[Label | None, int]:
        """Return how many primary anchors each condition gives."""
        return self.round(self.oracle.quotas(owner), rng.random())

    def describe(self, rows: list[Row], focal: Fraction | None) -> list[Row]:
        """Add labels, times and repetitions."""
        seen: set[int] = set()
        for row in rows:
            anchor = row["anchor"]
            row |= {"experiment": self.oracle.group(anchor), "condition": self.oracle.condition(anchor)}
            row |= {"repeated": anchor in seen, "focal_hpi": focal}
            if self.options.temporal_enrichment:
                row["hpi"] = float(self.oracle.hpi(anchor))
            seen.add(anchor)
        return rows

    # --- drawing ------------------------------------------------------------------------------------------------------

    def is_free(self, anchor: int, taken: list[int]) -> bool:
        """Tell whether exclusivity lets an anchor in."""
        return self.oracle.lineage(anchor) not in {self.oracle.lineage(other) for other in taken}

    def take(
        self, candidates: list[int], count: int, taken: list[int], pool: list[int], own: tuple[int, ...] = ()
    ) -> list[int]:
        """Take anchors in the given order: of the least drawn, free ones first, then those new to the pool's own."""
        chosen: list[int] = []
        while len(chosen) < count:
            times = Counter(taken + chosen)
            least = min(times[anchor] for anchor in pool)
            level = [anchor for anchor in candidates if times[anchor] == least]
            if not level:
                break
            free, new = (
                [anchor for anchor in level if self.options.exclusive_by and self.is_free(anchor, held)]
                for held in (taken + chosen, [*own, *chosen])
            )
            chosen.append((free or new or level)[0])
        return chosen

    def draw_pass(
        self, epoch: int, owner: Label | None, condition: Label | None, quota: int, taken: list[int]
    ) -> list[int]:
        """Draw the next anchors of a stratum's shuffled passes."""
        stratum = self.oracle.strata[owner][condition]
        if self.options.exclusive_by:
            counts = self._counts.setdefault(epoch, Counter())
            order = self.shuffled(stratum, epoch, len(self._built[epoch]))
            drawn = self.take(sorted(order, key=counts.__getitem__), quota, taken, stratum)
            counts.update(drawn)
            taken += drawn
            return drawn
        key = (epoch, (owner, condition))
        drawn = []
        while len(drawn) < quota:
            left = self._passes.setdefault(key, [])
            if not left:
                times = Counter(drawn)
                order = self.shuffled(stratum, epoch, (len(self._built[epoch]), len(drawn)))
                left += self.begin_pass(order, times)
            count = min(len(left), quota - len(drawn))
            drawn += left[:count]
            del left[:count]
        taken += drawn
        return drawn

    def shuffled(self, stratum: list[int], epoch: int, *purpose: Any) -> list[int]:
        """Return the stratum in random order."""
        order = list(stratum)
        self.rng(epoch, "pass", stratum[0], purpose).shuffle(order)  # by its first row: labels may be renamed
        return order

    def begin_pass(self, order: list[int], times: Counter[int]) -> list[int]:
        """Let a pass begin with the anchors that the batch does not hold yet."""
        return sorted(order, key=times.__getitem__)

    def focus(
        self, owner: Label | None, quotas: dict[Label | None, int], rng: random.Random
    ) -> tuple[Fraction | None, dict[Label | None, int]]:
        """Return the focal HPI and the number of focal anchors of each condition."""
        if not self.options.temporal_enrichment or not self.oracle.num_focal:
            return None, {}
        wanted = [condition for condition, quota in quotas.items() if quota]
        focal = rng.choice(sorted(self.oracle.focal_values(owner, wanted)))
        share = Fraction(self.oracle.num_focal, self.oracle.num_primary)
        return focal, self.round({c: quota * share for c, quota in quotas.items()}, rng.random())

    def draw_near(
        self, stratum: list[int], quota: int, near: int, focal: Fraction, taken: list[int], rng: random.Random
    ) -> list[tuple[int, str | None]]:
        """Draw focal anchors, then global ones from what remains."""
        window = self.oracle.window
        order = rng.sample(stratum, len(stratum))
        by_time = sorted(
            order, key=lambda a: max(abs(self.oracle.hpi(a) - focal) - window, 0) and self.distance(a, focal)
        )
        if quota > len(stratum):
            return self.draw_crowded(stratum, by_time, order, quota, near, focal, taken)
        free = self.one_per_lineage(by_time, taken)
        new = self.one_per_lineage([anchor for anchor in by_time if anchor not in free], free)
        first = (free + new + [anchor for anchor in by_time if anchor not in free + new])[:near]
        taken += first
        # In an order of their own: of the first one, those that come early are focal.
        rest = [anchor for anchor in rng.sample(stratum, len(stratum)) if anchor not in first]
        others = self.take(rest, quota - near, taken, rest, tuple(first)) if rest else []
        taken += others
        return [*((a, self.label(a, focal)) for a in first), *((a, "global") for a in others)]

    def draw_crowded(
        self,
        stratum: list[int],
        by_time: list[int],
        order: list[int],
        quota: int,
        near: int,
        focal: Fraction,
        taken: list[int],
    ) -> list[tuple[int, str | None]]:
        """Draw more anchors than the stratum holds: as many copies of all as fit, and then some."""
        copies, rest = divmod(quota, len(stratum))
        everything = by_time * copies + order[:rest]
        everything.sort(key=by_time.index)
        taken += everything
        labelled: list[tuple[int, str | None]] = [(anchor, self.label(anchor, focal)) for anchor in everything[:near]]
        return labelled + [(anchor, "global") for anchor in everything[near:]]

    def one_per_lineage(self, order: list[int], taken: list[int]) -> list[int]:
        """Return the anchors that exclusivity lets in together, in their order."""
        free: list[int] = []
        for anchor in order:
            if self.is_free(anchor, taken + free):
                free.append(anchor)
        return free

    def distance(self, anchor: int, focal: Fraction) -> Fraction:
        """Return how far an anchor is from the focal HPI, in hours."""
        return self.oracle.distance(anchor, focal)

    def label(self, anchor: int, focal: Fraction) -> str:
        """Return ``"focal"`` inside the window and ``"widened"`` outside."""
        return "focal" if self.oracle.in_window([anchor], focal) else "widened"

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        """Draw anchors of the other experiments."""
        others = self.oracle.others(owner)
        if not self.oracle.num_leaked:
            return []
        return self.take(rng.sample(others, len(others)), self.oracle.num_leaked, taken, others)
