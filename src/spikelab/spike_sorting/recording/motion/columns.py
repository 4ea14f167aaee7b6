"""Which way tissue can move along the contacts of a probe: in columns, and not on planar arrays."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.recording.motion.course import AXES
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Geometry, IntArray

logger = logging.getLogger(__name__)

ESTIMATE = "estimate"  # the setting that measures movement and corrects nothing
LEAST_LENGTH_UM, LEAST_RATIO = 100.0, 3.0


@dataclass(frozen=True)
class Column:
    """Contacts of one group of channels, which form a column.

    Attributes
    ----------
    name : str
        Of the group; "" where there is one.
    channels : numpy.ndarray of int64
    axis : int
        Along which coordinate they lie: 0, x, or 1, y.
    places : numpy.ndarray, shape (channels, 2)
        Along the column and across, in micrometres.
    """

    name: str
    channels: IntArray
    axis: int
    places: NDArray[np.float64]


def columns_of(geometry: Geometry, setting: str) -> list[Column]:
    """Return a column for each group of channels along which movement can be measured; ValueError where there is none.

    Other groups, such as a few contacts on a shank, are left out; a warning names them where movement is corrected.
    """
    columns, names, refused = [], [], []
    for name, channels in zip(geometry.group_names, geometry.channels_of_groups(), strict=True):
        try:
            columns.append(_column(name, channels, geometry.places[channels], setting))
        except ValueError as error:
            names.append(name)
            refused.append(error)
    if refused and not columns:
        raise refused[0]
    if refused:
        told = f"movement is not measured of what forms no column, too short or too wide: {', '.join(names)}"
        if setting == ESTIMATE:
            logger.info("%s", told)
        else:
            warn(f"{told}. The traces stay as they are there")
    return columns


def _column(name: str, channels: IntArray, places: NDArray[np.float64], setting: str) -> Column:
    extent = np.ptp(places, axis=0)
    axis = int(extent[1] >= extent[0])
    length, width = float(extent[axis]), float(extent[1 - axis])
    if length < LEAST_LENGTH_UM or length < LEAST_RATIO * width:
        whose = f"the {len(channels)} contacts" + (f" of {name}" if name else "")
        raise ValueError(
            f"motion={setting!r} is for probes, whose contacts form a column of at least {LEAST_LENGTH_UM:g} um that "
            f"is {LEAST_RATIO:g} times as long as wide; {whose} cover {extent[0]:g} x {extent[1]:g} um (x, y), "
            f"{'a planar array' if length >= LEAST_LENGTH_UM else 'too little'}: set motion to None"
            + ("" if name or length < LEAST_LENGTH_UM else ", or sort shanks apart (electrode_groups='auto')")
        )
    return Column(name, channels, axis, np.column_stack([places[:, axis], places[:, 1 - axis]]))


def axis_name(column: Column) -> str:
    """Name the coordinate along the column."""
    return AXES[column.axis]
