"""Measure how tissue moved along the probe, and keep what was found."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.motion.columns import axis_name
from spikelab.spike_sorting.recording.motion.course import Course
from spikelab.spike_sorting.recording.motion.peaks import find_peaks
from spikelab.spike_sorting.recording.motion.registration import BINS_S, course_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Epoch
    from spikelab.spike_sorting.recording.motion.columns import Column
    from spikelab.spike_sorting.recording.motion.peaks import Peaks, Source

    Floats = NDArray[np.float64]

logger = logging.getLogger(__name__)

MAP_FILE, GROUP_FOLDER = "drift_map.npz", "group_{}"
MAP_TIMES, MAP_DEPTHS, MAP_STEP_UM = 600, 240, 4.0


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
    def of(cls, peaks: Peaks, course: Course | None, column: Column, n_samples: int, fs: float) -> DriftMap:
        """Count the spikes."""
        low, high = column.places[:, 0].min() - MAP_STEP_UM, column.places[:, 0].max() + MAP_STEP_UM
        n_rows = int(np.clip((high - low) / MAP_STEP_UM, 1, MAP_DEPTHS))
        times = peaks.frames / fs
        straight = peaks.depths_um - (0 if course is None else course.of(times, peaks.depths_um))
        edges = (np.linspace(low, high, n_rows + 1), np.linspace(0, n_samples / fs, MAP_TIMES + 1))
        seen, straightened = (
            np.minimum(np.histogram2d(depths, times, edges)[0], np.iinfo(np.uint16).max).astype(np.uint16)
            for depths in (peaks.depths_um, straight)
        )
        return cls(n_samples / fs, (float(low), float(high)), seen, straightened)

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


@dataclass(frozen=True)
class Movement:
    """What was found of one group of channels; the course is None where there were too few spikes."""

    column: Column
    course: Course | None
    n_spikes: int
    map: DriftMap | None

    def summary(self) -> dict[str, Any]:
        """Describe it in a few numbers."""
        found = self.course
        return {
            "group": self.column.name,
            "axis": axis_name(self.column),
            "spikes": self.n_spikes,
            "moved_um": None if found is None else round(found.range_um, 2),
            "every_s": None if found is None else round(float(np.median(np.diff(found.times_s))), 3),
        }

    def save(self, folder: Path) -> None:
        """Write course and map into a new folder, the course so that SpikeInterface reads it."""
        if self.course is None:
            folder.mkdir(parents=True)
        else:
            self.course.save(folder)
        if self.map is not None:
            self.map.save(folder / MAP_FILE)


def measure(source: Source, columns: Sequence[Column], epochs: Sequence[Epoch], n_jobs: int) -> list[Movement]:
    """Estimate the course of the tissue along each column; says in the log what was found."""
    found = []
    for column in columns:
        peaks = find_peaks(source, column.channels, column.places, n_jobs)
        fs = source.sampling_frequency
        course = course_of(peaks, epochs, fs, column.places[:, 0], column.axis)
        drift_map = DriftMap.of(peaks, course, column, source.n_samples, fs)
        found.append(Movement(column, course, len(peaks.frames), drift_map))
        _tell(found[-1])
    return found


def _tell(movement: Movement) -> None:
    where = f" along {movement.column.name}" if movement.column.name else ""
    if movement.course is None:
        logger.warning(
            "movement cannot be measured%s: %d spikes are too few, even in steps of %g s",
            where, movement.n_spikes, BINS_S[-1],
        )  # fmt: skip
    else:
        words = "the tissue moved by %.3g um%s (the range of 90 %% of the time, from %d spikes)"
        logger.info(words, movement.course.range_um, where, movement.n_spikes)
