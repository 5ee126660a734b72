"""The axes of the cascade on their own: windows against trying every value, shares, and their sentences."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynaclr.cascade.axes import ConditionAxis, ExperimentAxis, LeakAxis, TimeAxis, as_columns
from dynaclr.errors import DynaclrError

# Steps of movies in hours, whose multiples are no floats: in floating point, a value one window away may lie on either
# side of its end.
STEPS = (0.1, 1 / 3, 7 / 60, 0.5, 29.97 / 60)


def sorted_by_text(labels: set[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return labels in some order that does not depend on their types."""
    return sorted(labels, key=repr)


@given(
    step=st.sampled_from(STEPS),
    frames=st.sets(st.integers(-40, 200), min_size=1, max_size=40),
    width=st.integers(0, 12),
    start=st.sampled_from([0.0, 2.0, -4.1, 7.5, 24.0, 1000.3]),
)
@example(step=0.1, frames=set(range(60)), width=3, start=0.0)
@example(step=0.1, frames=set(range(-60, 60)), width=1, start=0.0)
@example(step=7 / 60, frames=set(range(-30, 90)), width=7, start=2.0)
def test_windows_hold_what_lies_within(step: float, frames: set[int], width: int, start: float) -> None:
    """Around every focal HPI: the frames no more than so many away, whatever rounding makes of their hours."""
    ascending = sorted(frames)
    low, high = TimeAxis(window_hours=width * step).windows(np.array([start + frame * step for frame in ascending]))
    for place, focal in enumerate(ascending):
        inside = [at for at, frame in enumerate(ascending) if abs(frame - focal) <= width]
        assert list(range(low[place], high[place])) == inside


@given(step=st.sampled_from([0.1, 0.7, 1.1]), width=st.integers(1, 12))
def test_windows_are_as_wide_in_single_precision(step: float, width: int) -> None:
    """A float32 means the decimal number that it prints."""
    window = np.float32(round(width * step, 1))
    assert TimeAxis(window_hours=window).window_hours == round(width * step, 1)


def test_windows_do_tell_times_apart() -> None:
    """What differs by more than rounding is no closer for it: a microsecond beyond the window is beyond it."""
    low, high = TimeAxis(window_hours=1.0).windows(np.array([24.0, 25.0 + 1 / 3.6e9]))
    assert (low.tolist(), high.tolist()) == ([0, 1], [1, 2])


@given(parts=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any), count=st.integers(0, 50))
def test_quotas_are_shares_of_the_ratio(parts: list[int], count: int) -> None:
    """Each condition gets the floor or the ceiling of its exact share; without a ratio all shares are equal."""
    names = "abcde"[: len(parts)]
    for ratio, wanted in ((dict(zip(names, parts, strict=True)), parts), (None, [1] * len(parts))):
        quotas = ConditionAxis(ratio=ratio).quotas(names, count, "g").counts(np.array([0, 2**63], np.uint64))
        assert quotas.sum(axis=1).tolist() == [count, count]
        for column, part in zip(quotas.T, wanted, strict=True):
            share = Fraction(count * part, sum(wanted))
            assert all(share - 1 < quota < share + 1 for quota in column.tolist())


def test_shares_of_experiments() -> None:
    """By size, by weight, and 0 for one that no weight names."""
    sizes = np.array([1, 3])
    assert ExperimentAxis().fractions(("a", "b"), sizes) == [Fraction(1, 4), Fraction(3, 4)]
    weighted = ExperimentAxis(weights={"a": 0.1, "b": 0.3})
    assert weighted.fractions(("a", "b"), sizes) == [Fraction(1, 4), Fraction(3, 4)]
    assert ExperimentAxis(weights={"b": 2.0}).fractions(("a", "b"), sizes) == [0, 1]
    assert ExperimentAxis((), {"b": 2.0}).fractions(("a", "b"), sizes) == [Fraction(1, 4), Fraction(3, 4)]


_PARTS = st.sampled_from(["a", "b", "a/b", "", 0.5, 2])


@given(st.sets(st.tuples(_PARTS, _PARTS), min_size=1, max_size=8).map(sorted_by_text), st.data())
def test_labels_of_several_columns_may_be_written_as_text(labels: list[tuple[Any, Any]], data: st.DataObject) -> None:
    """YAML has no tuples for keys: "a/0.5" is ("a", 0.5) if it is no other label as well."""
    numbers = {label: data.draw(st.integers(1, 9)) for label in labels}
    written = {f"{first}/{second}": number for (first, second), number in numbers.items()}
    sizes, axis = np.ones(len(labels), np.int64), ExperimentAxis(("e", "o"), written)
    if len(written) < len(labels):
        with pytest.raises(DynaclrError, match="needs to mean one label once, but means"):
            axis.fractions(labels, sizes)
        return
    assert axis.fractions(labels, sizes) == ExperimentAxis(("e", "o"), numbers).fractions(labels, sizes)
    assert ConditionAxis(("c", "m"), written).of_table(labels).ratio == numbers
    twice = {**written, labels[0]: 1}
    with pytest.raises(DynaclrError, match="needs to mean one label once, but means"):
        ConditionAxis(("c", "m"), twice).of_table(labels)


def test_a_text_that_means_two_labels_names_them() -> None:
    """So that one can write them apart."""
    sentence = r"names 'a/b/c', which needs to mean one label once, but means \('a', 'b/c'\) and \('a/b', 'c'\)$"
    with pytest.raises(DynaclrError, match=sentence):
        ConditionAxis(("c", "m"), {"a/b/c": 1}).of_table([("a", "b/c"), ("a/b", "c")])


def test_numbers_may_be_written_as_text() -> None:
    """A mapping from a YAML file has texts for keys."""
    assert ConditionAxis(("moi",), {"0.5": 1, "5.0": 2}).of_table((0.5, 5.0)).ratio == {0.5: 1, 5.0: 2}


@pytest.mark.parametrize(("value", "columns"), [("a", ("a",)), (["a", "b"], ("a", "b")), (iter("ab"), ("a", "b"))])
def test_columns(value: Any, columns: tuple[str, ...]) -> None:
    """A name or several."""
    assert as_columns(value, "group_by") == columns


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0, 1])
def test_boundaries_are_allowed(fraction: float) -> None:
    """All anchors focal, none of them, and a window of no width."""
    axis = TimeAxis(0, fraction)
    assert axis.focal_count(7) == 7 * (1 - fraction)


SENTENCES: list[tuple[Callable[[], Any], str]] = [
    *(
        (
            lambda value=value: as_columns(value, "p"),
            f"p={value!r} needs the name of a column, or several different names",
        )
        for value in ([], "", ["a", ""], ["a", 1], [1], ["a", "a"], 5)
    ),
    (lambda: ExperimentAxis(weights=3), "experiment_weights=3 needs a mapping from label to number"),  # type: ignore[arg-type]
    (
        lambda: ExperimentAxis(weights={"a": -1.0}),
        "experiment_weights['a']=-1.0 needs a finite number that is not negative",
    ),
    (lambda: ExperimentAxis(weights={"a": 0}), "experiment_weights={'a': 0} needs at least one number above 0"),
    (
        lambda: ExperimentAxis(weights={"expa": 1}).fractions(("exp_a", "b"), np.array([1, 1])),
        "experiment_weights names 'expa', which no anchor has; did you mean 'exp_a'?; they have 'exp_a', 'b'",
    ),
    (lambda: ConditionAxis(ratio=3), "condition_ratio=3 needs a mapping from label to number"),  # type: ignore[arg-type]
    (
        lambda: ConditionAxis(ratio={"x": 1}).of_table(("a", "b")),
        "condition_ratio names 'x', which no anchor has; they have 'a', 'b'",
    ),
    (
        lambda: ConditionAxis(("c", "m"), {"a/1": 1}).of_table((("a", 0), ("b", 0))),
        "condition_ratio names 'a/1', which no anchor has; did you mean 'a/0'?; they have 'a/0', 'b/0'",
    ),
    (
        lambda: ConditionAxis(("c", "m"), {"a/0": 1}).of_table((("a", 0), ("b", 0))),
        (
            "condition_ratio={'a/0': 1} leaves out 'b/0', but needs a number for every condition of the table "
            "(0 for one that is not to be drawn)"
        ),
    ),
    (
        lambda: ConditionAxis(ratio={"a": 1}).of_table(("a", "b", "c")),
        (
            "condition_ratio={'a': 1} leaves out 'b', 'c', but needs a number for every condition of the table "
            "(0 for one that is not to be drawn)"
        ),
    ),
    (
        lambda: ConditionAxis(ratio={"a": 0, "b": 0, "c": 1}).quotas(("a", "b"), 4, "g"),
        (
            "condition_ratio={'a': 0, 'b': 0, 'c': 1} gives 0 to every condition of experiment 'g'; "
            "one of 'a', 'b' needs a number above 0, or the experiment the weight 0"
        ),
    ),
    *(
        (lambda value=value: LeakAxis(value), f"leaky={value!r} needs a number in [0, 1)")
        for value in (1.0, -0.1, "0", float("nan"), True)
    ),
    *(
        (
            lambda value=value: TimeAxis(window_hours=value),
            f"temporal_window_hours={value!r} needs a finite number of hours that is not negative",
        )
        for value in (-1.0, "2", float("inf"), float("nan"), False, 10**400)
    ),
    *(
        (
            lambda value=value: TimeAxis(global_fraction=value),
            f"temporal_global_fraction={value!r} needs a number in [0, 1]",
        )
        for value in (-0.1, 1.1, "0", float("nan"), True)
    ),
]


@pytest.mark.parametrize(("make", "sentence"), SENTENCES, ids=[sentence[:60] for _, sentence in SENTENCES])
def test_sentences(make: Callable[[], Any], sentence: str) -> None:
    """Each mistake has its sentence, word for word."""
    with pytest.raises(DynaclrError, match=f"^{re.escape(sentence)}$"):
        make()
