"""Hours become frames without rounding, and offsets are drawn with the weights that the spec names."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.errors import DynaclrError
from dynaclr.tau_sampling import frames_in_range, sample_tau, tau_weights

hundredths = st.integers(0, 5_000).map(lambda number: number / 100)


@given(
    interval=st.integers(1, 20_000).map(lambda number: number / 100),
    bounds=st.tuples(hundredths, hundredths).map(lambda pair: tuple(sorted(pair))),
)
def test_frames_are_those_whose_offset_lies_in_the_range(interval: float, bounds: tuple[float, float]) -> None:
    """A frame of at least 1 is in the range of frames if and only if its offset is in the range of hours."""
    if bounds[1] == 0:
        assert frames_in_range(interval, bounds) == (0, 0)
        return
    low, high, step = (Fraction(str(number)) for number in (*bounds, interval))
    last = math.ceil(high * 60 / step) + 1
    inside = [frame for frame in range(1, last + 1) if low <= frame * step / 60 <= high]
    assert frames_in_range(interval, bounds) == ((inside[0], inside[-1]) if inside else None)


@pytest.mark.parametrize(
    ("interval", "hours", "frames"),
    [
        (60.0, (0.0, 0.5), None),
        (60.0, (0.5, 1.5), (1, 1)),
        (6.0, (0.3, 0.3), (3, 3)),  # 0.3 * 60 / 6 is 2.9999999999999996 in floating point
        (6.0, (0.7, 0.7), (7, 7)),
        (0.1, (0.3, 0.3), (180, 180)),
        (30.0, (0.0, 2.0), (1, 4)),
        (30, (0, 0), (0, 0)),
        (30.0, np.array([0.5, 2.0]), (1, 4)),
        (25.0, [0.5, 2.0], (2, 4)),
        (30.0, (Fraction(1, 2), 2), (1, 4)),
        (30.0, (0.5, 1e308), (1, 2**62)),  # as far as 64 bits count frames
        (1e-9, (1e300, 1e308), (2**62, 2**62)),
    ],
)
def test_known_ranges(interval: float, hours: tuple[float, float], frames: tuple[int, int] | None) -> None:
    """Bounds that floating point would miss are included."""
    assert frames_in_range(interval, hours) == frames


@pytest.mark.parametrize(
    ("hours", "sentence"),
    [
        ((2.0, 0.5), "smaller number of hours first"),
        ((-1.0, 2.0), "not negative"),
        ((0.5, math.inf), "two finite numbers"),
        ((math.nan, 1.0), "two finite numbers"),
        ((0.5,), "two finite numbers"),
        ((0.5, 1.0, 2.0), "two finite numbers"),
        ("12", "two finite numbers"),
        (2.0, "two finite numbers"),
        ((True, 2.0), "two finite numbers"),
        (("0.5", 2.0), "two finite numbers"),
        ((0.5, 10**400), "two finite numbers"),
        ({0.5: 1, 2.0: 1}, "two finite numbers"),
        ({0.5, 2.0}, "two finite numbers"),
        (np.array([[0.5], [2.0]]), "two finite numbers"),
    ],
)
def test_a_range_that_is_none_is_refused(hours: object, sentence: str) -> None:
    """The sentence names the range as it was given and what it needs."""
    with pytest.raises(DynaclrError, match=sentence):
        frames_in_range(30.0, hours)  # type: ignore[arg-type]


@given(tau_min=st.integers(0, 50), span=st.integers(0, 50), rate=st.floats(0, 10))
def test_weights_follow_the_formula(tau_min: int, span: int, rate: float) -> None:
    """Each weight is exp(-rate * (tau - tau_min) / (tau_max - tau_min)), and 1 in a range of one offset."""
    taus = range(tau_min, tau_min + span + 1)
    expected = [math.exp(-rate * (tau - tau_min) / span) if span else 1.0 for tau in taus]
    weights = tau_weights(np.array(taus), tau_min, tau_min + span, rate)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, expected, rtol=1e-12)


@given(tau_min=st.integers(0, 50), span=st.integers(0, 50), rate=st.floats(-700, 1e6), seed=st.integers(0, 2**32))
def test_draws_stay_in_the_range(tau_min: int, span: int, rate: float, seed: int) -> None:
    """Every draw is an int from tau_min to tau_max, also where the weights underflow."""
    tau = sample_tau(tau_min, tau_min + span, np.random.default_rng(seed), rate)
    assert type(tau) is int
    assert tau_min <= tau <= tau_min + span


def test_draws_have_the_weights() -> None:
    """Over many draws of one fixed seed each offset comes as often as its weight says (chi-squared, p > 0.001)."""
    rng = np.random.default_rng(3)
    counts = np.bincount([sample_tau(2, 6, rng, 2.0) for _ in range(20_000)], minlength=7)
    weights = tau_weights(np.arange(2, 7), 2, 6, 2.0)
    expected = 20_000 * weights / weights.sum()
    assert counts[:2].sum() == 0
    assert ((counts[2:] - expected) ** 2 / expected).sum() < 18.47  # 4 degrees of freedom


def test_a_draw_depends_on_its_generator_only() -> None:
    """The same generator state gives the same offsets."""
    first, second = np.random.default_rng(7), np.random.default_rng(7)
    assert [sample_tau(1, 9, first) for _ in range(20)] == [sample_tau(1, 9, second) for _ in range(20)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [((3, 2, 2.0), "tau_min=3"), ((-1, 2, 2.0), "tau_min=-1"), ((1, 2, math.nan), "nan"), ((1, 2, -800.0), "-800")],
)
def test_impossible_draws_are_refused(arguments: tuple[int, int, float], sentence: str) -> None:
    """A reversed or negative range and a rate without a finite weight are named."""
    tau_min, tau_max, rate = arguments
    with pytest.raises(DynaclrError, match=sentence):
        tau_weights([1], tau_min, tau_max, rate)
    with pytest.raises(DynaclrError, match=sentence):
        sample_tau(tau_min, tau_max, np.random.default_rng(0), rate)


class Scripted:
    """A generator whose next number is known."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self) -> float:
        """Return the number."""
        return self.number


@pytest.mark.parametrize(
    ("number", "rate", "tau"),
    [(0.0, 0.0, 3), (0.25, 0.0, 4), (0.4999, 0.0, 4), (0.5, 0.0, 5), (0.75, 0.0, 6), (0.9, 50.0, 3), (0.9, -50.0, 6)],
)
def test_each_offset_has_its_part_of_the_unit_interval(number: float, rate: float, tau: int) -> None:
    """The lower end belongs to it, the upper one to the next; how large it is, the rate says."""
    assert sample_tau(3, 6, Scripted(number), rate) == tau  # type: ignore[arg-type]


@given(st.integers(0, 50), st.integers(0, 50), st.floats(-700, 100))
def test_the_largest_random_number_draws_an_offset(tau_min: int, more: int, rate: float) -> None:
    """No product of weights with it is beyond the last one."""
    assert tau_min <= sample_tau(tau_min, tau_min + more, Scripted(1 - 2**-53), rate) <= tau_min + more  # type: ignore[arg-type]
