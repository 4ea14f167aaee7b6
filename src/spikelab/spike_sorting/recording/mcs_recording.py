"""HDF5 files of Multi Channel Systems as a SpikeInterface recording.

SpikeInterface's reader is not used: it takes the first stream alone, refuses recordings that do not begin at time 0,
and makes three numbers for each frame when it opens a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from spikeinterface import BaseRecording, BaseRecordingSegment

from spikelab.spike_sorting.recording.completeness import read_table
from spikelab.spike_sorting.recording.hdf5 import open_hdf5
from spikelab.spike_sorting.recording.read_errors import reading
from spikelab.spike_sorting.recording.streams import Stream
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

STREAMS = "Data/Recording_0/AnalogStream"
ELECTRODES = "Electrode"  # other kinds are Auxiliary and Digital
MICROSECONDS, MICROVOLTS = 1e6, 1e6


def list_mcs_streams(file: Any) -> list[Stream]:
    """List the analog streams of an open file."""
    found = []
    for name in sorted(file[STREAMS], key=lambda name: (len(name), name)):
        attributes = file[STREAMS][name].attrs
        kind, label = (_text(attributes.get(key, "")) for key in ("DataSubType", "Label"))
        found.append(Stream(name.removeprefix("Stream_"), label, kind in ("", ELECTRODES)))
    return found


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


class McsRecording(BaseRecording):  # type: ignore[misc]  # SpikeInterface has no types
    """An analog stream of the first recording of a file.

    Parameters
    ----------
    file_path : str or Path
        The ``.h5`` file.
    stream_id : str
        The number of the stream.
    """

    def __init__(self, file_path: str | Path, stream_id: str = "0") -> None:
        path = Path(file_path).absolute()
        file = open_hdf5(path)
        try:
            with reading(path, "as mcsh5"):
                self.stream_path = f"{STREAMS}/Stream_{stream_id}"
                data = file[f"{self.stream_path}/ChannelData"]
                _warn_of_others(path, file["Data"])
                info = _channels(path, file[f"{self.stream_path}/InfoChannel"], data.shape)
                volts = info["ConversionFactor"] * 10.0 ** info["Exponent"]
        except BaseException:
            file.close()
            raise
        rate = MICROSECONDS / float(info["Tick"][0])
        super().__init__(
            sampling_frequency=rate,
            channel_ids=[f"Ch{number}" for number in info["ChannelID"]],
            dtype=data.dtype,
        )
        self.extra_requirements.append("h5py")
        self.add_recording_segment(_McsSegment(path, file, data, rate))
        self.set_channel_gains(volts * MICROVOLTS)
        self.set_channel_offsets(-info["ADZero"] * volts * MICROVOLTS)
        self.set_property("electrode_labels", [_text(label) for label in info["Label"]])
        self._kwargs = {"file_path": str(path), "stream_id": stream_id}


def _warn_of_others(path: Path, data: Any) -> None:
    others = [name for name in data if name.startswith("Recording_") and name != "Recording_0"]
    if others:
        warn(f"{path} has {1 + len(others)} recordings, of which the first is used: {', '.join(others)} are left out")


def _channels(path: Path, table: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read the table of channels, in the order of the rows of the traces."""
    info = np.asarray(read_table(path, table))
    if len(shape) != 2 or len(info) != shape[0] or not len(info):
        raise ValueError(f"{path}: {table.name} has {len(info)} channels, and the traces have the shape {shape}")
    if "RowIndex" in (info.dtype.names or ()):
        info = info[np.argsort(info["RowIndex"], kind="stable")]
    if not (info["Tick"] > 0).all():
        raise ValueError(f"{path}: {table.name} has a Tick of {info['Tick'].min()} us between frames")
    units = sorted({_text(unit) for unit in info["Unit"]})
    if units != ["V"]:
        raise ValueError(f"{path}: {table.name} has values in {', '.join(units)}, and volts (V) are expected")
    return info


class _McsSegment(BaseRecordingSegment):  # type: ignore[misc]  # SpikeInterface has no types
    def __init__(self, path: Path, file: Any, data: Any, rate: float) -> None:
        super().__init__(sampling_frequency=rate)
        self._path, self._file, self._data = path, file, data

    def get_num_samples(self) -> int:
        """Return the length in frames."""
        return int(self._data.shape[1])

    def get_traces(
        self, start_frame: int | None = None, end_frame: int | None = None, channel_indices: Any = None
    ) -> NDArray[Any]:
        """Read counts, shape (frames, channels)."""
        with reading(self._path, f"from frame {start_frame} to {end_frame}"):
            traces = np.asarray(self._data[:, start_frame:end_frame])
        return (traces if channel_indices is None else traces[channel_indices]).T
