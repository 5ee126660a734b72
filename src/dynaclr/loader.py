"""Loaders of ready-made batches: read ahead by threads, in order, and resumable in the middle of an epoch."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from math import ceil
from typing import Any, Protocol, TypeVar

from monai.data.thread_buffer import ThreadDataLoader
from torch.utils.data import BatchSampler, Sampler

from dynaclr.dataset import Batch, EpochIndices
from dynaclr.errors import DynaclrError, OtherSamplingError

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


def read_ahead(
    read: Callable[[_Request], _Answer], requests: Iterable[_Request], num_threads: int
) -> Iterator[_Answer]:
    """Answer requests in their order, the next ones already while the caller works on the last answer.

    Requests are taken by the calling thread alone. An error of `read` is raised where its answer was due. Closing the
    iterator waits for the reads that have begun and drops the others, so no thread outlives it.

    Parameters
    ----------
    read
        Called by `num_threads` threads at a time.
    requests
        What to read.
    num_threads
        How many answers to work on beyond the one that the caller has; 0 reads in the calling thread, when asked.

    Yields
    ------
    object
        ``read(request)`` for each request.
    """
    if num_threads == 0:
        yield from map(read, requests)
        return
    waiting = iter(requests)
    pending: deque[Future[_Answer]] = deque()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="dynaclr-reader")

    def ask(count: int) -> None:
        # By `next` alone: the iterators that Lightning wraps around samplers start again when iterated anew.
        for _ in range(count):
            with suppress(StopIteration):
                pending.append(pool.submit(read, next(waiting)))

    try:
        ask(num_threads)
        while pending:
            answer = [pending.popleft().result()]
            ask(1)
            # Batches are large: keep none here while the caller works on it.
            yield answer.pop()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class BatchDataset(Protocol):
    """What `BatchLoader` needs of a dataset."""

    def __len__(self) -> int: ...
    def __getitems__(self, indices: list[int]) -> Batch: ...


class BatchLoader(ThreadDataLoader):
    """A `monai.data.ThreadDataLoader` for a dataset that returns whole batches, with threads that cannot do harm.

    It takes MONAI's place in Lightning and for users. The iteration itself is `read_ahead`, because MONAI's (1.5)

    - ends the epoch early and in silence when reading fails: its thread swallows the error;
    - runs PyTorch's process worker in a thread, which seeds the *global* generators of Python, NumPy and torch under
      the training loop's feet at the start of every epoch;
    - cannot stop such a worker that reads for long: it calls ``Thread.terminate``, which does not exist.

    Parameters
    ----------
    dataset
        Has ``__getitems__``, which may be called from several threads.
    batch_sampler
        Yields the indices of each batch.
    num_workers
        Batches that are read at the same time, by as many threads, while the last one is worked on; 0 reads in the
        calling thread.
    collate_fn
        Called with each batch, which is ready-made, in the thread that iterates; by default the identity.
    **unused
        The other parameters of a PyTorch loader, at their defaults only: Lightning passes them when it makes this
        object anew for predictions.

    Raises
    ------
    DynaclrError
        If another option is given, which would have no effect here.
    """

    def __init__(
        self,
        dataset: BatchDataset,
        *,
        batch_sampler: Iterable[list[int]],
        num_workers: int = 0,
        collate_fn: Callable[[Batch], Batch] | None = None,
        **unused: Any,
    ) -> None:
        # One, since with none MONAI reseeds torch's global generator and walks through the whole dataset, and with many
        # PyTorch warns of as many processes.
        super().__init__(
            dataset,  # type: ignore[arg-type]  # duck-typed
            use_thread_workers=True,
            batch_sampler=batch_sampler,
            num_workers=1,
            collate_fn=collate_fn or _identity,
        )
        for name, value in unused.items():
            if not self._is_default(name, value):
                raise DynaclrError(
                    f"{name}={value!r} has no effect on a {type(self).__name__}, which needs its own options only: "
                    "dataset, batch_sampler, num_workers and collate_fn"
                )
        self.num_workers = num_workers
        self._read_batch = dataset.__getitems__
        self._requests = batch_sampler

    def __iter__(self) -> Generator[Batch]:  # type: ignore[override]  # as MONAI's, which says nothing
        return self._read(self._requests)

    def _is_default(self, name: str, value: Any) -> bool:
        """Tell whether an option of a PyTorch loader says nothing new."""
        if name in _WITHOUT_A_SAMPLER:
            return value in _WITHOUT_A_SAMPLER[name]
        mine = getattr(self, name, _identity)
        # MONAI makes a context for each loader.
        return bool(value == mine) or (name == "multiprocessing_context" and type(value) is type(mine))

    def _read(self, requests: Iterable[list[int]]) -> Generator[Batch]:
        for batch in read_ahead(self._read_batch, requests, self.num_workers):
            yield self.collate_fn(batch)  # type: ignore[arg-type]  # a batch, not a list of samples
            del batch  # large: not kept while the caller waits for the next


def _identity(batch: Batch) -> Batch:
    return batch


# What PyTorch wants of these beside a batch sampler.
_WITHOUT_A_SAMPLER: dict[str, tuple[Any, ...]] = {
    "sampler": (None,),
    "shuffle": (None, False),
    "batch_size": (None, 1),
    "drop_last": (False,),
}


class ResumableSampler(Protocol):
    """What `ResumableBatchLoader` needs of a batch sampler; `dynaclr.sampler.FlexibleBatchSampler` has it."""

    epoch: int
    num_batches: int
    num_replicas: int

    def __iter__(self) -> Iterator[list[int]]: ...
    def __len__(self) -> int: ...

    def state_dict(self) -> dict[str, Any]:
        """Return where the iteration is."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration begin there."""
        ...


class ResumableBatchLoader(BatchLoader):
    """A `BatchLoader` that knows how many batches have been trained on, and goes on with the next one.

    Batches are read ahead, so the sampler is always further than training is. Therefore the sampler's state is kept for
    each batch that has been asked for, and a checkpoint gets that of the last batch that was consumed.

    One pass at a time: a new iteration ends the one before it. A pass belongs to the epoch that the sampler has when
    the first batch is asked for; Lightning makes its iterators earlier, before it tells the epoch.

    Parameters
    ----------
    dataset, num_workers, collate_fn, **unused
        As for `BatchLoader`; indices reach the dataset as `EpochIndices`.
    batch_sampler
        The sampler.
    trained
        Returns how many batches of this epoch training has finished, for trainers that may ask for a batch and then
        fail on it; by default a batch counts as consumed as soon as it is handed out.
    on_resume
        Told, when a state has been loaded, how many batches of this rank's epoch lie behind (with another number of
        ranks than before that is not the number that the trainer remembers), and whether the first batch is being asked
        for already.
    left_behind
        Asked when the first batch of a pass is asked for: returns a state that should have been loaded, or None.
    """

    def __init__(
        self,
        dataset: BatchDataset,
        *,
        batch_sampler: ResumableSampler,
        num_workers: int = 0,
        trained: Callable[[], int] | None = None,
        on_resume: Callable[[int, bool], None] | None = None,
        left_behind: Callable[[], Mapping[str, Any] | None] | None = None,
        **unused: Any,
    ) -> None:
        super().__init__(dataset, batch_sampler=batch_sampler, num_workers=num_workers, **unused)
        self._sampler = batch_sampler
        self._trained = trained
        self._on_resume = on_resume
        self._left_behind = left_behind
        self._pass: _Pass | None = None
        self._batches: weakref.ref[Generator[Batch]] | None = None

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch on this rank, also when one is resumed in its middle."""
        return ceil(self._sampler.num_batches / self._sampler.num_replicas)

    def __iter__(self) -> Generator[Batch]:  # type: ignore[override]  # as MONAI's, which says nothing
        self.close()
        self._pass = None
        batches = self._epoch(iter(self._sampler))  # at once: from now on its state is that of a new pass
        # Only a weak reference: who lets go of the iterator, as Lightning does after an error, ends its threads.
        self._batches = weakref.ref(batches)
        return batches

    def close(self) -> None:
        """End the iteration that is under way, if any, and wait for its threads."""
        batches = None if self._batches is None else self._batches()
        if batches is not None:
            batches.close()
        self._batches = None

    def state_dict(self) -> dict[str, Any]:
        """Return where training is: behind the last batch that was consumed."""
        current = self._pass
        if current is None or current.epoch != self._sampler.epoch:
            return {"sampler": self._sampler.state_dict()}
        return {"sampler": current.state(self._trained)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state; the next iteration begins there, unless the epoch is changed before it.

        From the end or the beginning of an epoch a sampler of another table or of other options goes on as well, with
        an epoch of its own.

        Parameters
        ----------
        state_dict
            What `state_dict` returned, on any number of ranks.

        Raises
        ------
        DynaclrError
            If it is no such state, or one from the middle of an epoch of another table or of other sampling options.
        """
        self.close()
        self._go_on(state_dict["sampler"], begun=False)

    def _go_on(self, state: dict[str, Any], begun: bool) -> None:
        self._pass = None
        try:
            self._sampler.load_state_dict(state)
        except OtherSamplingError as problem:
            done = state["batches"]
            if 0 < done < state["fingerprint"].get("num_batches", float("inf")):
                remedy = "only from the end of an epoch can a run go on with others"
                raise OtherSamplingError(f"{problem}; {remedy}") from problem
            # That epoch is over, or has not begun: an epoch of the sampler's own comes next.
            edge = {"epoch": state["epoch"], "batches": self._sampler.num_batches if done else 0}
            self._sampler.load_state_dict(self._sampler.state_dict() | edge)
        if self._on_resume is not None:
            self._on_resume(len(self) - len(self._sampler), begun)

    def _epoch(self, indices: Iterator[list[int]]) -> Generator[Batch]:
        state = None if self._left_behind is None else self._left_behind()
        if state is not None and state["sampler"]["epoch"] == self._sampler.epoch:  # else that epoch is over
            self._go_on(state["sampler"], begun=True)
            indices = iter(self._sampler)
        current = self._pass = _Pass(self._sampler, indices, self._trained)
        for batch in self._read(current.requests()):
            current.handed += 1
            yield batch
            del batch  # large: not kept while the caller waits for the next


class _Pass:
    """One iteration over an epoch: the sampler's state behind each batch that has been asked for."""

    def __init__(
        self, sampler: ResumableSampler, indices: Iterator[list[int]], trained: Callable[[], int] | None
    ) -> None:
        self.sampler = sampler
        self.epoch = sampler.epoch
        self.handed = 0
        self._behind = 0 if trained is None else trained()
        self._indices = indices
        self._states = deque([sampler.state_dict()])
        self._first = 0  # how many batches lie before the first state that is kept

    def requests(self) -> Iterator[EpochIndices]:
        for indices in self._indices:
            self._states.append(self.sampler.state_dict())
            # Training is at most one batch behind what it was handed.
            while self._first < self.handed - 1:
                self._states.popleft()
                self._first += 1
            yield EpochIndices(indices, self.epoch)

    def state(self, trained: Callable[[], int] | None) -> dict[str, Any]:
        consumed = self.handed if trained is None else min(self.handed, trained() - self._behind)
        return self._states[max(consumed, self._first) - self._first]


class EvenBatches(BatchSampler):
    """Cuts a sequence into batches of nearly equal size: each element once, shared out over the ranks.

    Batches differ in size by one at most, so that none is a small leftover. They are made in one of two ways:

    - *runs*: batch k is the k-th run of neighbouring elements, and a rank gets neighbouring batches: order is kept.
      Rows of the index that are neighbours mostly show one cell, so nothing can be contrasted within such a batch.
    - *dealt*: batch k of K takes elements k, k + K, k + 2K, ..., as cards are dealt, so that each batch has its share
      of every part of the sequence. A cell comes twice into a batch only if it has more than K elements. Reading them
      costs more, since neighbours in a batch rarely share a chunk.

    Parameters
    ----------
    sampler
        The sequence, with a length.
    batch_size
        Largest size of a batch.
    drop_last
        Must be False: nothing is left out. (Lightning passes it when it makes this object anew for predictions.)
    num_replicas, rank
        Number of processes, and the number of this one.
    equal_steps
        Where there are fewer elements than batches to fill, whether the ranks left without any get an element once
        more (so that all make equally many steps) or fewer batches, of which one remains: Lightning leaves out who has
        none, and the others would wait for it.
    dealt
        Whether elements are dealt rather than cut into runs.
    """

    def __init__(
        self,
        sampler: Sampler[int],
        batch_size: int,
        drop_last: bool = False,
        num_replicas: int = 1,
        rank: int = 0,
        equal_steps: bool = True,
        dealt: bool = False,
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.num_replicas = num_replicas
        self.rank = rank
        self.equal_steps = equal_steps
        self.dealt = dealt

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[list[int]]:
        elements = list(self.sampler)
        for batch in self._batches():
            yield [elements[place] for place in batch]

    def _batches(self) -> list[range]:
        """Return the places of the elements in this rank's batches."""
        total = len(self.sampler)  # type: ignore[arg-type]  # sequences have a length
        steps = -(-total // (self.batch_size * self.num_replicas))
        slots = steps * self.num_replicas
        mine = range(self.rank * steps, (self.rank + 1) * steps)
        if self.dealt:
            batches = [range(slot, total, slots) for slot in mine]
        else:
            batches = [range(total * slot // slots, total * (slot + 1) // slots) for slot in mine]
        if self.equal_steps:
            return [batch or range(min(batch.start, total - 1), total)[:1] for batch in batches]
        return [batch for batch in batches if batch] or [range(1)][:total]
