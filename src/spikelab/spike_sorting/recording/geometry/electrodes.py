"""Read the electrodes of a SpikeInterface recording as the source has them, one per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

UM_PER_UNIT = {"um": 1.0, "mm": 1e3, "m": 1e6}
GROUP_PROPERTIES = ("group", "group_name")
KINDS = ("probe", "side", "group", "shank")  # from the whole to its parts

Label: TypeAlias = tuple[str, str, str, str]


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
    def labels(self) -> list[Label]:
        """Probe, side, group and shank of each channel."""
        return list(zip(self.probes, self.sides, self.groups, self.shanks, strict=True))


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
    probes_with_names = _named_probes(recording.get_probegroup().probes)
    rows = [row for name, probe in probes_with_names for row in _contacts(name, probe)]
    rows.sort(key=lambda row: row[0])
    width = max(len(row[1]) for row in rows)
    places = np.array([[*row[1], *[0.0] * (width - len(row[1]))] for row in rows], dtype=np.float64)
    probes, shanks, sides, contacts = (tuple(row[2][k] for row in rows) for k in range(4))
    return Electrodes(places, probes, groups, shanks, sides, contacts)


def _named_probes(probes: list[Any]) -> list[tuple[str, Any]]:
    """Name each probe; two of the same model, which have one name, by their numbers too."""
    names = [str(getattr(probe, "name", None) or "") for probe in probes]
    told = [name if name and names.count(name) == 1 else f"{name} {i}".strip() for i, name in enumerate(names)]
    return list(zip(told, probes, strict=True))


def _contacts(name: str, probe: Any) -> list[tuple[int, list[float], tuple[str, str, str, str]]]:
    """List the channel, the place and the names of each contact of a probe that is wired."""
    if probe.si_units not in UM_PER_UNIT:
        raise ValueError(f"a probe has positions in {probe.si_units!r}; known are {', '.join(UM_PER_UNIT)}")
    places = np.asarray(probe.contact_positions, dtype=np.float64) * UM_PER_UNIT[probe.si_units]
    n_contacts = len(places)
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
