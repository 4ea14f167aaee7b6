"""The filtered recording on disk, which the sorter and the waveforms are computed from."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data.dead_time import annotate_dead_time, union
from spikelab.spike_sorting.data.epochs import Epoch, annotate_epochs
from spikelab.spike_sorting.data.geometry import Geometry
from spikelab.spike_sorting.data.pulses import Pulses, annotate_pulses
from spikelab.system.json_files import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data.arrays import FloatArray, IntArray

COPY_BYTES = 1 << 25  # read at a time where channels are copied


@dataclass(frozen=True)
class BinaryRecording:
    """The filtered recording on disk: int16 counts, shape (samples, channels), C order.

    One file serves the sorter and the waveforms.

    Attributes
    ----------
    path : Path
        ``.dat`` file.
    n_samples, n_channels : int
        Shape of the file.
    sampling_frequency : float
        In Hz, not rounded: 19 753.77 Hz exists.
    gain_uv : float
        Microvolts per count; the offset is zero.
    channel_ids : tuple of str
        Channel names of the source file.
    locations : numpy.ndarray, shape (channels, 2)
        Contact positions in micrometres.
    electrodes : numpy.ndarray of int, shape (channels,), or None
        Electrode numbers where the format has them (Maxwell).
    epochs : tuple of Epoch
        Segments that were recorded without a break; they tile [0, n_samples).
    source_file, source_format : str
        File that the recording was made from, and its format.
    source_files : tuple of str
        All files that were concatenated, in order, also those without a kept frame; ``Epoch.source_index`` is a
        position among them.
    n_clipped : int
        Number of samples that exceeded int16 and were clipped.
    source_gains_uv : numpy.ndarray, shape (channels,), or None
        Microvolts per count of the source file; None where it is not known.
    geometry : Geometry or None
        Electrodes as the source names and groups them; None where nothing but `locations` is known.
    dead_time : numpy.ndarray of int, shape (periods, 2)
        Frames in which nothing can be told of neurons: first frame and end of each period, ascending and apart.
    pulses : Pulses
        Stimulation pulses, as far as they are known.
    motion : dict or None
        What was found of the tissue's movement: the setting, whether the traces were ``corrected``, and of each group
        of channels (``groups``) how far it ``moved_um`` before, the range of 90 % of the time. None: not measured.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import BinaryRecording, Epoch
    >>> np.array([[0, 10], [-20, 30]], dtype=np.int16).tofile("traces.dat")
    >>> places = np.array([[0.0, 0.0], [17.5, 0.0]])
    >>> shape = {"n_samples": 2, "n_channels": 2, "sampling_frequency": 20_000.0, "gain_uv": 0.5}
    >>> channels = {"channel_ids": ("a", "b"), "locations": places, "electrodes": None}
    >>> binary = BinaryRecording(Path("traces.dat"), **shape, **channels, epochs=(Epoch(0, 2),))
    >>> binary.read_uv(0, 2)
    array([[  0.,   5.],
           [-10.,  15.]], dtype=float32)
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
    geometry: Geometry | None = None
    dead_time: IntArray = field(default_factory=union)
    pulses: Pulses = field(default_factory=Pulses)
    motion: dict[str, Any] | None = None

    @property
    def groups(self) -> IntArray:
        """Group of each channel; channels of different groups are sorted apart."""
        return np.zeros(self.n_channels, dtype=np.int64) if self.geometry is None else self.geometry.groups

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sampling_frequency

    @cached_property
    def counts(self) -> NDArray[np.int16]:
        """Counts as a read-only memory map of the file, shape (samples, channels)."""
        if self.n_samples == 0:
            return np.empty((0, self.n_channels), dtype=np.int16)
        return np.memmap(self.path, dtype=np.int16, mode="r", shape=(self.n_samples, self.n_channels))

    def read_uv(self, start: int, end: int) -> FloatArray:
        """Read frames [start, end) as float32 microvolts, shape (frames, channels)."""
        start, end, _ = slice(start, end).indices(self.n_samples)
        n_values = max(0, end - start) * self.n_channels
        # The counts are read, not mapped: mapped pages count as the process's memory until the system reclaims them.
        counts = np.fromfile(self.path, dtype=np.int16, count=n_values, offset=2 * start * self.n_channels)
        return counts.reshape(-1, self.n_channels) * np.float32(self.gain_uv)

    def to_dict(self) -> dict[str, Any]:
        """Describe the recording for JSON, without its path, as results folders can be moved."""
        values = asdict(self)
        del values["path"]
        if not len(self.dead_time):
            del values["dead_time"]
        if not len(self.pulses):
            del values["pulses"]
        if self.motion is None:
            del values["motion"]
        return dict(plain(values, number=lambda value: value if math.isfinite(value) else None))

    @classmethod
    def from_dict(cls, path: Path, values: Mapping[str, Any]) -> BinaryRecording:
        """Make a recording from the description of :meth:`to_dict` and the ``.dat`` file, which need not exist yet."""
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
                "geometry": None if (geometry := values.get("geometry")) is None else Geometry.from_dict(geometry),
                "dead_time": union(values.get("dead_time", ())),
                "pulses": Pulses.from_dict(values.get("pulses")),
            }
        )

    def to_spikeinterface(self, *, described: bool = True) -> BaseRecording:
        """Open the file as a SpikeInterface recording with gains, locations and, with `described`, annotations.

        ``spikelab_binary`` holds the description and the path, which :meth:`from_spikeinterface` reads;
        ``spikelab_epochs`` holds the epochs and ``spikelab_dead_time``, where there is any, the periods of dead time.
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
        recording.set_channel_groups(self.groups)
        if described:
            recording.annotate(spikelab_binary=json.dumps({"path": os.fspath(self.path), **self.to_dict()}))
            annotate_epochs(recording, self.epochs)
            annotate_dead_time(recording, self.dead_time)
            annotate_pulses(recording, self.pulses)
        return recording

    def take(self, channels: IntArray, path: Path) -> BinaryRecording:
        """Write the given channels to a file of their own."""
        chunk = max(1, COPY_BYTES // (2 * self.n_channels))
        with path.open("wb") as file:
            for start in range(0, self.n_samples, chunk):
                n_values = min(chunk, self.n_samples - start) * self.n_channels
                counts = np.fromfile(self.path, dtype=np.int16, count=n_values, offset=2 * start * self.n_channels)
                # Not `tofile`, whose error of a full disk has no number.
                file.write(np.ascontiguousarray(counts.reshape(-1, self.n_channels)[:, channels]).data)
        return replace(
            self,
            path=path,
            n_channels=len(channels),
            channel_ids=tuple(self.channel_ids[channel] for channel in channels),
            locations=self.locations[channels],
            electrodes=None if self.electrodes is None else self.electrodes[channels],
            source_gains_uv=None if self.source_gains_uv is None else self.source_gains_uv[channels],
            geometry=None if self.geometry is None else self.geometry.take(channels),
        )

    def to_segments(self) -> BaseRecording:
        """Open the file as a SpikeInterface recording with one segment per epoch."""
        from spikeinterface.core import append_recordings

        whole = self.to_spikeinterface(described=False)
        if len(self.epochs) < 2:
            return whole
        return append_recordings([whole.frame_slice(epoch.start_frame, epoch.end_frame) for epoch in self.epochs])

    @classmethod
    def from_spikeinterface(cls, recording: BaseRecording) -> BinaryRecording | None:
        """Find the binary behind `recording`; None where `recording` is not from :meth:`to_spikeinterface`."""
        text = recording.get_annotation("spikelab_binary")
        if text is None or type(recording).__name__ != "BinaryRecordingExtractor":
            return None
        values = json.loads(text)
        return cls.from_dict(Path(values.pop("path")), values)
