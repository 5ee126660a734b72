"""Tracking tables: one CSV per FOV becomes a checked frame, or one sentence that names the file and the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from dynaclr.errors import TracksError, did_you_mean
from dynaclr.lineage import FOUNDER, IntArray, find_sorted, run_starts, tracks_on_cycles
from dynaclr.wording import listed

REQUIRED_COLUMNS = ("track_id", "t", "y", "x")
"""The columns that every tracking table needs; ``z``, ``id``, ``parent_track_id`` and ``parent_id`` are optional."""

_EXACT_IN_FLOAT = 2.0**53

_ZERO_WAY_OUT = "if 0 means 'no parent' in this file, set `founder_parent: 0` for the experiment"

# How trackers and people call the column that we read as `parent_track_id`.
_PARENT_COLUMNS = ("parent_track_id", "parent_track", "parent_id", "parent")

BoolArray = npt.NDArray[np.bool_]


class CheckedTracks(NamedTuple):
    """A tracking table that keeps its promises.

    Attributes
    ----------
    frame
        Sorted by ``track_id`` and ``t`` and indexed from 0: ``track_id``, ``t``, ``parent_track_id`` (int64, the last
        ``-1`` for founders and the same on all rows of a track), ``y``, ``x`` (float64), and whatever else the table
        brought, untouched.
    impossible_parents
        How many tracks became founders because their parent does not start before them.
    unread_parents
        A column that nobody read but that may have been meant to tell the parents, where none told them; else None.
    impossible_zeros
        How many of the impossible parents are 0, which in some files means 'no parent'.
    """

    frame: pd.DataFrame
    impossible_parents: int
    unread_parents: str | None = None
    impossible_zeros: int = 0


def find_tracks_csv(tracks_path: Path, fov_name: str) -> Path | None:
    """Return the only CSV of a FOV, ``<tracks_path>/<row>/<col>/<fov>/*.csv``, or ``None`` where there is none.

    Capitals do not matter (``.CSV``). Names that begin with a dot or with ``~$`` are left alone: file managers and
    spreadsheets leave such copies (``._tracks.csv``) and locks beside a file.

    Raises
    ------
    TracksError
        If there are several.
    """
    folder = tracks_path / fov_name
    found = sorted(path for path in folder.glob("*.[cC][sS][vV]") if not path.name.startswith((".", "~$")))
    if len(found) > 1:
        names = listed((path.name for path in found), str)
        raise TracksError(f"{folder} needs exactly one CSV, got {len(found)}: {names}")
    return found[0] if found else None


def read_tracks(
    path: Path,
    *,
    num_frames: int,
    founder_parent: int | None = None,
    impossible_parents: Literal["error", "founder"] = "error",
) -> CheckedTracks:
    """Read one FOV's CSV and check it; parameters and errors as in `check_tracks`.

    Rows are named by their line in the file, as editors and spreadsheets count: the header is row 1. Empty lines
    behind it are skipped, and counted.
    """
    try:
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, skip_blank_lines=False).iloc[0]
        _check_separator(path, str(header.iloc[0]))
        # Types are inferred from whole columns, and empty lines are kept for the sake of the row numbers.
        frame = pd.read_csv(path, low_memory=False, skip_blank_lines=False)
    except UnicodeDecodeError as error:
        raise TracksError(f"{path} needs to be a CSV in UTF-8, but is in another encoding") from error
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = " ".join(str(error).split())
        raise TracksError(f"{path} needs to be a CSV with a header, but cannot be read: {reason}") from error
    _Reporter(path).repeated_columns(header.dropna())  # pandas gives a second column of one name another name
    if not isinstance(frame.index, pd.RangeIndex):
        raise TracksError(f"{path} has more values in a row than the {frame.shape[1]} columns of its header")
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    if len(frame) and frame.iloc[:, 0].isna().any():
        frame = frame.dropna(how="all")
    return check_tracks(
        frame, source=path, num_frames=num_frames, founder_parent=founder_parent, impossible_parents=impossible_parents
    )


def _check_separator(path: Path, first: str) -> None:
    """Refuse what spreadsheets write in place of commas, before pandas finds something else wrong with it."""
    if first.lower().startswith("sep="):
        raise TracksError(f"{path} needs to begin with its header, but has the spreadsheet's line {first!r} before it")
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if first.count(mark) >= len(REQUIRED_COLUMNS) - 1:
            raise TracksError(
                f"{path} needs commas between its columns and points in its numbers, but its header has {name}, "
                f"{first!r}"
            )


def check_tracks(
    frame: pd.DataFrame,
    *,
    source: Path | str,
    num_frames: int,
    founder_parent: int | None = None,
    impossible_parents: Literal["error", "founder"] = "error",
) -> CheckedTracks:
    """Check the tracking table of one FOV and settle whose daughter each track is.

    A track's parent is what ``parent_track_id`` says. Without that column it is the track of the row whose ``id`` is
    the ``parent_id`` of the track's first row (a file that has only one of these two says nothing about lineage).
    Where ``parent_track_id`` exists, ``id`` and ``parent_id`` are passed through and not consulted.

    A parent that is missing, NaN, negative, the track itself or not in the FOV means a founder; so does 0 where the
    FOV has no track 0. Where some rows of a track have an empty ``parent_track_id``, the others tell the parent.

    Parameters
    ----------
    frame
        The table; it is not changed. Errors name its rows by its index.
    source
        What errors call the table, usually its file.
    num_frames
        Length of the movie: ``t`` lies in ``[0, num_frames)``.
    founder_parent
        A parent of this value means a founder, also where the FOV has such a track.
    impossible_parents
        Whether a parent that does not start before its daughter is an error or makes the daughter a founder. Parents
        in a circle are an error either way.

    Raises
    ------
    TracksError
        If a required column is missing, or a column is there twice; ``track_id`` or ``t`` is not a whole number,
        negative, or beyond the movie; ``y`` or ``x`` is not a finite number; a track has two rows in one frame or two
        parents; parents go in a circle; or a parent does not start before its daughter.
    """
    report = _Reporter(source)
    report.repeated_columns(frame.columns)
    report.missing_columns(frame)
    track_id = _whole_numbers(frame, "track_id", report)
    t = _whole_numbers(frame, "t", report)
    y, x = (_finite_numbers(frame, name, report) for name in ("y", "x"))
    rows = frame.index.to_numpy()
    needs = f"t needs to lie in the movie's {num_frames} frames, 0 to {num_frames - 1}"
    hint = " (does t begin with 1?)" if t.size and (t.min(), t.max()) == (1, num_frames) else ""
    report.where((t < 0) | (t >= num_frames), rows, t, needs + hint)
    report.where(track_id < 0, rows, track_id, "track_id needs to be 0 or larger")

    order = np.lexsort((t, track_id))
    frame = frame.iloc[order]
    track_id, t, y, x, rows = track_id[order], t[order], y[order], x[order], rows[order]
    is_first = run_starts(track_id)
    twice = ~run_starts(track_id, t)
    if twice.any():
        first = np.flatnonzero(twice)[0]
        same = (track_id == track_id[first]) & (t == t[first])
        others = np.count_nonzero(twice & ~same)
        more = f" (so have others: {others} rows too many)" if others else ""
        report.fail(f"track {track_id[first]} has {same.sum()} rows in frame {t[first]}{more}", rows[same])

    tracks = _Tracks(track_id[is_first], t[is_first], np.cumsum(is_first) - 1, is_first, rows)
    parent, impossible, zeros = _settle_parents(frame, tracks, founder_parent, impossible_parents, report)
    parent_id = np.where(parent >= 0, tracks.ids[parent], FOUNDER) if parent.size else parent
    ours = {"track_id": track_id, "t": t, "y": y, "x": x, "parent_track_id": parent_id[tracks.of_row]}
    theirs = {str(name): frame[name].array for name in frame.columns if name not in ours}
    return CheckedTracks(pd.DataFrame(ours | theirs), impossible, _unread_parents(frame), zeros)


def _unread_parents(frame: pd.DataFrame) -> str | None:
    """Return the column that looks like a misspelt one of the parents, if no column tells them."""
    if "parent_track_id" in frame or {"id", "parent_id"} <= set(frame):
        return None
    others = [name for name in map(str, frame.columns) if name not in REQUIRED_COLUMNS]
    likely = [name for name in others if get_close_matches(_plainly(name), _PARENT_COLUMNS, n=1, cutoff=0.85)]
    return likely[0] if likely else None


def _plainly(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


class _Tracks(NamedTuple):
    """The tracks of one FOV, in ascending order of their ids, and the sorted rows they come from."""

    ids: IntArray
    start: IntArray
    of_row: IntArray
    is_first: BoolArray
    rows: npt.NDArray[Any]


class _Parents(NamedTuple):
    """What the rows say about parents: the column it is from, the values, and the tracks (or ``FOUNDER``) they mean."""

    column: str
    values: IntArray
    track: IntArray


def _settle_parents(
    frame: pd.DataFrame,
    tracks: _Tracks,
    founder_parent: int | None,
    impossible_parents: Literal["error", "founder"],
    report: _Reporter,
) -> tuple[IntArray, int, int]:
    """Return the parent of each track, how many were impossible, and how many of these are 0."""
    if "parent_track_id" in frame:
        stated = _parents_by_track(frame, tracks, founder_parent, report)
    elif "parent_id" in frame and "id" in frame:
        stated = _parents_by_row(frame, tracks, founder_parent, report)
    else:
        return np.full(tracks.ids.size, FOUNDER, np.int64), 0, 0
    parent = stated.track[tracks.is_first]
    is_impossible = (parent >= 0) & (tracks.start[parent] >= tracks.start) if parent.size else parent >= 0
    is_zero = is_impossible & (stated.values[tracks.is_first] == 0)
    circle = tracks_on_cycles(parent)
    if circle.size:
        _refuse_circle(stated, parent, circle, circle[is_zero[circle]], tracks, report)
    if is_impossible.any() and impossible_parents == "error":
        _refuse_impossible(stated, parent, is_impossible, is_zero, tracks, report)
    return np.where(is_impossible, FOUNDER, parent), int(is_impossible.sum()), int(is_zero.sum())


def _parents_by_track(frame: pd.DataFrame, tracks: _Tracks, founder_parent: int | None, report: _Reporter) -> _Parents:
    values = _whole_numbers(frame, "parent_track_id", report, missing=FOUNDER)
    values = _filled_within(values, frame["parent_track_id"].notna().to_numpy(), tracks)
    found, is_known = find_sorted(tracks.ids, values)
    is_known &= (values >= 0) & (found != tracks.of_row)
    if founder_parent is not None:
        is_known &= values != founder_parent
    track = np.where(is_known, found, FOUNDER)
    first = track[tracks.is_first][tracks.of_row]
    if (differs := track != first).any():
        one = tracks.of_row[differs][0]
        of_one = tracks.of_row == one
        report.fail(
            f"parent_track_id needs to be the same in all rows of a track, but track {tracks.ids[one]} has "
            f"{listed(np.unique(values[of_one]), str)}",
            tracks.rows[of_one & (differs | tracks.is_first)],
        )
    return _Parents("parent_track_id", values, track)


def _filled_within(values: IntArray, is_given: BoolArray, tracks: _Tracks) -> IntArray:
    """Return the values with those that are not given replaced by the track's first that is, if there is one."""
    if is_given.all():
        return values
    places = np.where(is_given, np.arange(values.size), values.size)
    first = np.minimum.reduceat(places, np.flatnonzero(tracks.is_first))[tracks.of_row]
    filled: IntArray = np.append(values, FOUNDER)[np.where(is_given, places, first)]
    return filled


def _parents_by_row(frame: pd.DataFrame, tracks: _Tracks, founder_parent: int | None, report: _Reporter) -> _Parents:
    row_ids = _whole_numbers(frame, "id", report)
    values = _whole_numbers(frame, "parent_id", report, missing=FOUNDER)
    by_id = np.argsort(row_ids, kind="stable")
    twice = ~run_starts(row_ids[by_id])
    report.where(twice, tracks.rows[by_id], row_ids[by_id], "id needs to name one row each")
    found, is_known = find_sorted(row_ids[by_id], values)
    track = tracks.of_row[by_id][found]
    is_known &= (values >= 0) & (track != tracks.of_row)
    if founder_parent is not None:
        is_known &= values != founder_parent
    late = is_known & ~tracks.is_first
    if late.any():
        is_zero = late & (values == 0)
        shown, way_out = (is_zero, f"; {_ZERO_WAY_OUT}") if is_zero.any() else (late, "")
        report.fail(
            f"parent_id needs to name a row of another track in a track's first row only, but track "
            f"{tracks.ids[tracks.of_row[shown][0]]} has {values[shown][0]} later{way_out}",
            tracks.rows[shown],
        )
    return _Parents("parent_id", values, np.where(is_known, track, FOUNDER))


def _refuse_circle(
    stated: _Parents, parent: IntArray, circle: IntArray, zeros: IntArray, tracks: _Tracks, report: _Reporter
) -> NoReturn:
    """Raise the error for parents in a circle; where it goes through a 0 that cannot be real, that is the way out."""
    sentence = f"{stated.column} goes in a circle: tracks {listed(tracks.ids[circle], str)} are their own ancestors"
    if zeros.size:
        sentence = f"{sentence}: {_why_impossible(stated, parent, zeros[0], tracks)}; {_ZERO_WAY_OUT}"
    report.fail(sentence, tracks.rows[tracks.is_first][circle])


def _refuse_impossible(
    stated: _Parents, parent: IntArray, is_impossible: BoolArray, is_zero: BoolArray, tracks: _Tracks, report: _Reporter
) -> NoReturn:
    """Raise the error for parents that do not start before their daughters; 0 has its own way out."""
    shown = np.flatnonzero(is_zero if is_zero.any() else is_impossible)
    way_out = (
        _ZERO_WAY_OUT if is_zero.any() else "correct the file, or set `impossible_parents: founder` for the experiment"
    )
    report.fail(f"{_why_impossible(stated, parent, shown[0], tracks)}; {way_out}", tracks.rows[tracks.is_first][shown])


def _why_impossible(stated: _Parents, parent: IntArray, daughter: np.int64, tracks: _Tracks) -> str:
    mother = parent[daughter]
    return (
        f"{stated.column} {stated.values[tracks.is_first][daughter]} of track {tracks.ids[daughter]} means track "
        f"{tracks.ids[mother]}, which starts at t={tracks.start[mother]} and so not before its daughter at "
        f"t={tracks.start[daughter]}"
    )


def _whole_numbers(frame: pd.DataFrame, name: str, report: _Reporter, missing: int | None = None) -> IntArray:
    """Return a column as int64; empty cells become ``missing``, or are an error where that is ``None``."""
    column = frame[name]
    if column.dtype.kind == "i" and isinstance(column.dtype, np.dtype):
        return column.to_numpy(np.int64)
    numbers = _numbers(frame, name, report, allow_missing=missing is not None)
    filled = np.nan_to_num(numbers, nan=0.0 if missing is None else missing, posinf=np.inf, neginf=-np.inf)
    rows, shown = frame.index.to_numpy(), column.to_numpy()
    # Beyond 2**53 a float has skipped some whole numbers: two tracks could have become one.
    is_whole = (np.abs(filled) < _EXACT_IN_FLOAT) & (filled == np.floor(filled))
    report.where(~is_whole, rows, shown, f"{name} needs to be a whole number of less than 2**53")
    return filled.astype(np.int64)


def _finite_numbers(frame: pd.DataFrame, name: str, report: _Reporter) -> npt.NDArray[np.float64]:
    if frame[name].dtype == np.float64 and np.isfinite(values := frame[name].to_numpy(np.float64)).all():
        return values
    numbers = _numbers(frame, name, report, allow_missing=False)
    report.where(~np.isfinite(numbers), frame.index.to_numpy(), numbers, f"{name} needs to be a finite number")
    return numbers


def _numbers(frame: pd.DataFrame, name: str, report: _Reporter, *, allow_missing: bool) -> npt.NDArray[np.float64]:
    """Return a column as float64, empty cells as NaN; text and truth values are errors."""
    column = frame[name]
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    is_empty = column.isna().to_numpy()
    is_text = np.isnan(numbers) & ~is_empty if column.dtype.kind != "b" else ~is_empty
    rows = frame.index.to_numpy()
    report.where(is_text, rows, column.to_numpy(), f"{name} needs to be a number")
    if not allow_missing:
        report.where(is_empty, rows, column.to_numpy(), f"{name} needs a value in every row")
    return numbers


class _Reporter:
    """Raises errors that name the table and its rows."""

    def __init__(self, source: Path | str) -> None:
        self.source = source

    def repeated_columns(self, names: Iterable[Hashable]) -> None:
        """Raise if a name is there twice, since only one of the columns could be read."""
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise TracksError(f"{self.source} needs each column once, but has {listed(twice)} more than once")

    def missing_columns(self, frame: pd.DataFrame) -> None:
        """Raise if a required column is missing; suggest what the table may call it."""
        missing = [name for name in REQUIRED_COLUMNS if name not in frame]
        if missing:
            others = [name for name in frame.columns if name not in REQUIRED_COLUMNS]
            raise TracksError(
                f"{self.source} lacks the columns {missing}, got {list(map(str, frame.columns))}; every tracking table "
                f"needs {list(REQUIRED_COLUMNS)}{did_you_mean(missing[0], others)}"
            )

    def where(self, is_wrong: BoolArray, rows: npt.NDArray[Any], values: Any, needs: str) -> None:
        """Raise if some rows are wrong, showing the first values."""
        if is_wrong.any():
            self.fail(f"{needs}, got {listed(pd.unique(values[is_wrong]), _plain)}", rows[is_wrong])

    def fail(self, sentence: str, rows: npt.NDArray[Any]) -> NoReturn:
        """Raise the sentence with the rows."""
        word = "row" if len(rows) == 1 else "rows"
        raise TracksError(f"{self.source}: {sentence} ({word} {listed(np.sort(rows), str)})")


def _plain(value: Hashable) -> str:
    """Show a cell as the file has it: numbers without NumPy's type names, text in quotes."""
    return repr(value) if isinstance(value, str) else str(value)
