"""Numbers are recognised whatever type holds them."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.checks import is_list, is_number, whole, whole_pair
from dynaclr.errors import DynaclrError

_WHOLE = st.integers(-100, 100)
_TYPES = st.sampled_from([int, np.int8, np.int64])
_NO_NUMBERS = [True, np.True_, 1.0, np.float64(1), "1", None, [1]]


@given(numbers=st.tuples(_WHOLE, _WHOLE), kind=_TYPES, least=st.none() | _WHOLE)
def test_whole_numbers_come_back_as_ints(numbers: tuple[int, int], kind: type, least: int | None) -> None:
    """One or a pair of them, unless one is below the least."""
    first, second = map(kind, numbers)
    bound = "" if least is None else f" of at least {least}"
    if least is None or numbers[0] >= least:
        assert whole("n", first, least) == numbers[0]
        assert type(whole("n", first, least)) is int
    else:
        with pytest.raises(DynaclrError) as caught:
            whole("n", first, at_least=least)
        assert str(caught.value) == f"n={first!r} needs a whole number{bound}"
    if least is None or min(numbers) >= least:
        assert whole_pair("size", [first, second], least) == numbers
        assert set(map(type, whole_pair("size", (first, second), least))) == {int}
    else:
        with pytest.raises(DynaclrError) as caught:
            whole_pair("size", [first, second], at_least=least)
        assert str(caught.value) == f"size={[first, second]!r} needs two whole numbers{bound}"


@pytest.mark.parametrize("value", _NO_NUMBERS)
def test_nothing_else_is_a_whole_number(value: object) -> None:
    """Not what is equal to one, either."""
    with pytest.raises(DynaclrError, match=r"needs a whole number$"):
        whole("n", value)
    with pytest.raises(DynaclrError, match=r"needs two whole numbers$"):
        whole_pair("n", [1, value])


@given(value=st.integers(-100, 100), kind=st.sampled_from([int, float, np.int8, np.int64, np.float16, np.float32]))
def test_numbers_of_python_and_numpy_are_numbers(value: int, kind: type) -> None:
    """Whole or not, of any width."""
    assert is_number(kind(value))
    assert is_number(np.uint64(abs(value)))
    assert is_number(value + 0.5)


_NOT_FINITE = [math.nan, math.inf, -math.inf, np.float32(math.nan), np.float16(math.inf), int(sys.float_info.max) * 10]


@pytest.mark.parametrize("value", [True, np.True_, "1", None, [1], 1j, Fraction(1, 2), np.array([1.0]), *_NOT_FINITE])
def test_nothing_else_is_a_number(value: object) -> None:
    """Neither truth values nor texts, nor what no float can hold."""
    assert not is_number(value)


@pytest.mark.parametrize("values", ["12", 12, [1], [1, 2, 3], {1, 2}, np.array([1, 2])])
def test_pairs_are_lists_of_two(values: object) -> None:
    """A text of two digits is no pair, nor is a set, which has no order."""
    with pytest.raises(DynaclrError, match=r"needs two whole numbers of at least 0$"):
        whole_pair("n", values, at_least=0)
    assert not is_list("12")
    assert is_list((1, 2))
