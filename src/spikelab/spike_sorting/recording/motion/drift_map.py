"""Where spikes were over time: numbers that a picture shows, of all spikes that were found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.recording.motion.columns import Column
    from spikelab.spike_sorting.recording.motion.course import Course
    from spikelab.spike_sorting.recording.motion.peaks import Peaks

MOST_TIMES, MOST_DEPTHS, STEP_UM = 600, 240, 4.0


@dataclass(frozen=True)
class DriftMap:
    """Numbers of spikes over depth and time: all that were found, as each is counted.

    Attributes
    ----------
    seconds : float
        Length of the recording.
    depths_um : (float, float)
        Lower edge of the first row and upper edge of the last one.
    seen, straightened : numpy.ndarray of uint16, shape (rows, times)
        Where the spikes were, and where they would have been if the tissue had stood still.
    """

    seconds: float
    depths_um: tuple[float, float]
    seen: NDArray[np.uint16]
    straightened: NDArray[np.uint16]

    @classmethod
    def of(cls, peaks: Peaks, course: Course | None, column: Column, seconds: float, fs: float) -> DriftMap:
        """Count the spikes."""
        low, high = column.places[:, 0].min() - STEP_UM, column.places[:, 0].max() + STEP_UM
        n_rows = int(np.clip((high - low) / STEP_UM, 1, MOST_DEPTHS))
        times = peaks.frames / fs
        straight = peaks.depths_um - (0 if course is None else course.of(times, peaks.depths_um))
        edges = (np.linspace(low, high, n_rows + 1), np.linspace(0, seconds, MOST_TIMES + 1))
        seen, straightened = (
            np.minimum(np.histogram2d(depths, times, edges)[0], np.iinfo(np.uint16).max).astype(np.uint16)
            for depths in (peaks.depths_um, straight)
        )
        return cls(seconds, (float(low), float(high)), seen, straightened)

    def save(self, path: Path) -> None:
        """Write an npz file."""
        edges = np.array([self.seconds, *self.depths_um])
        np.savez_compressed(path, edges=edges, seen=self.seen, straightened=self.straightened)

    @classmethod
    def load(cls, path: Path) -> DriftMap:
        """Read the file that :meth:`save` has written."""
        with np.load(path) as file:
            seconds, low, high = file["edges"].tolist()
            return cls(seconds, (low, high), file["seen"], file["straightened"])
