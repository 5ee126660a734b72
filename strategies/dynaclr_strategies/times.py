"""Time axes: when a movie begins and how often it looks."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from dynaclr_strategies.parts import TimeAxisDescription

__all__ = ["TimeAxisDescription", "time_axes"]

INTERVALS = (30.0, 60.0, 15.0, 10.0, 20.0, 7.0, 45.0, 2.5, 29.97, 20 / 3)
STARTS = (0.0, 3.0, -2.0, 0.5, 24.0, 100.25, -0.1)


def time_axes(*, min_frames: int = 1, max_frames: int = 12) -> st.SearchStrategy[TimeAxisDescription]:
    """Strategy for time axes.

    Generates intervals that divide an hour and some that do not, one that no decimal holds, movies that begin before
    the infection, long after it, and at times that no other movie reaches. Promises a positive interval and between
    ``min_frames`` and ``max_frames`` frames. Shrinks towards 30 minutes from 0 h on, with as few frames as allowed.

    Parameters
    ----------
    min_frames, max_frames
        Bounds of the number of frames.
    """
    if not 1 <= min_frames <= max_frames:
        raise InvalidArgument(f"min_frames={min_frames!r} must lie between 1 and max_frames={max_frames!r}")
    return st.builds(
        TimeAxisDescription,
        interval_minutes=st.sampled_from(INTERVALS),
        start_hpi=st.sampled_from(STARTS),
        frames=st.integers(min_frames, max_frames),
    )
