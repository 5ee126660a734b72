"""Cases for the laws of registry and index: a registry together with parameters that are valid for it."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import strategies as st

from dynaclr_strategies.cases import IndexCase, RegistryCase
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.registries import registries

__all__ = ["index_cases", "registry_cases"]

TAU_RANGES = ((0.5, 2.0), (0.0, 0.0), (1.0, 1.25), (0.0, 1.0), (2.0, 3.0))


def _has_frames(interval_minutes: float, hours: tuple[float, float]) -> bool:
    """Tell whether a whole number of frames, at least 1, lies in the range."""
    step = Fraction(interval_minutes) / 60
    return hours == (0.0, 0.0) or max(1, math.ceil(Fraction(hours[0]) / step)) * step <= Fraction(hours[1])


def _tau_ranges(registry: RegistryDescription) -> st.SearchStrategy[tuple[float, float]]:
    fitting = [
        hours for hours in TAU_RANGES if all(_has_frames(e.interval_minutes, hours) for e in registry.experiments)
    ]
    return st.sampled_from(fitting)


@st.composite
def registry_cases(draw: st.DrawFn, *, registry: st.SearchStrategy[RegistryDescription] | None = None) -> RegistryCase:
    """Strategy for registries together with a range of hours.

    Generates what `registries` does. Promises that the range leaves every experiment a frame. Shrinks towards the
    smallest registry and half an hour to two hours.

    Parameters
    ----------
    registry
        Where the registry comes from; by default `registries`.
    """
    drawn = draw(registries() if registry is None else registry, label="registry")
    return RegistryCase(registry=drawn, tau_range_hours=draw(_tau_ranges(drawn), label="tau range in hours"))


@st.composite
def index_cases(draw: st.DrawFn, *, registry: st.SearchStrategy[RegistryDescription] | None = None) -> IndexCase:
    """Strategy for registries together with what is cut out of them.

    Generates what `registries` does, patches of odd and even size up to the smallest image, one plane or more, and
    several ranges of tau, tau 0 included. Promises that the index accepts them. Shrinks towards the smallest
    registry, patches of one pixel, the first plane, and half an hour to two hours.

    Parameters
    ----------
    registry
        Where the registry comes from; by default `registries`.
    """
    drawn = draw(registries() if registry is None else registry, label="registry")
    fovs = [fov for experiment in drawn.experiments for _, fov in experiment.fovs()]
    deep, high, wide = (min(getattr(fov, side) for fov in fovs) for side in ("z", "y", "x"))
    start = draw(st.integers(0, deep - 1), label="first plane")
    return IndexCase(
        registry=drawn,
        z_range=(start, draw(st.integers(start + 1, deep), label="end of the planes")),
        yx_patch_size=(draw(st.integers(1, high), label="height"), draw(st.integers(1, wide), label="width")),
        tau_range_hours=draw(_tau_ranges(drawn), label="tau range in hours"),
    )
