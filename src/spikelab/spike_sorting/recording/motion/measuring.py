"""Measure how tissue moved along the probe, correct it where that is wanted, and keep what was found."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import Geometry, epochs_of
from spikelab.spike_sorting.recording.motion.columns import ESTIMATE, axis_name, columns_of
from spikelab.spike_sorting.recording.motion.course import Course
from spikelab.spike_sorting.recording.motion.drift_map import DriftMap
from spikelab.spike_sorting.recording.motion.peaks import Source, find_peaks
from spikelab.spike_sorting.recording.motion.presets import preset_course, require_packages
from spikelab.spike_sorting.recording.motion.registration import BINS_S, course_of
from spikelab.system.json_files import readable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import BinaryRecording, Epoch
    from spikelab.spike_sorting.recording.motion.columns import Column
    from spikelab.spike_sorting.recording.motion.peaks import Peaks

logger = logging.getLogger(__name__)

CORRECT = "correct"
ANNOTATION = "spikelab_motion"
SUMMARY, MAP, COURSE = "motion.json", "drift_map.npz", "motion"  # in the folder of each group of channels


@dataclass(frozen=True)
class Movement:
    """What was found of one group of channels.

    Attributes
    ----------
    summary : dict
        ``group`` (name), ``axis``, ``spikes`` (how many were found), ``moved_um`` (the range of 90 % of the time; None
        where there were too few spikes) and ``every_s`` (time between the points of the course).
    course : Course or None
    map : DriftMap
    """

    summary: dict[str, Any]
    course: Course | None
    map: DriftMap

    def save(self, folder: Path) -> None:
        """Write course and map into a new folder; SpikeInterface reads the course."""
        folder.mkdir(parents=True)
        (folder / SUMMARY).write_text(readable(self.summary), encoding="utf-8")
        self.map.save(folder / MAP)
        if self.course is not None:
            self.course.save(folder / COURSE)

    @classmethod
    def load(cls, folder: Path) -> Movement:
        """Read what :meth:`save` has written."""
        course = Course.load(folder / COURSE) if (folder / COURSE).exists() else None
        return cls(json.loads((folder / SUMMARY).read_text(encoding="utf-8")), course, DriftMap.load(folder / MAP))


def save_movements(movements: Sequence[Movement], folder: Path) -> None:
    """Write a folder ``group_0``, ``group_1``, ... for each group of channels."""
    for number, movement in enumerate(movements):
        movement.save(folder / f"group_{number}")


def load_movements(folder: Path) -> list[Movement]:
    """Read what :func:`save_movements` has written, nothing where there is nothing."""
    groups = sorted(folder.glob("group_*"), key=lambda path: int(path.name.removeprefix("group_")))
    return [Movement.load(group) for group in groups]


def described(movements: Sequence[Movement], setting: str) -> dict[str, Any]:
    """Describe what was found in values of JSON."""
    corrected = setting != ESTIMATE and any(movement.course is not None for movement in movements)
    return {"setting": setting, "corrected": corrected, "groups": [movement.summary for movement in movements]}


def motion_of(recording: BaseRecording) -> dict[str, Any] | None:
    """Return the description that :func:`with_motion` has put on a recording."""
    text = recording.get_annotation(ANNOTATION)
    return None if text is None else json.loads(text)


def movements_of(recording: BaseRecording) -> list[Movement]:
    """Return what was found when a recording was corrected; nothing of others."""
    return list(getattr(recording, "movements", ()))


def measure_binary(binary: BinaryRecording, n_jobs: int) -> list[Movement]:
    """Measure movement in a binary recording."""
    columns = columns_of(binary.geometry or Geometry.of(binary.locations), ESTIMATE)
    return [_measured(Source.of_binary(binary), column, binary.epochs, n_jobs) for column in columns]


def with_motion(recording: BaseRecording, geometry: Geometry, setting: str, n_jobs: int) -> BaseRecording:
    """Correct movement in an opened recording, unless it is only to be measured; refuse it where there is no column."""
    columns = columns_of(geometry, setting)
    if setting == ESTIMATE:
        return recording
    require_packages(setting)
    from spikelab.spike_sorting.recording.motion.correction import MotionCorrectedRecording

    source, epochs = Source.of_recording(recording), epochs_of(recording)
    if setting == CORRECT:
        movements = [_measured(source, column, epochs, n_jobs) for column in columns]
    else:
        movements = [_by_preset(recording, column, setting) for column in columns]
    courses = [
        {"channels": column.channels.tolist(), "course": movement.course.to_dict()}
        for column, movement in zip(columns, movements, strict=True)
        if movement.course is not None
    ]
    corrected = MotionCorrectedRecording(recording, courses) if courses else recording
    corrected.movements = movements
    corrected.annotate(**{ANNOTATION: json.dumps(described(movements, setting))})
    return corrected


def _measured(source: Source, column: Column, epochs: Sequence[Epoch], n_jobs: int) -> Movement:
    peaks = find_peaks(source, column.channels, column.places, n_jobs)
    fs = source.sampling_frequency
    course = course_of(peaks, epochs, fs, column.places[:, 0], column.axis)
    return _movement(column, peaks, course, source.n_samples / fs, fs)


def _by_preset(recording: BaseRecording, column: Column, preset: str) -> Movement:
    fs = float(recording.get_sampling_frequency())
    peaks, course = preset_course(recording, column, preset)
    return _movement(column, peaks, course, recording.get_num_samples() / fs, fs)


def _movement(column: Column, peaks: Peaks, course: Course | None, seconds: float, fs: float) -> Movement:
    """Put together what was found, and say it in the log."""
    moved = None if course is None else round(course.range_um, 2)
    every = None if course is None else round(float(np.median(np.diff(course.times_s))), 3)
    about = {"group": column.name, "axis": axis_name(column), "spikes": len(peaks.frames)}
    where = f" along {column.name}" if column.name else ""
    if course is None:
        logger.warning(
            "movement cannot be measured%s: %d spikes in %.0f s are too few, even in steps of %g s",
            where, len(peaks.frames), seconds, BINS_S[-1],
        )  # fmt: skip
    else:
        words = "the tissue moved by %.3g um%s (the range of 90 %% of the time; from %d spikes, every %g s)"
        logger.info(words, moved, where, len(peaks.frames), every)
    drift_map = DriftMap.of(peaks, course, column, seconds, fs)
    return Movement({**about, "moved_um": moved, "every_s": every}, course, drift_map)
