"""Channel names of a store, and which of them are trained on."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from dynaclr_strategies.parts import ChannelSet

__all__ = ["ChannelSet", "channel_sets"]

# As microscopes and their users write them: spaces, units, Greek letters, a name that is part of another.
FLUORESCENCE = ("GFP", "RFP", "Mito", "GFP EX488 EM525-45", "mCherry 2", "β-actin", "StressGranules", "405 nm")
EXTRAS = ("Retardance", "BF", "nuclei prediction", "GFP deconvolved")


@st.composite
def channel_sets(
    draw: st.DrawFn, *, num_sources: st.SearchStrategy[int] | None = None, max_extras: int = 2
) -> ChannelSet:
    """Strategy for the channels of one store.

    Generates phase, fluorescence and extra channels in any order, names with spaces and letters beyond ASCII, and
    source channels in another order than the store's. Promises different names and sources that the store has.
    Shrinks towards a store of ``"Phase3D"`` alone.

    Parameters
    ----------
    num_sources
        How many channels are trained on; by default one to three.
    max_extras
        How many channels of the store may be there that nobody trains on.
    """
    if max_extras < 0:
        raise InvalidArgument(f"max_extras={max_extras!r} must be at least 0")
    count = draw(st.integers(1, 3) if num_sources is None else num_sources, label="number of source channels")
    if not 1 <= count <= len(FLUORESCENCE) + 1:
        raise InvalidArgument(f"num_sources drew {count!r}, which must be between 1 and {len(FLUORESCENCE) + 1}")
    fluorescent = st.lists(st.sampled_from(FLUORESCENCE), min_size=count - 1, max_size=count - 1, unique=True)
    sources = draw(st.permutations(["Phase3D", *draw(fluorescent, label="fluorescence")]), label="source channels")
    extras = draw(st.lists(st.sampled_from(EXTRAS), max_size=max_extras, unique=True), label="extras")
    names = draw(st.permutations([*sources, *extras]), label="order in the store")
    return ChannelSet(channel_names=tuple(names), source_channel=tuple(sources))
