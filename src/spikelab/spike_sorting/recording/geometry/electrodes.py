"""Read the electrodes of a SpikeInterface recording as the source has them, one per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

UM_PER_UNIT = {"um": 1.0, "mm": 1e3, "m": 1e6}
GROUP_PROPERTIES = ("group", "group_name")


@dataclass(frozen=True)
class Electrodes:
    """Electrodes of the channels of a recording, before anything is assumed.

    Attributes
    ----------
    places : numpy.ndarray of float64, shape (channels, 2 or 3)
        In micrometres, if the source's unit of length is true; NaN where a place is unknown.
    probes, groups, shanks, sides, contacts : tuple of str, of length channels
        Names; "" where the source has none.
    """

    places: NDArray[np.float64]
    probes: tuple[str, ...]
    groups: tuple[str, ...]
    shanks: tuple[str, ...]
    sides: tuple[str, ...]
    contacts: tuple[str, ...]

    @property
    def labels(self) -> list[tuple[str, str, str, str]]:
        """Probe, group, shank and side of each channel."""
        return list(zip(self.probes, self.groups, self.shanks, self.sides, strict=True))


def read_electrodes(recording: BaseRecording) -> Electrodes:
    """Read positions and names from the probes that are attached to a recording, and from its property ``group``.

    Raises
    ------
    ValueError
        If the unit of length of a probe is none.
    """
    groups = _group_names(recording)
    if not recording.has_probe():
        unknown = ("",) * recording.get_num_channels()
        return Electrodes(np.full((len(groups), 2), np.nan), unknown, groups, unknown, unknown, unknown)
    rows = [row for i, probe in enumerate(recording.get_probegroup().probes) for row in _contacts(i, probe)]
    rows.sort(key=lambda row: row[0])
    width = max(len(row[1]) for row in rows)
    places = np.array([[*row[1], *[0.0] * (width - len(row[1]))] for row in rows], dtype=np.float64)
    probes, shanks, sides, contacts = (tuple(row[2][k] for row in rows) for k in range(4))
    return Electrodes(places, probes, groups, shanks, sides, contacts)


def _contacts(index: int, probe: Any) -> list[tuple[int, list[float], tuple[str, str, str, str]]]:
    """List the channel, the place and the names of each contact of a probe that is wired."""
    if probe.si_units not in UM_PER_UNIT:
        raise ValueError(f"a probe has positions in {probe.si_units!r}; known are {', '.join(UM_PER_UNIT)}")
    places = np.asarray(probe.contact_positions, dtype=np.float64) * UM_PER_UNIT[probe.si_units]
    n_contacts = len(places)
    name = str(getattr(probe, "name", None) or index)
    shanks, sides, ids = (
        _texts(getattr(probe, attribute, None), n_contacts)
        for attribute in ("shank_ids", "contact_sides", "contact_ids")
    )
    channels = probe.device_channel_indices
    channels = np.arange(n_contacts) if channels is None else np.asarray(channels)
    return [
        (int(channel), places[i].tolist(), (name, shanks[i], sides[i], ids[i]))
        for i, channel in enumerate(channels)
        if channel >= 0
    ]


def _texts(values: Any, length: int) -> list[str]:
    return [""] * length if values is None else [str(value) for value in values]


def _group_names(recording: BaseRecording) -> tuple[str, ...]:
    """Return the group of each channel that the source names; one group for all is none."""
    for name in GROUP_PROPERTIES:
        values = recording.get_property(name)
        if values is not None and len({str(value) for value in values}) > 1:
            return tuple(str(value) for value in values)
    return ("",) * int(recording.get_num_channels())
