"""Reading ahead: in order, with errors passed on, no thread left behind, and a state that counts what was consumed."""

from __future__ import annotations

import random
import re
import threading
import time
import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.data import _update_dataloader
from monai.data import ThreadDataLoader
from torch.utils.data import SequentialSampler

from dynaclr.errors import DynaclrError
from dynaclr.loader import BatchLoader, EvenBatches, ResumableBatchLoader, read_ahead
from dynaclr.sampler import FlexibleBatchSampler

WORKERS = [0, 1, 2, 5]


class Echo:
    """A dataset whose batches are the indices and the epoch that were asked for; index 13 cannot be read."""

    def __len__(self) -> int:
        return 1000

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """Return what was asked for, later batches sooner."""
        if 13 in indices:
            raise DynaclrError("the unlucky chunk cannot be read")
        time.sleep(random.Random(str(indices)).random() * 2e-3)  # noqa: S311  (a delay that differs)
        return {"anchor": list(indices), "epoch": getattr(indices, "epoch", None)}


class Counting(Echo):
    """A dataset that counts how many of its batches somebody still refers to whenever the next is asked for."""

    def __init__(self) -> None:
        self.batches: list[weakref.ref[torch.Tensor]] = []
        self.alive: list[int] = []

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """Return a tensor that can be followed."""
        self.alive.append(sum(batch() is not None for batch in self.batches))
        anchor = torch.tensor(indices)
        self.batches.append(weakref.ref(anchor))
        return {"anchor": anchor}


def make_sampler(ranks: int = 1, rank: int = 0, batches: int = 7) -> FlexibleBatchSampler:
    """Return a sampler of so many batches of 2, none of which holds 13."""
    anchors = pd.DataFrame({"experiment": "a", "condition": "b"}, index=range(2 * batches - 1))
    return FlexibleBatchSampler(anchors, 2, num_replicas=ranks, rank=rank, drop_last=False)


def readers() -> list[str]:
    """Return the names of the threads that read ahead right now."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dynaclr-reader")]


# --- read_ahead --------------------------------------------------------------------------------------------


@given(requests=st.lists(st.integers(0, 9), max_size=12), workers=st.sampled_from(WORKERS))
def test_answers_come_in_the_order_of_the_requests(requests: list[int], workers: int) -> None:
    """Whatever the number of threads, every request is answered once and in order."""

    def read(request: int) -> int:
        time.sleep(1e-4 * (9 - request))
        return request * 2

    assert list(read_ahead(read, requests, workers)) == [request * 2 for request in requests]
    assert readers() == []


class Restarting:
    """An iterator as Lightning wraps it around batch samplers: iterated again, it starts again."""

    def __iter__(self) -> Restarting:
        self.numbers = iter(range(6))
        return self

    def __next__(self) -> int:
        return next(self.numbers)


@pytest.mark.parametrize("workers", WORKERS)
def test_requests_are_iterated_once(workers: int) -> None:
    """An iterator that restarts is not restarted, as it would repeat the first batches for ever."""
    assert list(read_ahead(lambda request: request, Restarting(), workers)) == list(range(6))


@given(
    requests=st.lists(st.booleans(), max_size=8),
    workers=st.sampled_from(WORKERS),
    taken=st.integers(0, 8),
)
def test_an_error_is_raised_where_its_answer_was_due(requests: list[bool], workers: int, taken: int) -> None:
    """Answers before the failing request arrive, then its error does; stopping before it raises nothing."""

    def read(request: tuple[int, bool]) -> int:
        if request[1]:
            raise DynaclrError(f"request {request[0]} cannot be read")
        return request[0]

    answers = read_ahead(read, list(enumerate(requests)), workers)
    first_failure = requests.index(True) if True in requests else len(requests)
    for number in range(min(taken, first_failure)):
        assert next(answers) == number
    if taken > first_failure and first_failure < len(requests):
        with pytest.raises(DynaclrError, match=f"request {first_failure} cannot be read"):
            next(answers)
    answers.close()  # type: ignore[attr-defined]  # a generator
    assert readers() == []


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_is_read_ahead_than_there_are_workers(workers: int) -> None:
    """Memory is bounded: beyond the batch that was handed out, one for each worker."""
    begun: list[int] = []

    def read(request: int) -> int:
        begun.append(request)
        return request

    answers = read_ahead(read, range(100), workers)
    assert begun == []
    for number in range(10):
        assert next(answers) == number
        time.sleep(0.01)
        assert len(begun) <= number + 1 + workers
    answers.close()  # type: ignore[attr-defined]  # a generator


# --- loaders -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_a_batch_loader_is_monais_and_leaves_the_global_generators_alone(workers: int) -> None:
    """MONAI's own loader seeds Python, NumPy and torch from a thread in the middle of training."""
    torch.manual_seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), torch.get_num_threads()  # type: ignore[index]  # noqa: NPY002
    loader = BatchLoader(Echo(), batch_sampler=[[0, 1], [2]], num_workers=workers)
    assert isinstance(loader, ThreadDataLoader)
    assert loader.num_workers == workers
    assert [batch["anchor"] for batch in loader] == [[0, 1], [2]]
    assert len(loader) == 2
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), torch.get_num_threads()  # type: ignore[index]  # noqa: NPY002
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert before[3] == after[3]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_loader_passes_the_error_of_reading_on(workers: int) -> None:
    """An epoch never just ends early."""
    loader = BatchLoader(Echo(), batch_sampler=[[0], [1], [13], [3]], num_workers=workers)
    batches = iter(loader)
    assert [next(batches)["anchor"], next(batches)["anchor"]] == [[0], [1]]
    with pytest.raises(DynaclrError, match="the unlucky chunk cannot be read"):
        next(batches)
    assert readers() == []


@pytest.mark.parametrize("workers", WORKERS)
def test_a_loader_does_not_keep_what_it_handed_out(workers: int) -> None:
    """Batches are large: once the caller has dropped one, it is gone before the next is read."""
    for make in (BatchLoader, ResumableBatchLoader):
        dataset = Counting()
        for batch in make(dataset, batch_sampler=make_sampler(), num_workers=workers):
            del batch
        assert len(dataset.alive) == 7
        assert max(dataset.alive) <= workers


@pytest.mark.parametrize("workers", WORKERS)
def test_a_new_iteration_ends_the_one_before(workers: int) -> None:
    """An epoch that was left early keeps no thread, and its rest is not seen again."""
    loader = ResumableBatchLoader(Echo(), batch_sampler=make_sampler(), num_workers=workers)
    left = iter(loader)
    first = next(left)
    again = iter(loader)
    assert next(again) == first
    assert list(left) == []
    loader.close()
    assert readers() == []


@pytest.mark.parametrize("workers", WORKERS)
def test_batches_carry_their_epoch(workers: int) -> None:
    """A pass belongs to the epoch that was set when its first batch was asked for, though its iterator is older."""
    sampler = make_sampler()
    loader = ResumableBatchLoader(Echo(), batch_sampler=sampler, num_workers=workers)
    for epoch in (0, 3):
        made_early = iter(loader)
        sampler.set_epoch(epoch)
        batches = list(made_early)
        assert [batch["epoch"] for batch in batches] == [epoch] * 7
        assert [batch["anchor"] for batch in batches] == [sampler.batch(i, epoch) for i in range(7)]


@given(
    workers=st.sampled_from(WORKERS),
    ranks=st.integers(1, 3),
    ranks_then=st.integers(1, 3),
    consumed=st.integers(0, 7),
    epoch=st.integers(0, 2),
)
def test_a_state_counts_what_was_consumed(workers: int, ranks: int, ranks_then: int, consumed: int, epoch: int) -> None:
    """However far was read ahead, a new loader goes on with the next batch, also on another number of ranks."""

    def loaders(count: int) -> Iterator[ResumableBatchLoader]:
        for rank in range(count):
            yield ResumableBatchLoader(Echo(), batch_sampler=make_sampler(count, rank), num_workers=workers)

    whole = make_sampler()
    states = []
    for loader in loaders(ranks):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        for _, batch in zip(range(consumed), loader, strict=False):
            assert batch["epoch"] == epoch
        states.append(loader.state_dict())
        assert len(loader) == -(-7 // ranks)
        loader.close()
    assert all(state == states[0] for state in states)
    behind = min(consumed, -(-7 // ranks)) * ranks
    rest: list[list[list[int]]] = []
    for loader in loaders(ranks_then):
        loader.load_state_dict(states[0])
        assert len(loader) == -(-7 // ranks_then)
        rest.append([batch["anchor"] for batch in loader])
        again = [batch["anchor"] for batch in loader]
        mine = range(loader.batch_sampler.rank, len(loader) * ranks_then, ranks_then)  # type: ignore[union-attr]
        assert again == [whole.batch(i, epoch) for i in mine], "only one epoch is resumed"
    left = -(-max(0, 7 - behind) // ranks_then)
    for rank, batches in enumerate(rest):
        numbers = range(behind + rank, behind + rank + left * ranks_then, ranks_then)
        assert batches == [whole.batch(i, epoch) for i in numbers]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("consumed", [0, 3, 7])
def test_the_state_of_a_pass_that_has_not_begun_is_its_beginning(workers: int, consumed: int) -> None:
    """However far the pass before it came, and whether that was resumed."""
    loader = ResumableBatchLoader(Echo(), batch_sampler=make_sampler(), num_workers=workers)
    for _ in zip(range(consumed), loader, strict=False):
        pass
    state = loader.state_dict()
    assert state["sampler"]["batches"] == consumed
    batches = iter(loader)
    assert loader.state_dict()["sampler"]["batches"] == 0
    loader.load_state_dict(state)
    batches = iter(loader)
    assert loader.state_dict()["sampler"]["batches"] == consumed
    assert len(list(batches)) == 7 - consumed
    batches = iter(loader)
    assert loader.state_dict()["sampler"]["batches"] == 0
    loader.close()


@pytest.mark.parametrize("workers", WORKERS)
def test_a_batch_that_training_failed_on_is_not_consumed(workers: int) -> None:
    """The state is that of the last batch trained on, though one more was handed out."""
    trained = 0
    loader = ResumableBatchLoader(Echo(), batch_sampler=make_sampler(), num_workers=workers, trained=lambda: trained)
    batches = iter(loader)
    for number in range(4):
        next(batches)
        assert loader.state_dict()["sampler"]["batches"] == number
        trained += 1
        assert loader.state_dict()["sampler"]["batches"] == number + 1
    loader.close()


@given(
    workers=st.sampled_from(WORKERS),
    runs=st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=5),
    epoch=st.integers(0, 2),
)
def test_a_run_may_be_resumed_again_and_again(workers: int, runs: list[tuple[int, bool]], epoch: int) -> None:
    """Each state counts what was trained in all runs of the epoch together, also where the last batch was not.

    As a trainer does, `trained` counts from the beginning of the epoch, not of the run.
    """
    done, whole = [0], make_sampler()
    state: dict[str, Any] | None = None
    for count, last_fails in runs:
        sampler = make_sampler()
        loader = ResumableBatchLoader(Echo(), batch_sampler=sampler, num_workers=workers, trained=lambda: done[0])
        sampler.set_epoch(epoch)
        if state is not None:
            loader.load_state_dict(state)
        batches = iter(loader)
        for number, batch in zip(range(count), batches, strict=False):
            assert batch["anchor"] == whole.batch(done[0], epoch)
            assert batch["epoch"] == epoch
            if number < count - 1 or not last_fails:
                done[0] += 1
        state = loader.state_dict()
        assert state["sampler"]["epoch"] == epoch
        assert state["sampler"]["batches"] == done[0]
        loader.close()


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("taken", [1, 4])
def test_another_epoch_is_none_of_a_pass_that_has_begun(workers: int, taken: int) -> None:
    """Who sets it on the way changes neither the indices of the pass nor the epoch that they carry."""
    sampler = make_sampler()
    loader = ResumableBatchLoader(Echo(), batch_sampler=sampler, num_workers=workers)
    begun = iter(loader)
    batches = [next(begun) for _ in range(taken)]
    sampler.set_epoch(5)
    batches += begun
    assert [batch["epoch"] for batch in batches] == [0] * 7
    assert [batch["anchor"] for batch in batches] == [sampler.batch(i, 0) for i in range(7)]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("consumed", [0, 3, 7])
def test_the_state_of_another_epoch_is_its_beginning(workers: int, consumed: int) -> None:
    """Once the epoch is set, before anybody has asked for an iterator: the pass that was has no part in it."""
    sampler = make_sampler()
    loader = ResumableBatchLoader(Echo(), batch_sampler=sampler, num_workers=workers)
    for _ in zip(range(consumed), loader, strict=False):
        pass
    sampler.set_epoch(2)
    state = loader.state_dict()
    assert (state["sampler"]["epoch"], state["sampler"]["batches"]) == (2, 0)
    other = ResumableBatchLoader(Echo(), batch_sampler=make_sampler(), num_workers=workers)
    other.load_state_dict(state)
    assert [batch["anchor"] for batch in other] == [sampler.batch(i, 2) for i in range(7)]
    loader.close()


def test_a_resumed_loader_says_how_many_batches_lie_behind() -> None:
    """In its own count, that of the new number of ranks."""
    told: list[tuple[int, bool]] = []
    two = ResumableBatchLoader(Echo(), batch_sampler=make_sampler(2))
    for _ in zip(range(3), two, strict=False):
        pass
    one = ResumableBatchLoader(Echo(), batch_sampler=make_sampler(1), on_resume=lambda *what: told.append(what))
    one.load_state_dict(two.state_dict())
    three = ResumableBatchLoader(Echo(), batch_sampler=make_sampler(3), on_resume=lambda *what: told.append(what))
    three.load_state_dict(two.state_dict())
    assert told == [
        (6, False),
        (2, False),
    ]  # of seven batches six: one is left, for the first of three ranks
    two.close()


def test_a_state_that_was_left_behind_is_loaded_with_the_first_batch() -> None:
    """Whoever made the iterator before the state was known is shown what comes next nevertheless, once."""
    told: list[tuple[int, bool]] = []
    before = ResumableBatchLoader(Echo(), batch_sampler=make_sampler())
    whole = list(before)
    for _ in zip(range(3), before, strict=False):
        pass
    states = [None, before.state_dict(), None]
    before.close()
    loader = ResumableBatchLoader(
        Echo(),
        batch_sampler=make_sampler(),
        on_resume=lambda *what: told.append(what),
        left_behind=states.pop,
    )
    assert list(loader) == whole
    batches = iter(loader)
    assert told == []
    assert list(batches) == whole[3:]
    assert told == [(3, True)]
    assert loader.state_dict()["sampler"]["batches"] == 7
    assert list(loader) == whole
    assert states == []


@pytest.mark.parametrize("done", range(8))
def test_the_state_of_other_data_is_refused_in_the_middle_of_an_epoch(done: int) -> None:
    """There a checkpoint of another table says so; at either end of its epoch the loader has an epoch of its own."""
    told: list[tuple[int, bool]] = []
    loader = ResumableBatchLoader(Echo(), batch_sampler=make_sampler())
    for _ in zip(range(done), loader, strict=False):
        pass
    state = loader.state_dict()
    loader.close()
    sampler = make_sampler(batches=5)
    other = ResumableBatchLoader(Echo(), batch_sampler=sampler, on_resume=lambda *what: told.append(what))
    if 0 < done < 7:
        with pytest.raises(DynaclrError, match=r"other options .*; only from the end of an epoch can a run go on with"):
            other.load_state_dict(state)
    else:
        other.load_state_dict(state)
        assert told == [(5 if done else 0, False)]
        assert len(list(other)) == (0 if done else 5)
        assert len(list(other)) == 5


def test_what_is_no_state_is_told_without_a_remedy() -> None:
    """The end of an epoch would not help it."""
    loader = ResumableBatchLoader(Echo(), batch_sampler=make_sampler())
    state = {"sampler": {**loader.state_dict()["sampler"], "version": 99}}
    with pytest.raises(DynaclrError, match=r"state has version 99, but this sampler reads 1$"):
        loader.load_state_dict(state)


@pytest.mark.parametrize(
    "option",
    [
        {"pin_memory": True},
        {"timeout": 5},
        {"worker_init_fn": print},
        {"buffer_size": 4},
        {"prefetch_factor": 8},
        {"persistent_workers": True},
        {"repeats": 2},
        {"shuffle": True},
        {"batch_size": 7},
        {"drop_last": True},
        {"sampler": [1, 2]},
        {"pin_memry": True},
    ],
)
def test_options_without_an_effect_are_refused(option: dict[str, Any]) -> None:
    """Rather than accepted and ignored; their defaults, which Lightning passes, say nothing."""
    ((name, value),) = option.items()
    for make in (BatchLoader, ResumableBatchLoader):
        with pytest.raises(DynaclrError, match=f"{name}={re.escape(repr(value))} has no effect on a {make.__name__}"):
            make(Echo(), batch_sampler=make_sampler(), **option)


def test_a_batch_loader_can_be_made_anew_from_its_attributes() -> None:
    """Lightning does so for predictions, also with a loader that it has not seen being made."""
    batches = EvenBatches(SequentialSampler(range(7)), 3)
    loader = BatchLoader(Echo(), batch_sampler=batches, num_workers=2, collate_fn=lambda batch: {**batch, "more": 1})
    anew = _update_dataloader(loader, SequentialSampler(range(7)), mode=RunningStage.PREDICTING)
    assert type(anew) is BatchLoader
    assert anew.num_workers == 2
    assert list(anew) == list(loader)


# --- EvenBatches -------------------------------------------------------------------------------------------


@given(total=st.integers(0, 60), batch_size=st.integers(1, 20), ranks=st.integers(1, 4), dealt=st.booleans())
def test_every_element_is_in_one_batch_of_one_rank(total: int, batch_size: int, ranks: int, dealt: bool) -> None:
    """In batches that differ by one at most; equal steps cost at most a repetition where ranks are idle.

    Ranks for which no element is left at all repeat the first even without equal steps.
    """
    sequence = SequentialSampler(range(total))
    fair = [list(EvenBatches(sequence, batch_size, False, ranks, r, False, dealt)) for r in range(ranks)]
    if 0 < total < ranks:
        assert sorted(fair) == [[[0]]] * (1 + ranks - total) + [[[i]] for i in range(1, total)]
        return
    in_turn = [batch for batches in fair for batch in batches]
    assert sorted(i for batch in in_turn for i in batch) == list(range(total))
    if not dealt:
        assert [i for batch in in_turn for i in batch] == list(range(total)), "runs keep the order"
    sizes = {len(batch) for batch in in_turn}
    assert max(sizes, default=0) <= batch_size
    assert not sizes or max(sizes) - min(sizes) <= 1
    equal = [EvenBatches(sequence, batch_size, False, ranks, r, dealt=dealt) for r in range(ranks)]
    steps = -(-total // (batch_size * ranks))
    assert [len(list(batches)) for batches in equal] == [len(batches) for batches in equal] == [steps] * ranks
    assert all(batch for batches in equal for batch in batches)
    assert {i for batches in equal for batch in batches for i in batch} == set(range(total))
    if total >= steps * ranks:
        assert [list(batches) for batches in equal] == fair


@given(total=st.integers(1, 60), batch_size=st.integers(1, 20), ranks=st.integers(1, 4))
def test_dealt_batches_have_no_neighbours(total: int, batch_size: int, ranks: int) -> None:
    """Elements of a batch are as far apart as there are batches: a run of at most that length comes once at most."""
    sequence = SequentialSampler(range(total))
    dealt = [EvenBatches(sequence, batch_size, False, ranks, r, dealt=True) for r in range(ranks)]
    number = sum(len(batches) for batches in dealt)
    for batches in dealt:
        for batch in batches:
            assert all(later - earlier == number for earlier, later in pairwise(batch))
