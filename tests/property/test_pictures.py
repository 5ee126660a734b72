"""Pictures of failures show what a law saw, can be read, and come of every case."""

from __future__ import annotations

import dataclasses
import io
import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from witnesses import PLAIN, WITNESSES

from dynaclr_strategies import InvariantViolation, sampler_cases, two_experiments
from dynaclr_strategies.cases import DatasetCase, IndexCase
from dynaclr_strategies.codec import Plain
from dynaclr_strategies.descriptions import FovDescription, RegistryDescription, TrackDescription, WellDescription
from dynaclr_strategies.invariants.evidence import BatchEvidence, DrawsEvidence, Evidence, PatchEvidence, TracksEvidence
from dynaclr_strategies.loss_descriptions import EmbeddingsDescription, LossCase, RowDescription
from dynaclr_strategies.reproduction.attached import FailedCase, check_law, leaves
from dynaclr_strategies.reproduction.pictures import draw_picture
from dynaclr_strategies.sampler_descriptions import SamplerCase
from dynaclr_strategies.table_cases import index_cases

# No shrinking: half a second for each of a thousand tries would be minutes, and what is odd about a case can be seen.
FEW = settings(max_examples=max(6, settings().max_examples // 8), phases=[p for p in Phase if p is not Phase.shrink])
ODD = "µ-scope $5 中文 \n\t" + "exp_" * 40
NAMES = st.sampled_from(["GFP", "β-actin", "405 nm", "$x_1$", "$", "中文", "tab\there", "", "a\\$b", "W" * 200])


def draw(case: Plain, evidence: Evidence | None, *, seen: str = "this", law: str = "single-experiment") -> Figure:
    """Return the picture of a violation with this evidence."""
    problem = InvariantViolation("batch 0 of epoch 0", seen, "that", law, evidence=evidence)
    figure = draw_picture(FailedCase(law, case), problem)
    assert figure is not None
    return figure


def beyond_the_limits(axis: Any) -> list[Text]:
    """Return the labels of ticks that are not drawn."""
    drawn = {id(tick) for tick in axis._update_ticks()}
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [label for tick in ticks if id(tick) not in drawn for label in (tick.label1, tick.label2)]


def check_readable(figure: Figure) -> list[str]:
    """Check that every text is large enough, lies within the picture and covers no other; return the texts."""
    figure.savefig(io.BytesIO(), dpi=120)
    hidden = {id(text) for axis in figure.findobj(Axis) for text in beyond_the_limits(axis)}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    texts = [text for text in texts if id(text) not in hidden]
    boxes = [text.get_window_extent() for text in texts]
    page = figure.bbox
    for text, box in zip(texts, boxes, strict=True):
        assert text.get_fontsize() >= 7, text
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
        assert page.y0 <= box.y0, text
        assert box.y1 <= page.y1, text
    for one, other in itertools.combinations(range(len(texts)), 2):
        wide = min(boxes[one].x1, boxes[other].x1) - max(boxes[one].x0, boxes[other].x0)
        high = min(boxes[one].y1, boxes[other].y1) - max(boxes[one].y0, boxes[other].y0)
        assert min(wide, high) < 3, (texts[one], texts[other])
    return [text.get_text() for text in texts]


def points(figure: Figure, label: str) -> list[tuple[float, float]]:
    """Return where the marks of this name in the legend are."""
    drawn = [mark for axes in figure.axes for mark in axes.collections if isinstance(mark, PathCollection)]
    marks = [mark for mark in drawn if str(mark.get_label()).startswith(label)]
    return [(float(x), float(y)) for mark in marks for x, y in np.asarray(mark.get_offsets())]


# --- the sampler ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MixedExperiments", "BinaryLeak", "WithReplacement", "OffByOne", "ShortLastBatch"])
def test_a_batch_is_drawn_with_those_to_blame(name: str) -> None:
    """Each anchor is drawn at its HPI, those to blame are ringed, and the words of the violation stand above."""
    witness = next(one for one in WITNESSES if one.name == name)
    with pytest.raises(InvariantViolation) as caught:
        check_law(witness.law, witness.case, witness.sampler)
    ((problem, failed),) = leaves(caught.value)
    figure, evidence, table = draw_picture(failed, problem), caught.value.evidence, witness.case.frame()
    assert isinstance(figure, Figure)
    assert isinstance(evidence, BatchEvidence)
    texts = check_readable(figure)
    assert {witness.law, "where", "seen", "should be", caught.value.where} <= set(texts)
    hpi = list(table["hours_post_infection"])
    ringed = sorted(round(x) for x, _ in points(figure, "breaks the law"))
    assert ringed == sorted(round(hpi[a]) for a in {*evidence.offenders} if a < len(table))
    assert len(points(figure, "in the batch")) == len({a for a in evidence.anchors if a < len(table)})
    assert len(points(figure, "in the table")) == len(table)


def test_the_focal_window_is_shaded() -> None:
    """Where anchors lie outside the focal window, the window is there to see it."""
    witness = next(one for one in WITNESSES if one.name == "Unfocused")
    with pytest.raises(InvariantViolation) as caught:
        check_law(witness.law, witness.case, witness.sampler)
    assert "focal window: 2 ± 0.5 h" in check_readable(draw(witness.case, caught.value.evidence))


def test_repeats_and_leaks_are_told_apart() -> None:
    """A repeated anchor is numbered with how often, leaked ones have a mark of their own."""
    case = dataclasses.replace(PLAIN, options=dataclasses.replace(PLAIN.options, leaky=0.4))
    figure = draw(case, BatchEvidence((0, 0, 12, 1, 20, 22), (0, 0)))
    assert {"0 (x2)", "in the batch, primary", "in the batch, leaked"} <= set(check_readable(figure))
    assert [x for x, _ in points(figure, "in the batch, leaked")] == [0.0, 0.5]


def test_a_law_about_sequences_shows_the_table() -> None:
    """Without a batch to show, the head says so."""
    assert any("no single batch breaks this law" in text for text in check_readable(draw(PLAIN, None)))


def test_what_many_batches_draw_wrongly_is_marked_in_the_table() -> None:
    """Every anchor that is drawn too often or too rarely has its ring, and the first of many their numbers."""
    figure = draw(PLAIN, DrawsEvidence((3, 5, 8)))
    texts = check_readable(figure)
    assert any("no single batch breaks this law" in text for text in texts)
    assert any("rows 3, 5, 8 of the table" in text for text in texts)
    assert {"3", "5", "8"} <= set(texts)
    assert len(points(figure, "breaks the law (number: row of the table)")) == 3
    texts = check_readable(draw(PLAIN, DrawsEvidence(tuple(range(32)))))
    assert any("22, 23 and 8 more of the table" in " ".join(text.split()) for text in texts)


ROW = st.one_of(st.integers(-2, 40), st.integers(0, 5).map(np.int64), st.sampled_from(["row", None, 1.5]))


@FEW
@given(case=sampler_cases(), batch=st.lists(ROW, max_size=12), blamed=st.integers(0, 12), seen=NAMES)
def test_every_sampler_case_has_a_picture(case: SamplerCase, batch: list[Any], blamed: int, seen: str) -> None:
    """Whatever the table, and whatever a broken sampler yields."""
    check_readable(draw(case, BatchEvidence(tuple(batch), tuple(batch[:blamed])), seen=seen * 9))
    check_readable(draw(case, DrawsEvidence(tuple(range(case.table.size))[:: 1 + blamed]), seen=seen * 9))


def test_odd_names_and_novels_can_be_read() -> None:
    """Long names are shortened, endless messages too, and signs without a glyph are spelled out."""
    (first, second, *others), options = PLAIN.table.strata, dataclasses.replace(PLAIN.options, batch_size=30)
    first = dataclasses.replace(first, experiment=ODD, condition="x" * 300)
    strata = (first, dataclasses.replace(second, condition="中文"), *others)
    case = SamplerCase(table=dataclasses.replace(PLAIN.table, strata=strata), options=options)
    texts = check_readable(draw(case, BatchEvidence(tuple(range(30)), tuple(range(3))), seen=f"{list(range(999))}"))
    assert any("all of it is in README.md" in text for text in texts)
    assert any("\\u4e2d\\u6587" in text for text in texts)
    assert any("µ-scope" in text and "…" in text for text in texts)


# --- lineages ---------------------------------------------------------------------------------------------------------

T = TrackDescription
FAMILY = (
    T(track_id=1, frames=(0, 1, 3)),
    T(track_id=2, frames=(4, 5), parent=1),
    T(track_id=4, frames=(6,), parent=2),
    T(track_id=3, frames=(4, 5, 6), parent=1),
)


def movie(*tracks: TrackDescription) -> IndexCase:
    """Return two experiments, of which the first has one field of view with these tracks."""
    registry = two_experiments(tracks=3, size=(8, 8), start_hpi=(2.0, 10.0))
    fov = FovDescription(name="0", frames=7, tracks=tracks)
    first = dataclasses.replace(registry.experiments[0], wells=(WellDescription(name="A/1", fovs=(fov,)),))
    return IndexCase(registry=dataclasses.replace(registry, experiments=(first, registry.experiments[1])))


@pytest.mark.parametrize("wrap", [lambda case: case, lambda case: DatasetCase(index=case)])
def test_a_tree_shows_anchor_seen_and_expected(wrap: Any) -> None:
    """Tracks lie in the order of descent; the marks are at their tracks and frames."""
    evidence = TracksEvidence("exp_alpha", "A/1/0", (1, 3), ((2, 4), (9, 5)), ((2, 4), (3, 4)))
    figure = draw(wrap(movie(*FAMILY)), evidence)
    texts = check_readable(figure)
    lanes = ["track 1", "track 2, from 1", "track 4, from 2", "track 3, from 1", "track 9: not in this field of view"]
    assert [text for text in texts if text.startswith("track")] == lanes
    assert points(figure, "anchor") == [(3.0, 0.0)]
    assert points(figure, "seen") == [(4.0, 1.0), (5.0, 4.0)]
    assert points(figure, "should be") == [(4.0, 1.0), (4.0, 3.0)]
    assert "0.5 to 2 h after the anchor" in texts
    dotted = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [list(line.get_xdata()) for line in dotted] == [[1.0, 3.0]]


def test_odd_lineages_have_a_picture() -> None:
    """Circles of parents, parents that are missing or come later, tracks without frames, fields of view that are not.

    Of a crowd, the family in question is shown.
    """
    circle = (T(track_id=1, frames=(0,), parent=2), T(track_id=2, frames=(0, 9), parent=1))
    odd = (T(track_id=3, frames=(), parent=99), T(track_id=4, frames=(5,)), T(track_id=5, frames=(1,), parent=4))
    crowd = tuple(T(track_id=i, frames=(0, 1), parent=i - 1 if i % 5 else None) for i in range(90))
    here = TracksEvidence("exp_alpha", "A/1/0", (2, 0), ((-3, -1),))
    check_readable(draw(movie(*circle, *odd), here))
    check_readable(draw(movie(), here))
    check_readable(draw(movie(), TracksEvidence("nobody", "Z/9/9")))
    texts = check_readable(draw(movie(*crowd), TracksEvidence("exp_alpha", "A/1/0", (53, 0), ((54, 1),))))
    assert [text for text in texts if text.startswith("track 5")][-1] == "track 54, from 53"
    assert any("85 tracks of other lineages" in text for text in texts)
    check_readable(draw(movie(*crowd), None))


@FEW
@given(case=index_cases(), data=st.data())
def test_every_registry_has_a_picture(case: IndexCase, data: st.DataObject) -> None:
    """Its lineages, or those of one field of view with any marks."""
    cell = st.tuples(st.integers(-1, 5), st.integers(-1, 5))
    experiment = data.draw(st.sampled_from(case.registry.experiments))
    fov_name = data.draw(st.sampled_from([*dict(experiment.fovs()), "Z/1/0"]))
    cells = data.draw(st.lists(cell, max_size=3).map(tuple))
    anchor = data.draw(st.none() | cell)
    tree = TracksEvidence(experiment.name, fov_name, anchor, cells, cells[:1])
    check_readable(draw(case, data.draw(st.sampled_from([None, tree]))))


def test_a_registry_without_experiments_has_none() -> None:
    """There is nothing to draw."""
    failed = FailedCase("single-experiment", IndexCase(registry=RegistryDescription(experiments=())))
    assert draw_picture(failed, ValueError("no experiments")) is None


# --- pixels -----------------------------------------------------------------------------------------------------------


def patches(seen: Any, expected: Any, *channels: str) -> Figure:
    """Draw what was read beside what should have been."""
    return draw(IndexCase(registry=two_experiments()), PatchEvidence(np.asarray(seen), np.asarray(expected), channels))


def test_patches_show_where_they_differ() -> None:
    """Three panels per channel, the first two on one scale, the third of the pixels that differ."""
    seen = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)
    expected = seen.copy()
    expected[1, 1, 2, 3] = 7
    figure = patches(seen, expected, "Phase3D", "GFP $ β")
    texts = check_readable(figure)
    assert {"channel 0: Phase3D", r"channel 1: GFP \$ β", "1 of 60 pixels differ", "0 of 60 pixels differ"} <= set(
        texts
    )
    images = [axes.images[0] for axes in figure.axes]
    assert [image.get_clim() for image in images[:2]] == [(0, 59), (0, 59)]
    assert np.argwhere(np.asarray(images[5].get_array())).tolist() == [[2, 3]]


def test_the_plane_that_differs_is_shown() -> None:
    """The middle one, unless it is as it should be."""
    seen = np.zeros((1, 5, 3, 3))
    expected = seen.copy()
    expected[0, 4, 0, 0] = 1.0
    assert "plane 4 of 0 to 4" in check_readable(patches(seen, expected, "Phase3D"))
    assert "plane 2 of 0 to 4" in check_readable(patches(seen, seen, "Phase3D"))


SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=5).map(tuple)
FILLINGS = st.sampled_from([0.0, 1.5, -1e-300, 1e300, float("nan"), float("inf"), True, "text"])


@FEW
@given(
    shapes=st.tuples(SHAPES, SHAPES) | SHAPES.map(lambda shape: (shape, shape)),
    filling=st.tuples(FILLINGS, FILLINGS),
    names=st.lists(NAMES, max_size=4),
)
def test_every_pair_of_patches_has_a_picture(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], filling: tuple[Any, Any], names: list[str]
) -> None:
    """Whatever was read: other shapes, nothing at all, numbers that are none."""
    seen, expected = (np.full(shape, value) for shape, value in zip(shapes, filling, strict=True))
    check_readable(patches(seen, expected, *names))


# --- embeddings -------------------------------------------------------------------------------------------------------


def test_similarities_are_drawn_by_label() -> None:
    """Cosines from -1 to 1, and nothing where a vector has no direction."""
    rows = (((1, 0), 0), ((3, 0), 1), ((-1, 0), 0), ((0, 0), 1))
    described = tuple(RowDescription(entries=entries, label=label) for entries, label in rows)
    figure = draw(LossCase(embeddings=EmbeddingsDescription(rows=described)), None)
    texts = check_readable(figure)
    assert (texts.count("1.00"), texts.count("-1.00"), texts.count("nan")) == (6, 4, 0)


@pytest.mark.parametrize("count", [13, 100])
def test_every_batch_of_embeddings_has_a_picture(count: int) -> None:
    """Of many, the first ones; large labels and lengths far from 1 can be read as well."""
    rows = tuple(RowDescription(entries=(i % 7 - 3, 1), label=10**9 + i // 2, exponent=900) for i in range(count))
    check_readable(draw(LossCase(embeddings=EmbeddingsDescription(rows=rows)), None))


def test_no_embeddings_no_picture() -> None:
    """There is nothing to draw."""
    failed = FailedCase("single-experiment", LossCase(embeddings=EmbeddingsDescription(rows=())))
    assert draw_picture(failed, ValueError("empty")) is None


# --- surroundings -----------------------------------------------------------------------------------------------------


def test_what_was_raised_is_said() -> None:
    """A crash of the code under test has a picture too."""
    figure = draw_picture(FailedCase("single-experiment", PLAIN), ZeroDivisionError("division by zero"))
    assert figure is not None
    assert "ZeroDivisionError: division by zero" in check_readable(figure)


def test_pictures_leave_the_users_plots_alone() -> None:
    """No pyplot, which opens windows; nothing of pytest and Hypothesis; matplotlib only once something is drawn."""
    code = """
import sys
from dynaclr_strategies.reproduction.attached import FailedCase
from dynaclr_strategies.reproduction.pictures import draw_picture
from dynaclr_strategies.sampler_descriptions import *
assert "matplotlib" not in sys.modules
import matplotlib
matplotlib.rcParams["font.size"] = 31
stratum = StratumDescription(experiment="a", condition="c", hpi=(0.0,))
case = SamplerCase(table=TableDescription(strata=(stratum,)), options=SamplerOptions(batch_size=1))
draw_picture(FailedCase("single-experiment", case), ValueError("x")).savefig("/dev/null", format="png")
assert matplotlib.rcParams["font.size"] == 31
print(sorted({"matplotlib.pyplot", "pytest"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.stdout.strip(), ran.returncode) == ("[]", 0), ran.stderr
