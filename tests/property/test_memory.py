"""Memory that is lent again must never be seen by two."""

from __future__ import annotations

import gc
import sys
import threading

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.memory import ArrayPool


@given(
    steps=st.lists(st.tuples(st.sampled_from(["take", "take a part", "drop", "view"]), st.integers(0, 5)), max_size=30),
    keep=st.integers(0, 3),
)
def test_no_two_live_arrays_share_memory(steps: list[tuple[str, int]], keep: int) -> None:
    """Whatever is taken, dropped or only looked at through a view of it, what is alive keeps its content."""
    pool = ArrayPool(np.ravel, keep)
    alive: list[tuple[torch.Tensor, int]] = []
    for number, (step, which) in enumerate(steps):
        if step.startswith("take"):
            array, prepared = pool.lend((2, which))
            assert array.shape == (2, which)
            assert array.dtype == np.float32
            assert array.flags.writeable
            assert array.flags.c_contiguous
            prepared.fill(number)  # a view of the same memory, however often that was lent
            # A view of NumPy's refers to the memory's owner, not to the array that it is a view of.
            alive.append((torch.from_numpy(array if step == "take" else array[1:]), number))
            del array
        elif alive:
            tensor, value = alive.pop(which % len(alive))
            if step == "view":
                alive.append((tensor[1:], value))
            del tensor
        for tensor, value in alive:
            assert (tensor == value).all()


def test_memory_is_lent_again_and_not_hoarded() -> None:
    """The piece that came back is lent next, unless it is too small or far too large; few are kept."""
    pool = ArrayPool(np.ravel, keep=1)
    addresses = []
    for _ in range(3):
        array = pool.lend((100,))[0]
        addresses.append(array.ctypes.data)
        del array
        gc.collect()
    assert len(set(addresses)) == 1
    small = pool.lend((10,))[0]
    assert small.ctypes.data != addresses[0]
    first, second = pool.lend((1000,))[0], pool.lend((1000,))[0]
    places = {first.ctypes.data, second.ctypes.data}
    del first, second
    gc.collect()
    assert pool.lend((1000,))[0].ctypes.data in places


def test_what_is_prepared_fits_the_shape() -> None:
    """The same piece of memory lent in another shape, or in part, comes with what was prepared for that shape."""
    pool = ArrayPool(lambda memory: memory[0], keep=1)
    for shape in [(2, 3), (3, 2), (2, 2), (2, 3)]:
        array, first_row = pool.lend(shape)
        array[...] = np.arange(array.size).reshape(shape)
        assert first_row.tolist() == array[0].tolist()
        del array, first_row


def test_threads_may_lend_from_one_pool() -> None:
    """Each sees only what it wrote."""
    pool = ArrayPool(np.ravel)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(300):
            array = pool.lend((64,))[0]
            array.fill(number)
            if not (array == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_array_goes_without_a_callback() -> None:
    """Whoever presses Ctrl-C while one runs is not heard: Python drops the exceptions of callbacks."""
    array = ArrayPool(np.ravel).lend((64,))[0]
    called: list[str] = []
    sys.setprofile(lambda frame, event, _: called.append(f"{event} {frame.f_code.co_qualname}"))
    del array
    sys.setprofile(None)
    assert called == ["c_call test_an_array_goes_without_a_callback"]  # that of `sys.setprofile`
