"""What a tracking table means, against a reading of it row by row; and the sentence for each way to be wrong."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.errors import TracksError
from dynaclr.tracks import CheckedTracks, check_tracks, find_tracks_csv, read_tracks

FRAMES = 8

Rows = list[dict[str, Any]]

# --- strategies and oracle ---------------------------------------------------------------------------------


@st.composite
def track_tables(draw: st.DrawFn) -> Rows:
    """Rows of one FOV's valid table: daughters start after their mother, and every way to write 'no parent' occurs.

    Track 0 never exists, so that 0 means 'no parent'. Shrinks to an empty table.
    """
    ids = draw(st.lists(st.integers(1, 9), unique=True, max_size=6))
    frames = [draw(st.sets(st.integers(0, FRAMES - 1), min_size=1)) for _ in ids]
    rows = []
    for track_id, seen in zip(ids, frames, strict=True):
        older = [i for i, other in zip(ids, frames, strict=True) if min(other) < min(seen)]
        parent = draw(st.sampled_from([None, math.nan, -1, -7, 0, 77, track_id, *older]))
        rows += [{"track_id": track_id, "t": t, "y": t + 0.5, "x": 2.0, "parent_track_id": parent} for t in seen]
    return draw(st.permutations(rows))


def naive_parents(rows: Rows) -> dict[int, int]:
    """Return the parent of each track, -1 for founders, as the specification says it in words."""
    ids = {row["track_id"] for row in rows}
    parents = {}
    for row in rows:
        parent = row["parent_track_id"]
        is_founder = parent is None or parent != parent or parent < 0 or parent == row["track_id"] or parent not in ids
        parents[row["track_id"]] = -1 if is_founder else parent
    return parents


def table(rows: Rows) -> pd.DataFrame:
    """Return rows as a frame whose index counts as files do."""
    columns = ["track_id", "t", "y", "x", "parent_track_id"]
    return pd.DataFrame(rows, columns=columns, index=pd.RangeIndex(2, len(rows) + 2))


def check(frame: pd.DataFrame, **options: Any) -> CheckedTracks:
    """Check a table of a movie of eight frames."""
    return check_tracks(frame, source="tracks.csv", num_frames=FRAMES, **options)


def csv(text: str, **options: Any) -> CheckedTracks:
    """Read a CSV of a movie of eight frames from a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tracks.csv"
        path.write_text(text, encoding="utf-8")
        return read_tracks(path, num_frames=FRAMES, **options)


def parents_of(checked: CheckedTracks) -> dict[int, int]:
    """Return the parent of each track of a checked table."""
    return dict(zip(checked.frame["track_id"].tolist(), checked.frame["parent_track_id"].tolist(), strict=True))


# --- laws --------------------------------------------------------------------------------------------------


@given(track_tables())
def test_parents_mean_what_the_specification_says(rows: Rows) -> None:
    """Missing, NaN, negative, own and unknown parents and 0 without a track 0 are founders; the others are parents."""
    checked = check(table(rows))
    assert parents_of(checked) == naive_parents(rows)
    assert checked.impossible_parents == 0


@given(track_tables(), st.data())
def test_one_row_may_tell_the_parent_of_a_track(rows: Rows, data: st.DataObject) -> None:
    """Cells that are empty beside a given parent say nothing, in whichever rows of the track they are."""
    told = {
        track: data.draw(st.sampled_from([i for i, row in enumerate(rows) if row["track_id"] == track]))
        for track in {row["track_id"] for row in rows}
    }
    emptied = [
        {
            **row,
            "parent_track_id": None
            if told[row["track_id"]] != i and data.draw(st.booleans())
            else row["parent_track_id"],
        }
        for i, row in enumerate(rows)
    ]
    assert parents_of(check(table(emptied))) == naive_parents(rows)


@given(track_tables())
def test_rows_are_kept_and_sorted(rows: Rows) -> None:
    """Every row comes back once, in the order of track id and frame, with its own position and plain types."""
    frame = check(table(rows)).frame
    expected = sorted((row["track_id"], row["t"], row["y"], row["x"]) for row in rows)
    assert list(frame[["track_id", "t", "y", "x"]].itertuples(index=False, name=None)) == expected
    assert frame.index.equals(pd.RangeIndex(len(rows)))
    assert [str(frame[name].dtype) for name in ("track_id", "t", "parent_track_id")] == ["int64"] * 3
    assert [str(frame[name].dtype) for name in ("y", "x")] == ["float64"] * 2


@given(track_tables(), st.randoms(use_true_random=False))
def test_row_order_does_not_matter(rows: Rows, random: Any) -> None:
    """Shuffled rows give the same table, other columns included."""
    labelled = [{**row, "area": 10 * row["track_id"] + row["t"]} for row in rows]
    shuffled = labelled.copy()
    random.shuffle(shuffled)
    columns = ["track_id", "t", "y", "x", "parent_track_id", "area"]
    one, other = (check(pd.DataFrame(order, columns=columns)).frame for order in (labelled, shuffled))
    pd.testing.assert_frame_equal(one, other, check_dtype=False)


@given(track_tables(), st.sampled_from([np.int32, np.uint16, np.float32, np.float64, object, "Int64"]))
def test_types_of_whole_numbers_do_not_matter(rows: Rows, dtype: Any) -> None:
    """Track ids and frames may be whole numbers of any type."""
    frame = table(rows)
    for name in ("track_id", "t"):
        frame[name] = frame[name].astype(dtype)
    assert parents_of(check(frame)) == naive_parents(rows)


@given(track_tables(), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_a_csv_says_the_same_as_its_rows(rows: Rows, newline: str, blank_lines: bool) -> None:
    """Written as text, with empty cells for missing parents and blank lines in between, a table means the same."""
    lines = ["track_id,t,y,x,parent_track_id"]
    for row in rows:
        parent = row["parent_track_id"]
        written = "" if parent is None or parent != parent else parent
        lines += [f"{row['track_id']},{row['t']},{row['y']},{row['x']},{written}", *([""] if blank_lines else [])]
    assert parents_of(csv(newline.join(lines) + newline)) == naive_parents(rows)


def by_row_identities(rows: Rows, in_track: bool) -> pd.DataFrame:
    """Return the same table with only `id` and `parent_id`: of a track's first row the mother's last one, or -1."""
    parents = naive_parents(rows)
    number = {(row["track_id"], row["t"]): i + 1 for i, row in enumerate(rows)}
    identified = []
    for row in rows:
        own = [t for track, t in number if track == row["track_id"]]
        before = [t for t in own if t < row["t"]]
        parent_id = number[row["track_id"], max(before)] if before and in_track else -1
        if not before and parents[row["track_id"]] >= 0:
            mother = parents[row["track_id"]]
            parent_id = number[mother, max(t for track, t in number if track == mother)]
        rest = {name: row[name] for name in ("track_id", "t", "y", "x")}
        identified.append({**rest, "id": number[row["track_id"], row["t"]], "parent_id": parent_id})
    return pd.DataFrame(identified, columns=["track_id", "t", "y", "x", "id", "parent_id"])


@given(track_tables(), st.booleans())
def test_row_identities_tell_the_same_lineage(rows: Rows, in_track: bool) -> None:
    """A file with only `id` and `parent_id`, the parent's last row or -1, has the parents of `parent_track_id`."""
    assert parents_of(check(by_row_identities(rows, in_track))) == naive_parents(rows)


@given(track_tables(), st.booleans(), st.data())
def test_founder_parent_may_be_the_identity_of_a_row(rows: Rows, in_track: bool, data: st.DataObject) -> None:
    """Where rows name rows, a parent of the value `founder_parent` means a founder as well; other rows stay parents."""
    frame = by_row_identities(rows, in_track)
    first_rows = frame.sort_values("t").drop_duplicates("track_id")
    named = first_rows["parent_id"][first_rows["parent_id"] > 0].tolist()
    value = data.draw(st.sampled_from(named or [0, *frame["id"].tolist()]))
    first = first_rows.set_index("track_id")["parent_id"].to_dict()
    expected = {track: -1 if first[track] == value else parent for track, parent in naive_parents(rows).items()}
    assert parents_of(check(frame, founder_parent=value)) == expected


@given(track_tables(), st.integers(0, 9))
def test_founder_parent_means_no_parent(rows: Rows, value: int) -> None:
    """Parents of the value `founder_parent` are founders, also where there is such a track."""
    expected = {track: -1 if parent == value else parent for track, parent in naive_parents(rows).items()}
    assert parents_of(check(table(rows), founder_parent=value)) == expected


@given(st.lists(st.tuples(st.integers(0, FRAMES - 1), st.integers(-1, 5)), min_size=1, max_size=6))
def test_impossible_parents_become_founders_or_an_error(tracks: list[tuple[int, int]]) -> None:
    """A parent that does not start before its daughter is refused or ignored, a cycle always refused.

    Where such a parent is 0, on a cycle or not, the error names the field that settles it.
    """
    rows = [
        {"track_id": i, "t": t, "y": 0.0, "x": 0.0, "parent_track_id": parent if parent < len(tracks) else -1}
        for i, (t, parent) in enumerate(tracks)
    ]
    stated = naive_parents(rows)
    impossible = {i for i, p in stated.items() if p >= 0 and tracks[p][0] >= tracks[i][0]}
    is_circular = any(_walks_in_circle(stated, track) for track in stated)
    if is_circular:
        on_circle = {i for i in stated if i in set(_ancestors(stated, i))}
        names_zero = any(stated[i] == 0 for i in impossible & on_circle)
        for option in ("error", "founder"):
            with pytest.raises(TracksError, match="goes in a circle") as caught:
                check(table(rows), impossible_parents=option)
            assert ("set `founder_parent: 0` for the experiment" in str(caught.value)) == names_zero
        return
    checked = check(table(rows), impossible_parents="founder")
    assert checked.impossible_parents == len(impossible)
    assert checked.impossible_zeros == sum(stated[i] == 0 for i in impossible)
    assert parents_of(checked) == {i: -1 if i in impossible else p for i, p in stated.items()}
    if impossible:
        names_zero = any(stated[i] == 0 for i in impossible)
        with pytest.raises(TracksError, match="founder_parent: 0" if names_zero else "impossible_parents: founder"):
            check(table(rows))


def _ancestors(parents: dict[int, int], track: int) -> list[int]:
    """Return mother, grandmother and so on, of those on a circle each once."""
    found: list[int] = []
    while (track := parents[track]) >= 0 and track not in found:
        found.append(track)
    return found


def _walks_in_circle(parents: dict[int, int], track: int) -> bool:
    line = [track, *_ancestors(parents, track)]
    return parents[line[-1]] >= 0


@given(track_tables())
def test_input_is_untouched(rows: Rows) -> None:
    """The caller's frame is neither changed nor handed out."""
    frame = table(rows)
    before = frame.copy(deep=True)
    checked = check(frame)
    checked.frame["y"] += 1.0
    pd.testing.assert_frame_equal(frame, before)


# --- sentences ---------------------------------------------------------------------------------------------

HEAD = "track_id,t,y,x,parent_track_id\n"

WRONG_FILES = {
    "missing column": ("track_id,frame,y,x\n1,0,1,1\n", r"lacks the columns \['t'\], got .*'frame'"),
    "near column": ("track_ids,t,y,x\n1,0,1,1\n", r"did you mean 'track_ids'"),
    "semicolons": (
        "track_id;t;y;x\n1;0;1,5;1,5\n",
        r"needs commas between its columns and points in its numbers, but its header has semicolons, 'track_id;t;y;x'$",
    ),
    "tabs": ("track_id\tt\ty\tx\n1\t0\t1\t1\n", r"needs commas .* its header has tabs, 'track_id\\tt\\ty\\tx'$"),
    "for a spreadsheet": ("sep=,\n" + HEAD, r"needs to begin with its header, but has .* line 'sep=' before it$"),
    "empty file": ("", r"needs to be a CSV with a header, but cannot be read"),
    "ragged": ("track_id,t,y,x\n1,0,1,1\n1,1,1,1,9\n", r"cannot be read: .*line 3"),
    "too wide": ("track_id,t,y,x\n1,0,1,1,9\n1,1,1,1,9\n", r"more values in a row than the 4 columns"),
    "text in t": (HEAD + "1,0,1,1,\n1,one,1,1,\n", r"t needs to be a number, got 'one' \(row 3\)"),
    "no t twice": (HEAD + "1,,1,1,\n1,,1,1,\n", r"t needs a value in every row, got nan \(rows 2, 3\)"),
    "no t": (HEAD + "1,0,1,1,\n1,,1,1,\n", r"t needs a value in every row, got nan \(row 3\)"),
    "fraction of t": (HEAD + "1,0.5,1,1,\n1,1.5,1,1,\n", r"t needs to be a whole number.*0\.5, 1\.5 \(rows 2, 3\)"),
    "infinite t": (HEAD + "1,inf,1,1,\n", r"t needs to be a whole number.*inf \(row 2\)"),
    "truth as t": (HEAD + "1,True,1,1,\n1,False,1,1,\n", r"t needs to be a number, got True, False \(rows 2, 3\)"),
    "after the movie": (
        HEAD + "1,7,1,1,\n1,8,1,1,\n",
        r"the movie's 8 frames, 0 to 7, got 8 \(row 3\)",
    ),
    "from 1 on": (
        HEAD + "1,1,1,1,\n1,8,1,1,\n2,8,1,1,\n",
        r"t needs to lie in the movie's 8 frames, 0 to 7 \(does t begin with 1\?\), got 8 \(rows 3, 4\)",
    ),
    "many twice": (
        HEAD + "1,0,1,1,\n2,0,1,1,\n3,0,1,1,\n1,0,1,1,\n2,0,1,1,\n2,0,1,1,\n",
        r"track 1 has 2 rows in frame 0 \(so have others: 2 rows too many\) \(rows 2, 5\)",
    ),
    "before the movie": (HEAD + "1,-1,1,1,\n", r"t needs to lie in the movie's 8 frames, 0 to 7, got -1 \(row 2\)"),
    "fraction of track": (HEAD + "1.5,0,1,1,\n", r"track_id needs to be a whole number.*1\.5 \(row 2\)"),
    "negative track": (HEAD + "-1,0,1,1,\n", r"track_id needs to be 0 or larger, got -1 \(row 2\)"),
    "no y": (HEAD + "1,0,,1,\n", r"y needs a value in every row, got nan \(row 2\)"),
    "infinite x": (HEAD + "1,0,1,-inf,\n", r"x needs to be a finite number, got -inf \(row 2\)"),
    "text in x": (HEAD + "1,0,1,left,\n", r"x needs to be a number, got 'left' \(row 2\)"),
    "twice": (HEAD + "1,0,1,1,\n1,1,1,1,\n1,0,2,2,\n", r"track 1 has 2 rows in frame 0 \(rows 2, 4\)"),
    "two parents": (
        HEAD + "1,0,1,1,\n2,0,1,1,\n3,1,1,1,1\n3,2,1,1,1\n3,3,1,1,2\n",
        r"the same in all rows of a track, but track 3 has 1, 2 \(rows 4, 6\)",
    ),
    "two parents and none": (
        HEAD + "1,0,1,1,\n2,0,1,1,\n3,1,1,1,\n3,2,1,1,1\n3,3,1,1,2\n",
        r"the same in all rows of a track, but track 3 has 1, 2 \(rows 4, 6\)",
    ),
    "a parent and no parent": (
        HEAD + "1,0,1,1,\n3,1,1,1,1\n3,2,1,1,-1\n3,3,1,1,\n",
        r"the same in all rows of a track, but track 3 has -1, 1 \(rows 3, 4\)",
    ),
    "column twice": (
        "track_id,t,y,x,t,area,x\n1,0,1,1,0,1,1\n",
        r"tracks\.csv needs each column once, but has 't', 'x' more than once",
    ),
    "text as parent": (HEAD + "1,0,1,1,mother\n", r"parent_track_id needs to be a number, got 'mother' \(row 2\)"),
    "fraction of parent": (HEAD + "1,0,1,1,0.5\n", r"parent_track_id needs to be a whole number.*0\.5 \(row 2\)"),
    "imprecise parent": (HEAD + "1,0,1,1,\n2,1,1,1,9007199254740993\n", r"less than 2\*\*53.*\(row 3\)"),
    "circle": (
        HEAD + "1,0,1,1,2\n2,1,1,1,1\n3,2,1,1,1\n",
        r"parent_track_id goes in a circle: tracks 1, 2 are their own ancestors \(rows 2, 3\)",
    ),
    "circle through 0": (
        "track_id,t,y,x,parent_track_id\n0,2,5,5,3\n3,0,5,5,0\n",
        (
            r"tracks 0, 3 are their own ancestors: parent_track_id 0 of track 3 means track 0, which starts at t=2 and "
            r".* at t=0; if 0 means 'no parent' in this file, set `founder_parent: 0` .*\(rows 2, 3\)"
        ),
    ),
    "circle through a 0 that can be": (
        "track_id,t,y,x,parent_track_id\n0,0,5,5,3\n3,1,5,5,0\n",
        r"tracks 0, 3 are their own ancestors \(rows 2, 3\)",
    ),
    "late parent": (
        HEAD + "1,3,1,1,\n2,3,1,1,1\n",
        r"parent_track_id 1 of track 2 means track 1, .* at t=3 .* at t=3; .*`impossible_parents: founder` .*\(row 3\)",
    ),
    "ambiguous 0": (
        HEAD + "0,2,1,1,\n5,1,1,1,0\n5,2,1,1,0\n6,2,1,1,0\n",
        r"parent_track_id 0 of track 5 means track 0, .*'no parent' .* `founder_parent: 0` .*\(rows 3, 5\)",
    ),
    "same id twice": (
        "track_id,t,y,x,id,parent_id\n1,0,1,1,4,-1\n2,1,1,1,4,-1\n",
        r"id needs to name one row each, got 4 \(row 3\)",
    ),
    "late parent_id": (
        "track_id,t,y,x,id,parent_id\n1,0,1,1,1,-1\n2,0,1,1,2,-1\n2,1,1,1,3,1\n",
        r"parent_id needs to name .* of another track in a track's first row only, but track 2 has 1 later \(row 4\)",
    ),
    "late parent_id 0": (
        "track_id,t,y,x,id,parent_id\n1,0,1,1,0,0\n1,1,1,1,1,0\n3,1,1,1,4,0\n3,2,1,1,5,1\n3,3,1,1,6,0\n",
        r"first row only, but track 3 has 0 later; if 0 means 'no parent' .* `founder_parent: 0` .*\(row 6\)",
    ),
    "impossible parent_id": (
        "track_id,t,y,x,id,parent_id\n1,3,1,1,7,-1\n2,1,1,1,8,7\n",
        r"parent_id 7 of track 2 means track 1, which starts at t=3",
    ),
    "many rows": (
        HEAD + "".join(f"{i},9,1,1,\n" for i in range(9)),
        r"got 9 \(rows 2, 3, 4, 5, 6, 7, 8, 9 and 1 more",
    ),
}


@pytest.mark.parametrize("fault", WRONG_FILES)
def test_each_wrong_file_gets_its_sentence(fault: str) -> None:
    """The sentence names the file, what it got, what is needed, and the rows as an editor counts them."""
    text, sentence = WRONG_FILES[fault]
    with pytest.raises(TracksError, match=sentence) as caught:
        csv(text)
    assert "tracks.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_blank_lines_count_in_row_numbers() -> None:
    """A row is named by its line in the file, blank lines and lines of commas before it included."""
    with pytest.raises(TracksError, match=r"got 8 \(row 5\)"):
        csv(HEAD + "1,0,1,1,\n\n,,,,\n2,8,1,1,1\n\n")
    assert len(csv(HEAD + "\n1,0,1,1,\n\n,,,,\n1,1,1,1,\n\n").frame) == 2


def test_a_file_that_is_not_text_gets_a_sentence() -> None:
    """Bytes that are no UTF-8, as spreadsheets write, are an error of the file, not of the program."""
    for content in (b"track_id,t,y,x\n\xff\xfe,0,1,1\n", "track_id,t,y,x\n1,0,1,1\n".encode("utf-16")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tracks.csv"
            path.write_bytes(content)
            with pytest.raises(
                TracksError, match=r"tracks\.csv needs to be a CSV in UTF-8, but is in another encoding"
            ):
                read_tracks(path, num_frames=FRAMES)


def test_columns_are_named_by_the_file() -> None:
    """A column that is called like pandas calls a second one is a column; a table in memory has each once too."""
    assert csv("track_id,t,y,x,t.1,,\n1,0,1,1,7,,\n").frame["t.1"].tolist() == [7]
    frame = pd.DataFrame([[1, 0, 1.0, 1.0, 0]], columns=["track_id", "t", "y", "x", "t"])
    with pytest.raises(TracksError, match=r"tracks\.csv needs each column once, but has 't' more than once"):
        check(frame)


def test_a_header_alone_is_an_empty_table() -> None:
    """A FOV in which nothing was tracked has a table without rows, with the types of any other."""
    frame = csv(HEAD).frame
    assert frame.empty
    assert frame.dtypes.astype(str).tolist() == ["int64", "int64", "float64", "float64", "int64"]


def test_zero_is_a_parent_where_it_can_be() -> None:
    """Where track 0 exists and starts before the daughter, parent 0 is a mother like any other."""
    text = HEAD + "0,0,1,1,0\n5,1,1,1,0\n"
    assert parents_of(csv(text)) == {0: -1, 5: 0}
    assert parents_of(csv(text, founder_parent=0)) == {0: -1, 5: -1}
    ambiguous = HEAD + "0,2,1,1,\n5,1,1,1,0\n"
    assert parents_of(csv(ambiguous, founder_parent=0)) == {0: -1, 5: -1}
    assert csv(ambiguous, impossible_parents="founder").impossible_parents == 1


def test_zero_in_all_rows_can_mean_no_parent() -> None:
    """Where rows name rows, there is a row 0, and every row of a founder has 0, the error's way out is one."""
    text = "track_id,t,y,x,id,parent_id\n1,0,1,1,0,0\n2,1,1,1,1,0\n2,2,1,1,2,0\n"
    with pytest.raises(TracksError, match=r"but track 2 has 0 later; .* set `founder_parent: 0` .*\(row 4\)"):
        csv(text)
    assert parents_of(csv(text, founder_parent=0)) == {1: -1, 2: -1}


def test_parent_track_id_wins_over_row_identities() -> None:
    """Where both are there, `parent_id` is only passed through, and may be anything."""
    checked = csv("track_id,t,y,x,id,parent_track_id,parent_id\n1,0,1,1,a,,b\n2,0,1,1,a,,b\n3,1,1,1,c,2,a\n")
    assert parents_of(checked) == {1: -1, 2: -1, 3: 2}
    assert checked.frame["parent_id"].tolist() == ["b", "b", "a"]


def test_half_of_the_row_identities_says_nothing() -> None:
    """`parent_id` without `id` leaves every track a founder."""
    assert parents_of(csv("track_id,t,y,x,parent_id\n1,0,1,1,\n2,1,1,1,1\n")) == {1: -1, 2: -1}


def test_other_columns_pass_through() -> None:
    """Columns that the specification does not know keep their values and their place beside the right row."""
    frame = csv("t,note,track_id,y,x,z\n1,b,3,1,1,4\n0,a,3,1,1,5\n").frame
    assert frame["note"].tolist() == ["a", "b"]
    assert frame["z"].tolist() == [5, 4]


def test_the_only_csv_of_a_fov_is_found() -> None:
    """No CSV is None, several are an error, and the hidden copies of file managers do not count."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        assert find_tracks_csv(root, "A/1/0") is None
        (root / "A/1/0").mkdir(parents=True)
        for name in ("._tracks.csv", "~$cells.csv", "notes.txt"):
            (root / "A/1/0" / name).touch()
        assert find_tracks_csv(root, "A/1/0") is None
        (root / "A/1/0/cells.csv").touch()
        assert find_tracks_csv(root, "A/1/0") == root / "A/1/0/cells.csv"
        (root / "A/1/0/more.csv").touch()
        with pytest.raises(TracksError, match=r"A/1/0 needs exactly one CSV, got 2: cells\.csv, more\.csv"):
            find_tracks_csv(root, "A/1/0")


@pytest.mark.parametrize(
    ("columns", "unread"),
    [
        (["parent_track"], "parent_track"),
        ([" Parent_Track_ID"], " Parent_Track_ID"),
        (["area", "Parent ID"], "Parent ID"),
        (["parent"], "parent"),
        (["parent_id"], "parent_id"),
        (["id", "parent_id"], None),
        (["parent_track_id", "parent"], None),
        (["area", "id"], None),
    ],
)
def test_a_column_that_may_have_told_the_parents_is_named(columns: list[str], unread: str | None) -> None:
    """A misspelt name turns lineages off."""
    assert csv(",".join(["track_id,t,y,x", *columns]) + "\n1,0,1,1" + ",-1" * len(columns)).unread_parents == unread


def test_a_csv_may_be_called_so_in_capitals() -> None:
    """Instruments write names in capitals; a table in both spellings is one too many."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "A/1/0").mkdir(parents=True)
        (root / "A/1/0/TRACKS.CSV").touch()
        assert find_tracks_csv(root, "A/1/0") == root / "A/1/0/TRACKS.CSV"
        (root / "A/1/0/cells.csv").touch()
        with pytest.raises(TracksError, match=r"A/1/0 needs exactly one CSV, got 2: TRACKS\.CSV, cells\.csv"):
            find_tracks_csv(root, "A/1/0")
