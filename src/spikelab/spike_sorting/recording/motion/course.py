"""The course of the tissue along the contacts of a probe over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

AXES = "xy"


@dataclass(frozen=True)
class Course:
    """How far the tissue has moved along the contacts, at some times and depths; between them linearly.

    Attributes
    ----------
    axis : int
        Along which coordinate of the contacts: 0, x, or 1, y.
    times_s : numpy.ndarray, shape (times,)
        On the clock of the sorted recording, in seconds, ascending.
    depths_um : numpy.ndarray, shape (depths,)
        Coordinates along the contacts, ascending; one where all depths move alike.
    moved_um : numpy.ndarray, shape (times, depths)
        From the median place; positive towards larger coordinates.
    """

    axis: int
    times_s: Floats
    depths_um: Floats
    moved_um: Floats

    def at(self, times_s: Floats, depths_um: Floats) -> Floats:
        """Return how far the tissue has moved, shape (times, depths); outside, what holds at the nearest."""
        by_time = np.stack([np.interp(times_s, self.times_s, moved) for moved in self.moved_um.T], axis=1)
        if len(self.depths_um) == 1:
            return np.repeat(by_time, len(depths_um), axis=1)
        places = np.interp(depths_um, self.depths_um, np.arange(len(self.depths_um)))
        lower = np.minimum(places.astype(np.int64), len(self.depths_um) - 2)
        share = places - lower
        found: Floats = by_time[:, lower] * (1 - share) + by_time[:, lower + 1] * share
        return found

    def of(self, times_s: Floats, depths_um: Floats) -> Floats:
        """Return how far the tissue had moved at pairs of time and depth."""
        places = np.interp(depths_um, self.depths_um, np.arange(len(self.depths_um)))
        lower = np.clip(places.astype(np.int64), 0, max(0, len(self.depths_um) - 2))
        upper = np.minimum(lower + 1, len(self.depths_um) - 1)
        by_depth = [np.interp(times_s, self.times_s, moved) for moved in self.moved_um.T]
        pairs = np.arange(len(times_s))
        table = np.stack(by_depth)
        found: Floats = table[lower, pairs] * (1 - (places - lower)) + table[upper, pairs] * (places - lower)
        return found

    @property
    def range_um(self) -> float:
        """How far the tissue moved: the range in which it was for 90 % of the time, at the depth that moved most."""
        seconds = np.gradient(self.times_s) if len(self.times_s) > 1 else np.ones(1)
        return max(_range_of(moved, seconds) for moved in self.moved_um.T)

    def range_at(self, depth_um: float) -> float:
        """Return how far the tissue moved at a depth, as :attr:`range_um` does for the depth that moved most."""
        seconds = np.gradient(self.times_s) if len(self.times_s) > 1 else np.ones(1)
        return _range_of(self.at(self.times_s, np.array([depth_um]))[:, 0], seconds)

    def to_dict(self) -> dict[str, Any]:
        """Describe the course in plain lists."""
        return {
            "axis": self.axis,
            "times_s": self.times_s.tolist(),
            "depths_um": self.depths_um.tolist(),
            "moved_um": self.moved_um.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Course:
        """Make a course from its description."""
        arrays = {name: np.array(values[name], dtype=np.float64) for name in ("times_s", "depths_um", "moved_um")}
        return cls(axis=int(values["axis"]), **arrays)

    def save(self, folder: Path) -> None:
        """Write the folder that SpikeInterface's ``Motion.load`` reads."""
        from spikeinterface.core.motion import Motion

        Motion([self.moved_um], [self.times_s], self.depths_um, direction=AXES[self.axis]).save(folder)

    @classmethod
    def load(cls, folder: Path) -> Course:
        """Read the folder that :meth:`save` has written."""
        from spikeinterface.core.motion import Motion

        return cls.from_motion(Motion.load(folder))

    @classmethod
    def from_motion(cls, motion: Any) -> Course:
        """Take the course from SpikeInterface's ``Motion`` of a recording with one segment."""
        order = np.argsort(motion.spatial_bins_um)
        moved = np.asarray(motion.displacement[0], dtype=np.float64)[:, order]
        times = np.asarray(motion.temporal_bins_s[0], dtype=np.float64)
        depths = np.asarray(motion.spatial_bins_um, dtype=np.float64)[order]
        return cls(AXES.index(motion.direction), times, depths, moved)


def _range_of(moved: Floats, seconds: Floats) -> float:
    """Return the range from 5 to 95 % of the time."""
    order = np.argsort(moved)
    passed = np.cumsum(seconds[order]) - seconds[order] / 2
    low, high = np.interp([0.05, 0.95], passed / seconds.sum(), moved[order])
    return float(high - low)
