"""Geometry of a recording: where the electrode of each channel is, and which channels are sorted together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data.arrays import IntArray


@dataclass(frozen=True)
class Geometry:
    """Electrodes of a recording, one per channel, and the groups in which they are sorted.

    Attributes
    ----------
    places : numpy.ndarray of float64, shape (channels, 2)
        Positions in micrometres. Groups whose own coordinates overlap lie side by side.
    own_places : numpy.ndarray of float64, shape (channels, 2)
        Positions in the coordinates of the source, in micrometres; NaN where the source has none.
    groups : numpy.ndarray of int64, shape (channels,)
        Group of each channel, a position in `group_names`.
    group_names : tuple of str
        Names of the groups: of their probe, shank, side or group in the source.
    probes, shanks, sides : tuple of str, of length channels
        Names in the source; "" where it has none.
    contacts : tuple of str, of length channels
        Ids of the contacts in the source; "" where it has none.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import Geometry
    >>> two_shanks = Geometry.of(np.array([[0.0, 0.0], [0.0, 20.0], [250.0, 0.0]]), groups=[0, 0, 1])
    >>> [channels.tolist() for channels in two_shanks.channels_of_groups()]
    [[0, 1], [2]]
    """

    places: NDArray[np.float64]
    own_places: NDArray[np.float64]
    groups: IntArray
    group_names: tuple[str, ...]
    probes: tuple[str, ...]
    shanks: tuple[str, ...]
    sides: tuple[str, ...]
    contacts: tuple[str, ...]

    @classmethod
    def of(cls, places: NDArray[np.float64], groups: Any = None) -> Geometry:
        """Make the geometry of electrodes of which only the places, and perhaps the groups, are known."""
        n_channels = len(places)
        numbers = np.zeros(n_channels, dtype=np.int64) if groups is None else np.asarray(groups, dtype=np.int64)
        names = ("",) if groups is None else tuple(str(number) for number in range(int(numbers.max(initial=0)) + 1))
        unknown = ("",) * n_channels
        return cls(places, places, numbers, names, unknown, unknown, unknown, unknown)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.group_names)

    def channels_of_groups(self) -> Iterator[IntArray]:
        """Yield the channels of each group, in order."""
        for number in range(self.n_groups):
            yield np.flatnonzero(self.groups == number)

    def names_of_channels(self) -> tuple[str, ...]:
        """Return the name of the group of each channel."""
        return tuple(self.group_names[number] for number in self.groups)

    def take(self, channels: IntArray) -> Geometry:
        """Keep the given channels, in the given order; groups of which none is left go."""
        left = sorted(set(self.groups[channels].tolist()))
        number = {old: new for new, old in enumerate(left)}
        return Geometry(
            self.places[channels],
            self.own_places[channels],
            np.array([number[old] for old in self.groups[channels].tolist()], dtype=np.int64),
            tuple(self.group_names[old] for old in left),
            *(
                tuple(names[channel] for channel in channels)
                for names in (self.probes, self.shanks, self.sides, self.contacts)
            ),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Geometry:
        """Make a geometry from its fields as JSON has them."""
        names = {name: tuple(values[name]) for name in ("group_names", "probes", "shanks", "sides", "contacts")}
        return cls(
            places=np.array(values["places"], dtype=np.float64).reshape(-1, 2),
            own_places=np.array(values["own_places"], dtype=np.float64).reshape(-1, 2),
            groups=np.array(values["groups"], dtype=np.int64),
            **names,
        )
