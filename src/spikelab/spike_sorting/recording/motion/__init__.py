"""Movement of tissue along a probe: measured, kept with the result, and corrected.

::

    columns.py        which channels form a column, along which tissue can move
    peaks.py          spikes on single contacts, and where each was
    registration.py   the course of the tissue from the places of its spikes
    course.py         a course, which SpikeInterface reads and writes too
    presets.py        courses by SpikeInterface's own presets
    correction.py     traces interpolated to where contacts would have been
    drift_map.py      where spikes were over time, for people
    measuring.py      all of these together
"""

from spikelab.spike_sorting.recording.motion.columns import ESTIMATE, Column, columns_of
from spikelab.spike_sorting.recording.motion.course import Course
from spikelab.spike_sorting.recording.motion.drift_map import DriftMap
from spikelab.spike_sorting.recording.motion.measuring import (
    Movement,
    described,
    load_movements,
    measure_binary,
    motion_of,
    movements_of,
    save_movements,
    with_motion,
)

__all__ = [
    "ESTIMATE",
    "Column",
    "Course",
    "DriftMap",
    "Movement",
    "columns_of",
    "described",
    "load_movements",
    "measure_binary",
    "motion_of",
    "movements_of",
    "save_movements",
    "with_motion",
]
