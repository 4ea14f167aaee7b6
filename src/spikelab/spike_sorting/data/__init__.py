"""What flows from stage to stage: plain, immutable data with their own save and load.

::

    recording  -> BinaryRecording    the filtered traces on disk and how to read them
    sorting    -> SpikeTrains        which unit fired at which sample
    waveforms  -> Waveforms          templates, noise and metrics of each unit

Nothing here opens a raw recording, runs a sorter or judges a unit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikeinterface import BaseRecording, BaseSorting

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Part = tuple[slice, FloatArray]
"""Some channels and their traces."""
PartReader = Callable[[int, int], Iterator[Part]]
"""Yields parts of the frames [start, end), until all channels have been."""


@dataclass(frozen=True)
class Epoch:
    """A stretch of the sorted recording that was recorded without a break.

    File boundaries, segment boundaries and cuts made by ``rec_chunks`` all start a new epoch; no template window and
    no inter-spike interval crosses one.

    Attributes
    ----------
    start_frame, end_frame : int
        Half-open range on the clock of the sorted (concatenated) recording, in frames.
    name : str
        A short label, for example the file's stem.
    source_file : str
        The file this stretch came from ("" for a recording that was in memory).
    source_segment : int
        Segment of that file.
    source_start_frame : int
        Frame of that segment at which the stretch starts.
    source_index : int
        Position of the file among the files that were concatenated; one ``SpikeData`` is returned per value.
    """

    start_frame: int
    end_frame: int
    name: str = ""
    source_file: str = ""
    source_segment: int = 0
    source_start_frame: int = 0
    source_index: int = 0

    @property
    def n_frames(self) -> int:
        """Length in frames."""
        return self.end_frame - self.start_frame


class TraceSource(Protocol):
    """What the waveform engine reads from: microvolts by frame range, and where the breaks are."""

    @property
    def n_samples(self) -> int:
        """Number of frames."""
        ...

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        ...

    @property
    def sampling_frequency(self) -> float:
        """Frames per second, in Hz."""
        ...

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """Parts of the recording that were recorded without a break, in order."""
        ...

    def read_uv(self, start: int, end: int) -> FloatArray:
        """Frames [start, end) as float32 microvolts, shape (frames, channels)."""
        ...


@dataclass(frozen=True)
class BinaryRecording:
    """The one binary that serves the sorter and the waveforms: filtered int16 counts, time by channel, C order.

    Attributes
    ----------
    path : Path
        The ``.dat`` file.
    n_samples, n_channels : int
        Shape of the file.
    sampling_frequency : float
        In Hz; never rounded (19 753.77 Hz exists).
    gain_uv : float
        Microvolts per count; the offset is zero.
    channel_ids : tuple of str
        Channel names as the file has them.
    locations : numpy.ndarray, shape (channels, 2)
        Contact positions in micrometres.
    electrodes : numpy.ndarray of int, shape (channels,), or None
        Electrode numbers where the format has them (Maxwell).
    epochs : tuple of Epoch
        Unbroken stretches; they tile [0, n_samples).
    source_file, source_format : str
        Where the recording came from.
    source_files : tuple of str
        Every file that was concatenated, in order, also one of which nothing is kept; ``Epoch.source_index`` counts
        them.
    n_clipped : int
        Samples that did not fit into int16 and were clipped.
    source_gains_uv : numpy.ndarray, shape (channels,), or None
        Microvolts per count of the file that the recording came from; None where that was microvolts already.
    """

    path: Path
    n_samples: int
    n_channels: int
    sampling_frequency: float
    gain_uv: float
    channel_ids: tuple[str, ...]
    locations: NDArray[np.float64]
    electrodes: IntArray | None
    epochs: tuple[Epoch, ...]
    source_file: str = ""
    source_format: str = ""
    source_files: tuple[str, ...] = ()
    n_clipped: int = 0
    source_gains_uv: NDArray[np.float64] | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sampling_frequency

    @cached_property
    def counts(self) -> NDArray[np.int16]:
        """The file as a read-only memory map, shape (samples, channels)."""
        if self.n_samples == 0:
            return np.empty((0, self.n_channels), dtype=np.int16)
        return np.memmap(self.path, dtype=np.int16, mode="r", shape=(self.n_samples, self.n_channels))

    def read_uv(self, start: int, end: int) -> FloatArray:
        """Frames [start, end) as float32 microvolts, shape (frames, channels)."""
        start, end, _ = slice(start, end).indices(self.n_samples)
        n_values = max(0, end - start) * self.n_channels
        # Read, not mapped: mapped pages count as memory of the process until the system wants them back.
        counts = np.fromfile(self.path, dtype=np.int16, count=n_values, offset=2 * start * self.n_channels)
        return counts.reshape(-1, self.n_channels) * np.float32(self.gain_uv)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description without the path (results folders can be moved)."""
        return {
            "n_samples": self.n_samples,
            "n_channels": self.n_channels,
            "sampling_frequency": self.sampling_frequency,
            "gain_uv": self.gain_uv,
            "channel_ids": list(self.channel_ids),
            "locations": self.locations.tolist(),
            "electrodes": None if self.electrodes is None else self.electrodes.tolist(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "source_file": self.source_file,
            "source_format": self.source_format,
            "source_files": list(self.source_files),
            "n_clipped": self.n_clipped,
            "source_gains_uv": None if self.source_gains_uv is None else self.source_gains_uv.tolist(),
        }

    @classmethod
    def from_dict(cls, path: Path, values: Mapping[str, Any]) -> BinaryRecording:
        """Undo :meth:`to_dict`; `path` is the ``.dat`` file, which need not exist yet."""
        electrodes, gains = values["electrodes"], values["source_gains_uv"]
        return cls(
            **{
                **values,
                "path": Path(path),
                "channel_ids": tuple(values["channel_ids"]),
                "locations": np.asarray(values["locations"], dtype=np.float64).reshape(-1, 2),
                "electrodes": None if electrodes is None else np.asarray(electrodes, dtype=np.int64),
                "epochs": tuple(Epoch(**epoch) for epoch in values["epochs"]),
                "source_files": tuple(values["source_files"]),
                "source_gains_uv": None if gains is None else np.asarray(gains, dtype=np.float64),
            }
        )

    def to_spikeinterface(self, *, described: bool = True) -> BaseRecording:
        """The same file as a SpikeInterface recording (gains set, locations set, serialisable).

        With `described`, the description travels along as the annotation ``spikelab_binary``, so that
        :meth:`from_spikeinterface` finds it again; it names the file by its absolute path.
        """
        from spikeinterface.core import BinaryRecordingExtractor

        recording = BinaryRecordingExtractor(
            [str(self.path)],
            sampling_frequency=self.sampling_frequency,
            dtype="int16",
            num_channels=self.n_channels,
            channel_ids=list(self.channel_ids),
            gain_to_uV=self.gain_uv,
            offset_to_uV=0.0,
            is_filtered=True,
        )
        recording.set_dummy_probe_from_locations(self.locations)
        if self.electrodes is not None:
            recording.set_property("electrode", self.electrodes)
        if described:
            recording.annotate(
                spikelab_binary=json.dumps({"path": os.fspath(self.path), **self.to_dict()}),
                spikelab_epochs=json.dumps([asdict(epoch) for epoch in self.epochs]),
            )
        return recording

    def to_segments(self) -> BaseRecording:
        """The file as a SpikeInterface recording with one segment per epoch, in microvolts by its gain."""
        from spikeinterface.core import append_recordings

        whole = self.to_spikeinterface(described=False)
        if len(self.epochs) < 2:
            return whole
        return append_recordings([whole.frame_slice(epoch.start_frame, epoch.end_frame) for epoch in self.epochs])

    @classmethod
    def from_spikeinterface(cls, recording: BaseRecording) -> BinaryRecording | None:
        """The binary behind `recording`, or None where `recording` is not one of ours."""
        text = recording.get_annotation("spikelab_binary")
        if text is None or type(recording).__name__ != "BinaryRecordingExtractor":
            return None
        values = json.loads(text)
        return cls.from_dict(Path(values.pop("path")), values)


def rows_of_each(labels: NDArray[np.integer[Any]], values: ArrayLike) -> tuple[IntArray, ...]:
    """Rows of `labels` that hold each of `values`, ascending; for all values in the time that one would take."""
    lowest, highest = (labels.min(), labels.max()) if len(labels) else (0, 0)
    # Numbers of 16 bits are sorted in linear time.
    small = labels if int(highest) - int(lowest) >= 2**16 else (labels - lowest).astype(np.uint16)
    order = np.argsort(small, kind="stable")
    ordered = labels[order]
    starts, ends = np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")
    return tuple(order[start:end] for start, end in zip(starts, ends, strict=True))


def integer_ids(ids: Sequence[Any]) -> list[int]:
    """Integers that stand for unit ids: the ids themselves where all are whole numbers, else 0, 1, 2, ... in order.

    Text counts as a number where it is written as ``str`` writes it: "0_1" and "01" are names, which no integer may
    stand for, since "1" could be another unit.
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


@dataclass(frozen=True)
class SpikeTrains:
    """Which unit fired at which sample.

    Attributes
    ----------
    unit_ids : numpy.ndarray of int64, shape (units,)
        Ascending.
    samples : tuple of numpy.ndarray of int64
        One sorted array of frames per unit, in the order of `unit_ids`.
    """

    unit_ids: IntArray
    samples: tuple[IntArray, ...]

    def __post_init__(self) -> None:
        if len(self.unit_ids) != len(self.samples):
            raise ValueError(f"{len(self.unit_ids)} unit ids but {len(self.samples)} spike trains")

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.unit_ids)

    @classmethod
    def from_dict(cls, trains: Mapping[int, Sequence[int] | IntArray]) -> SpikeTrains:
        """From ``{unit id: frames}``; units and frames are sorted."""
        ids = sorted(trains)
        return cls(
            np.asarray(ids, dtype=np.int64),
            tuple(np.sort(np.asarray(trains[unit], dtype=np.int64)) for unit in ids),
        )

    @classmethod
    def from_spikeinterface(cls, sorting: BaseSorting) -> SpikeTrains:
        """From a single-segment sorting; its unit ids become integers as :func:`integer_ids` makes them."""
        numbers = integer_ids(list(sorting.unit_ids))
        # All spikes at once: for one unit after the other SpikeInterface would look at all spikes each time.
        spikes = sorting.to_spike_vector()
        trains = rows_of_each(spikes["unit_index"], range(len(numbers)))
        return cls.from_dict({unit: spikes["sample_index"][rows] for unit, rows in zip(numbers, trains, strict=True)})

    def to_spikeinterface(self, sampling_frequency: float) -> BaseSorting:
        """As a SpikeInterface ``NumpySorting``."""
        from spikeinterface.core import NumpySorting

        return NumpySorting.from_unit_dict(
            {int(unit): train for unit, train in zip(self.unit_ids, self.samples, strict=True)}, sampling_frequency
        )

    def to_segments(self, sampling_frequency: float, epochs: Sequence[Epoch]) -> BaseSorting:
        """As a SpikeInterface ``NumpySorting`` with one segment per epoch, each counting from its own start."""
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
        np.savez(path, unit_ids=self.unit_ids, spike_times=times, spike_clusters=np.repeat(self.unit_ids, counts))

    @classmethod
    def load(cls, path: Path) -> SpikeTrains:
        """Undo :meth:`save`."""
        with np.load(path) as data:
            ids, times, clusters = data["unit_ids"], data["spike_times"], data["spike_clusters"]
        return cls(ids, tuple(times[rows] for rows in rows_of_each(clusters, ids)))


LARGE = ("templates", "template_stds", "epoch_templates")


@dataclass(frozen=True)
class Waveforms:
    """Templates and metrics of all units: what one pass over the binary gathers. Voltages are microvolts.

    Attributes
    ----------
    unit_ids : numpy.ndarray of int64, shape (units,)
    spikes : tuple of numpy.ndarray of int64
        Centred spike frames per unit: every spike, moved to its peak on the main channel.
    n_before : int
        Peak index in the window; the window has ``n_before + n_after + 1`` samples.
    templates, template_stds : numpy.ndarray of float32, shape (units, samples, channels)
    main_channels : numpy.ndarray of int64, shape (units,)
        Index of the channel with the largest peak.
    has_pos_peak : numpy.ndarray of bool, shape (units,)
    amplitudes : numpy.ndarray of float32, shape (units, channels)
        max |template| per channel.
    peak_inds : numpy.ndarray of int64, shape (units, channels)
        Sample of that maximum in the window.
    std_norms_all : numpy.ndarray of float32, shape (units, channels)
    noise : numpy.ndarray of float32, shape (channels,)
        MAD / 0.6745.
    snr, std_norm : numpy.ndarray of float32, shape (units,)
        On the main channel.
    n_averaged : numpy.ndarray of int64, shape (units,)
        Spikes behind each template.
    epoch_templates : numpy.ndarray of float32, shape (epochs, units, samples, channels), or None
        Mean over the averaged spikes of each epoch; NaN where an epoch has none. None with a single epoch.
    epoch_snr, epoch_std_norm : numpy.ndarray of float32, shape (epochs, units), or None
        On the main channel, from the template, the standard deviation and the noise of each epoch alone; 0 and infinity
        where an epoch has no averaged spike. None with a single epoch.
    """

    unit_ids: IntArray
    spikes: tuple[IntArray, ...] = field(repr=False)
    n_before: int
    templates: FloatArray = field(repr=False)
    template_stds: FloatArray = field(repr=False)
    main_channels: IntArray
    has_pos_peak: NDArray[np.bool_]
    amplitudes: FloatArray = field(repr=False)
    peak_inds: IntArray = field(repr=False)
    std_norms_all: FloatArray = field(repr=False)
    noise: FloatArray = field(repr=False)
    snr: FloatArray
    std_norm: FloatArray
    n_averaged: IntArray
    epoch_templates: FloatArray | None = field(default=None, repr=False)
    epoch_snr: FloatArray | None = field(default=None, repr=False)
    epoch_std_norm: FloatArray | None = field(default=None, repr=False)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.unit_ids)

    def save(self, folder: Path, n_jobs: int = 1) -> None:
        """Write ``waveforms.npz``, and a file of its own for each of the `LARGE` arrays: a zip would take longer."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "spikes"}
        large = {name: arrays.pop(name) for name in LARGE if arrays[name] is not None}
        with ThreadPool(n_jobs) as threads:
            list(threads.map(np.save, [folder / f"{name}.npy" for name in large], large.values()))
        np.savez(
            folder / "waveforms.npz",
            spike_times=np.concatenate([np.empty(0, np.int64), *self.spikes]),
            spike_counts=np.array([len(train) for train in self.spikes], dtype=np.int64),
            **{name: value for name, value in arrays.items() if value is not None},
        )

    @classmethod
    def load(cls, folder: Path, n_jobs: int = 1) -> Waveforms:
        """Undo :meth:`save`."""
        with np.load(folder / "waveforms.npz") as data:
            arrays: dict[str, Any] = dict(data)
        large = [name for name in LARGE if "epoch_snr" in arrays or not name.startswith("epoch")]
        with ThreadPool(n_jobs) as threads:
            loaded = threads.map(np.load, [folder / f"{name}.npy" for name in large])
            arrays |= dict(zip(large, loaded, strict=True))
        ends = np.cumsum(arrays.pop("spike_counts"))
        spikes = tuple(np.split(arrays.pop("spike_times"), ends[:-1])) if len(ends) else ()
        return cls(spikes=spikes, n_before=int(arrays.pop("n_before")), **arrays)
