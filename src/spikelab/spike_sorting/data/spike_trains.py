"""Spike trains of all units: what a sorter finds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data.dead_time import in_dead_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray
    from spikeinterface import BaseSorting

    from spikelab.spike_sorting.data.arrays import IntArray
    from spikelab.spike_sorting.data.epochs import Epoch

GROUP, SORTER_ID = "spikelab_group", "spikelab_sorter_id"
"""Properties of a SpikeInterface sorting: group of channels, and the sorter's own id, of each unit."""
MOVED_UM, SIZE_RATIO, SORTER_SIGNIFICANCE = "moved_um", "size_ratio", "sorter_significance"
MEASURES = (MOVED_UM, SIZE_RATIO, SORTER_SIGNIFICANCE)
"""What a sorter may have measured of each unit: properties of a sorting, and neuron attributes of its result.

How far the unit went during the recording, in um, its largest amplitude over its smallest at another time, and by how
many standard errors its spikes are more than the noise that the sorter measured.
"""


TOLD = "imported_"
"""Begin of the names of properties, and neuron attributes, that hold what another program says of the units."""


def rows_of_each(labels: NDArray[np.integer[Any]], values: ArrayLike) -> tuple[IntArray, ...]:
    """Find the rows of `labels` that hold each of `values`, ascending, with one sort for all values."""
    lowest, highest = (labels.min(), labels.max()) if len(labels) else (0, 0)
    # NumPy sorts 16-bit integers in linear time.
    small = labels if int(highest) - int(lowest) >= 2**16 else (labels - lowest).astype(np.uint16)
    order = np.argsort(small, kind="stable")
    ordered = labels[order]
    starts, ends = np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")
    return tuple(order[start:end] for start, end in zip(starts, ends, strict=True))


def integer_ids(ids: Sequence[Any]) -> list[int]:
    """Number units: by their ids where all are distinct whole numbers, else 0, 1, 2, ... in order.

    Text is a number only as ``str`` writes numbers: "0_1" and "01" are names, since "1" could be another unit.
    """
    numbers = [_whole(unit) for unit in ids]
    exact = [number for number in numbers if number is not None]
    return exact if len(set(exact)) == len(ids) else list(range(len(ids)))


def _whole(unit: Any) -> int | None:
    try:
        number = int(unit)
    except (ValueError, TypeError, OverflowError):
        return None
    is_same = str(unit) == str(number) if isinstance(unit, str) else bool(unit == number)
    return number if is_same and -(2**63) <= number < 2**63 else None


def _joined_measures(every: Sequence[SpikeTrains]) -> dict[str, NDArray[np.float64]]:
    """Join what sorters measured of units, in the order of the table; NaN where one did not."""
    names = [name for name in MEASURES if any(name in trains.measures for trains in every)]
    return {
        name: np.concatenate([trains.measures.get(name, np.full(trains.n_units, np.nan)) for trains in every])
        for name in names
    }


def _joined_told(every: Sequence[SpikeTrains]) -> dict[str, tuple[Any, ...]]:
    """Join what others told of units; None where they did not."""
    names = dict.fromkeys(name for trains in every for name in trains.told)
    return {
        name: tuple(value for trains in every for value in trains.told.get(name, [None] * trains.n_units))
        for name in names
    }


def _measures(sorting: BaseSorting, order: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
    """Get the properties of a sorting that are measures of its units, which are put in an order."""
    told = [name for name in MEASURES if name in sorting.get_property_keys()]
    return {name: np.asarray(sorting.get_property(name), dtype=np.float64)[order] for name in told}


def _told(sorting: BaseSorting, order: NDArray[np.intp]) -> dict[str, tuple[Any, ...]]:
    """Get the properties of a sorting that another program said of its units, put in an order."""
    names = [str(name) for name in sorting.get_property_keys() if str(name).startswith(TOLD)]
    return {name: tuple(np.asarray(sorting.get_property(name))[order].tolist()) for name in names}


@dataclass(frozen=True)
class SpikeTrains:
    """Spike trains of all units, in frames of the recording.

    Attributes
    ----------
    unit_ids : numpy.ndarray of int64, shape (units,)
        Unit ids, ascending.
    samples : tuple of numpy.ndarray of int64
        Spike frames of each unit, ascending, in the order of `unit_ids`.
    groups : numpy.ndarray of int64, shape (units,), or None
        Group of channels that each unit was found on; None where all channels were sorted together.
    sorter_ids : tuple of str, or None
        Ids that the sorter gave; None where they are `unit_ids`.
    measures : dict of str to numpy.ndarray of float64, shape (units,)
        Those of :data:`MEASURES` that the sorter tells.
    told : dict of str to tuple
        What another program that found the units says of each: texts, numbers, truth values or None, by a name that
        begins with :data:`TOLD`.

    Raises
    ------
    ValueError
        If there are not as many trains, groups or sorter's ids as unit ids.

    Examples
    --------
    >>> from spikelab.spike_sorting.data import SpikeTrains
    >>> trains = SpikeTrains.from_dict({7: [300, 100], 2: [250]})
    >>> trains.unit_ids
    array([2, 7])
    >>> trains.samples[1]
    array([100, 300])
    """

    unit_ids: IntArray
    samples: tuple[IntArray, ...]
    groups: IntArray | None = None
    sorter_ids: tuple[str, ...] | None = None
    measures: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    told: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.unit_ids) != len(self.samples):
            raise ValueError(f"{len(self.unit_ids)} unit ids but {len(self.samples)} spike trains")
        for what, values in (
            ("groups", self.groups),
            ("sorter ids", self.sorter_ids),
            *self.measures.items(),
            *self.told.items(),
        ):
            if values is not None and len(values) != len(self.unit_ids):
                raise ValueError(f"{len(self.unit_ids)} unit ids but {len(values)} {what}")

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.unit_ids)

    def inside(self, n_samples: int) -> SpikeTrains:
        """Leave out the spikes outside a recording of so many frames; units stay."""
        if all(not len(train) or (train[0] >= 0 and train[-1] < n_samples) for train in self.samples):
            return self
        bounds = (np.searchsorted(train, [0, n_samples]) for train in self.samples)
        kept = tuple(train[slice(*bound)] for train, bound in zip(self.samples, bounds, strict=True))
        return replace(self, samples=kept)

    def outside(self, periods: IntArray) -> SpikeTrains:
        """Leave out the spikes in periods of dead time, shape (periods, 2), and units that had no others."""
        if not len(periods):
            return self
        samples = [frames[~in_dead_time(frames, periods)] for frames in self.samples]
        pairs = zip(samples, self.samples, strict=True)
        kept = np.flatnonzero([len(outside) > 0 or len(every) == 0 for outside, every in pairs])
        return replace(self, samples=tuple(samples)).take(kept)

    @classmethod
    def from_dict(cls, trains: Mapping[int, Sequence[int] | IntArray]) -> SpikeTrains:
        """Make trains from ``{unit id: frames}``; units and frames are sorted."""
        ids = sorted(trains)
        return cls(
            np.asarray(ids, dtype=np.int64),
            tuple(np.sort(np.asarray(trains[unit], dtype=np.int64)) for unit in ids),
        )

    @classmethod
    def from_spikeinterface(cls, sorting: BaseSorting) -> SpikeTrains:
        """Make trains from a single-segment sorting; :func:`integer_ids` numbers its units."""
        originals = list(sorting.unit_ids)
        numbers = integer_ids(originals)
        # All units are taken from one spike vector: SpikeInterface scans all spikes for each unit it is asked for.
        spikes = sorting.to_spike_vector()
        rows = rows_of_each(spikes["unit_index"], range(len(numbers)))
        order = np.argsort(numbers, kind="stable")
        groups, names = sorting.get_property(GROUP), sorting.get_property(SORTER_ID)
        if names is None and [str(unit) for unit in originals] != [str(number) for number in numbers]:
            names = [str(unit) for unit in originals]
        return cls(
            np.asarray(numbers, dtype=np.int64)[order],
            tuple(np.sort(spikes["sample_index"][rows[unit]].astype(np.int64)) for unit in order),
            None if groups is None else np.asarray(groups, dtype=np.int64)[order],
            None if names is None else tuple(str(names[unit]) for unit in order),
            _measures(sorting, order),
            _told(sorting, order),
        )

    @classmethod
    def of_groups(cls, found: Sequence[tuple[int, SpikeTrains]]) -> SpikeTrains:
        """Join the units that were found on each group of channels; ids go on from group to group.

        Parameters
        ----------
        found : sequence of (int, SpikeTrains)
            Number of the group, ascending, and its units. The sorter's own ids stay in `sorter_ids`.
        """
        ids: list[IntArray] = []
        samples: list[IntArray] = []
        groups: list[IntArray] = []
        names: list[str] = []
        first = 0
        for group, trains in found:
            ids.append(trains.unit_ids - min(trains.unit_ids.min(initial=0), 0) + first)
            first = int(ids[-1].max(initial=first - 1)) + 1
            samples += trains.samples
            groups.append(np.full(trains.n_units, group, dtype=np.int64))
            names += trains.sorter_ids or [str(unit) for unit in trains.unit_ids.tolist()]
        every = [trains for _, trains in found]
        return cls(
            np.concatenate(ids), tuple(samples), np.concatenate(groups), tuple(names), _joined_measures(every),
            _joined_told(every),
        )  # fmt: skip

    def take(self, rows: IntArray) -> SpikeTrains:
        """Keep the units at some rows, in the given order."""
        return SpikeTrains(
            self.unit_ids[rows],
            tuple(self.samples[row] for row in rows.tolist()),
            None if self.groups is None else self.groups[rows],
            None if self.sorter_ids is None else tuple(self.sorter_ids[row] for row in rows.tolist()),
            {name: values[rows] for name, values in self.measures.items()},
            {name: tuple(values[row] for row in rows.tolist()) for name, values in self.told.items()},
        )

    def to_spikeinterface(self, sampling_frequency: float) -> BaseSorting:
        """Make a SpikeInterface ``NumpySorting``; groups, the sorter's ids and measures are properties."""
        from spikeinterface.core import NumpySorting

        sorting = NumpySorting.from_unit_dict(
            {int(unit): train for unit, train in zip(self.unit_ids, self.samples, strict=True)}, sampling_frequency
        )
        if self.groups is not None:
            sorting.set_property(GROUP, self.groups)
        if self.sorter_ids is not None:
            sorting.set_property(SORTER_ID, np.array(self.sorter_ids))
        for name, values in self.measures.items():
            sorting.set_property(name, values)
        for name, said in self.told.items():
            sorting.set_property(name, np.array(said, dtype=object))
        return sorting

    def to_segments(self, sampling_frequency: float, epochs: Sequence[Epoch]) -> BaseSorting:
        """Make a ``NumpySorting`` with one segment per epoch, frames counted from the start of each."""
        from spikeinterface.core import NumpySorting

        segments = []
        for epoch in epochs:
            trains = {}
            for unit, train in zip(self.unit_ids.tolist(), self.samples, strict=True):
                first, last = np.searchsorted(train, [epoch.start_frame, epoch.end_frame])
                trains[unit] = train[first:last] - epoch.start_frame
            segments.append(trains)
        return NumpySorting.from_unit_dict(segments, sampling_frequency)

    def save(self, path: Path) -> None:
        """Write an ``.npz`` without pickled objects: unit_ids, spike_times, spike_clusters."""
        counts = [len(train) for train in self.samples]
        times = np.concatenate([np.empty(0, np.int64), *self.samples])
        more: dict[str, Any] = {} if self.groups is None else {"groups": self.groups}
        if self.sorter_ids is not None:
            more["sorter_ids"] = np.array(self.sorter_ids, dtype=np.str_)
        more |= self.measures
        if self.told:
            more["told"] = np.array(json.dumps(self.told))
        clusters = np.repeat(self.unit_ids, counts)
        np.savez(path, unit_ids=self.unit_ids, spike_times=times, spike_clusters=clusters, **more)

    @classmethod
    def load(cls, path: Path) -> SpikeTrains:
        """Read the file that :meth:`save` wrote."""
        with np.load(path) as data:
            ids, times, clusters = data["unit_ids"], data["spike_times"], data["spike_clusters"]
            groups, names = data.get("groups"), data.get("sorter_ids")
            measures = {name: data[name] for name in MEASURES if name in data}
            said = json.loads(str(data["told"])) if "told" in data else {}
        trains = tuple(times[rows] for rows in rows_of_each(clusters, ids))
        told = {name: tuple(values) for name, values in said.items()}
        return cls(ids, trains, groups, None if names is None else tuple(names.tolist()), measures, told)
