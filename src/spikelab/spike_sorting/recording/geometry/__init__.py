"""Geometry of an opened recording: electrodes read from the source, checked, and divided into groups.

::

    electrodes.py  positions, units of length and names, as the source has them
    units.py       micrometres from any unit of length
    plane.py       two coordinates of contacts that have three
    groups.py      which channels are sorted together, and where groups lie
    names.py       names of groups
    columns.py     which lie in columns, and their order along them
    text_map.py    electrodes drawn as text
    attach.py      all of these together: ``read_geometry``, and the geometry on a recording
"""

from spikelab.spike_sorting.recording.geometry.attach import flipped, geometry_of, place, read_geometry
from spikelab.spike_sorting.recording.geometry.text_map import text_map

__all__ = ["flipped", "geometry_of", "place", "read_geometry", "text_map"]
