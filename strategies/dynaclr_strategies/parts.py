"""Parts of descriptions that strategies draw as a whole: the channels of a store, its time axis, its wells."""

from __future__ import annotations

from dataclasses import dataclass

from dynaclr_strategies.codec import Plain

__all__ = ["ChannelSet", "ConditionWells", "TimeAxisDescription"]


@dataclass(frozen=True, kw_only=True)
class ChannelSet(Plain):
    """All channels of a store in its order, and those that are trained on in the order of the encoder."""

    channel_names: tuple[str, ...]
    source_channel: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ConditionWells(Plain):
    """Which condition owns which wells, and the wells of the plate that nobody owns."""

    condition_wells: tuple[tuple[str, tuple[str, ...]], ...]
    unlabelled: tuple[str, ...] = ()

    def wells(self) -> tuple[str, ...]:
        """Return all wells of the plate, sorted by name."""
        return tuple(sorted([*(well for _, wells in self.condition_wells for well in wells), *self.unlabelled]))


@dataclass(frozen=True, kw_only=True)
class TimeAxisDescription(Plain):
    """Minutes between frames, hours post infection of the first frame, and the number of frames."""

    interval_minutes: float
    start_hpi: float
    frames: int

    def hpi(self, frame: int) -> float:
        """Return the hours post infection of a frame."""
        return self.start_hpi + frame * self.interval_minutes / 60
