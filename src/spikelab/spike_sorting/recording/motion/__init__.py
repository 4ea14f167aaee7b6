"""Movement of tissue along a probe: measured, kept with the result, and corrected.

::

    columns.py        which channels form a column, along which tissue can move
    peaks.py          spikes on single contacts, and where each was
    registration.py   the course of the tissue from the places of its spikes
    course.py         a course, which SpikeInterface reads and writes too
    presets.py        courses by SpikeInterface's own presets
    correction.py     traces interpolated to where contacts would have been
    measuring.py      all of these together, and the drift map
"""

from spikelab.spike_sorting.recording.motion.columns import Column, columns_of
from spikelab.spike_sorting.recording.motion.course import Course
from spikelab.spike_sorting.recording.motion.measuring import DriftMap, Movement, measure

__all__ = ["Column", "Course", "DriftMap", "Movement", "columns_of", "measure"]
