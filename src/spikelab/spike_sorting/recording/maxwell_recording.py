"""MaxWell files as a SpikeInterface recording.

SpikeInterface's reader is not used: its backend returns wrong rows of legacy files as the device writes them, refuses
plates whose wells have different recordings, and tries to download a plugin whenever the recording is rebuilt in
another process.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from probeinterface import Probe
from spikeinterface import BaseRecording, BaseRecordingSegment

from spikelab.spike_sorting.recording.hdf5 import open_hdf5, require_filters
from spikelab.spike_sorting.recording.maxwell import (
    MaxwellLayout,
    choose,
    list_recordings,
    read_layout,
)
from spikelab.spike_sorting.recording.read_errors import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTACT_SIZE_UM = {"width": 5.45, "height": 9.3}
# Bytes read at a time, so that few channels of a file with a thousand rows cost little memory.
BLOCK_BYTES = 1 << 25


class MaxwellRecording(BaseRecording):  # type: ignore[misc]  # SpikeInterface has no types
    """One recording of one well of a MaxOne or MaxTwo file.

    Parameters
    ----------
    file_path : str or Path
        The ``.h5`` file.
    stream_id, rec_name : str, optional
        The well, for example ``"well000"``, and the recording, for example ``"rec0000"``; needed where there are
        several.
    """

    def __init__(self, file_path: str | Path, stream_id: str | None = None, rec_name: str | None = None) -> None:
        path = Path(file_path).absolute()
        file = open_hdf5(path)
        try:
            with reading(path, "as maxwell"):
                well, name = choose(path, list_recordings(file), stream_id, rec_name)
                layout = read_layout(path, file, well, name)
                require_filters(path, file[layout.dataset])
        except BaseException:
            file.close()
            raise
        super().__init__(
            sampling_frequency=layout.sampling_frequency,
            channel_ids=[str(channel) for channel in layout.channels],
            dtype=file[layout.dataset].dtype,
        )
        self.extra_requirements.append("h5py")
        self.add_recording_segment(_MaxwellSegment(path, file, layout))
        self.set_channel_gains(layout.gain_uv)
        self.set_channel_offsets(0.0)
        self.set_probe(_probe(layout))
        self.set_property("electrode", layout.electrodes)
        self._kwargs = {"file_path": str(path), "stream_id": well, "rec_name": name}


def _probe(layout: MaxwellLayout) -> Probe:
    probe = Probe(ndim=2, si_units="um", manufacturer="Maxwell Biosystems")
    probe.set_contacts(positions=layout.locations, shapes="rect", shape_params=CONTACT_SIZE_UM)
    probe.set_device_channel_indices(np.arange(len(layout.channels)))
    return probe


class _MaxwellSegment(BaseRecordingSegment):  # type: ignore[misc]  # SpikeInterface has no types
    def __init__(self, path: Path, file: Any, layout: MaxwellLayout) -> None:
        super().__init__(sampling_frequency=layout.sampling_frequency)
        self._path, self._file, self._layout = path, file, layout
        self.dataset = file[layout.dataset]
        # A block of rows is read and the channels are picked from it, as HDF5 is slow at picking single rows.
        self._first, self._last = int(layout.rows.min()), int(layout.rows.max()) + 1
        self._columns = layout.rows - self._first

    def get_num_samples(self) -> int:
        """Return the length in frames."""
        return self._layout.n_frames

    def get_traces(
        self, start_frame: int | None = None, end_frame: int | None = None, channel_indices: Any = None
    ) -> NDArray[Any]:
        """Read counts, shape (frames, channels)."""
        start, end, _ = slice(start_frame, end_frame).indices(self._layout.n_frames)
        columns = self._columns if channel_indices is None else self._columns[channel_indices]
        traces = np.empty((len(columns), max(end - start, 0)), dtype=self.dataset.dtype)
        step = max(1, BLOCK_BYTES // ((self._last - self._first) * self.dataset.dtype.itemsize))
        for first in range(start, end, step):
            last = min(first + step, end)
            traces[:, first - start : last - start] = self._read_rows(first, last)[columns]
        return traces.T

    def _read_rows(self, start: int, end: int) -> NDArray[Any]:
        with reading(self._path, f"from frame {start} to {end}"):
            return np.asarray(self.dataset[self._first : self._last, start:end])
