"""A zero-phase band-pass for recordings of many channels.

The result is that of :func:`scipy.signal.sosfiltfilt` on the whole segment, Butterworth of order 5 in double precision,
to one part in a million. It is computed chunk by chunk: on either side, as many frames more are filtered and dropped as
the filter needs to forget where it started.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

from spikelab.spike_sorting.filters._bandpass_kernels import SPARE, TILE, backwards, forwards, move_in_time, widen
from spikelab.spike_sorting.filters.design import ORDER, design, memory_frames
from spikelab.spike_sorting.filters.sample_shifts import shift_taps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import Part

# Share of its state that the filter may remember at the first frame that is kept; at 300 Hz, some 25 ms.
MEMORY = 1e-6
# Frames that sosfiltfilt continues the signal by, mirrored about its end points: three times the filter's coefficients.
EXTENSION = 3 * (2 * ORDER + 1)


class BandPassRecording(BasePreprocessor):  # type: ignore[misc]  # SpikeInterface has no types
    """Band-passed traces in float32, of a recording of any number type; `freq_max` is below half the sampling rate.

    With `gain_to_uv`, microvolts per unit of `recording` for each channel, the traces are in microvolts. The filter
    removes offsets, which need not be known. With `sample_shifts`, by how many samples later than its frame each
    channel was sampled, the channels are brought to the time of the frame.
    """

    def __init__(
        self,
        recording: BaseRecording,
        freq_min: float,
        freq_max: float,
        gain_to_uv: ArrayLike | None = None,
        sample_shifts: ArrayLike | None = None,
    ) -> None:
        super().__init__(recording, dtype="float32")
        self.annotate(is_filtered=True)
        gains = np.ones(recording.get_num_channels())
        if gain_to_uv is not None:
            gains = np.asarray(gain_to_uv, dtype=np.float64)
            self.set_channel_gains(1.0)
        if gain_to_uv is not None or recording.get_channel_offsets() is not None:
            self.set_channel_offsets(0.0)
        fs = recording.get_sampling_frequency()
        gain, poles = design(freq_min, freq_max, fs)
        self.margin_frames = memory_frames(poles, MEMORY)
        shifts, taps = None, None
        if sample_shifts is not None:
            shifts = np.asarray(sample_shifts, dtype=np.float64)
            taps = shift_taps(shifts, freq_max, fs)
            self.margin_frames += len(taps)
        for segment in recording.segments:
            self.add_recording_segment(
                _Segment(segment, gains, taps, self.margin_frames, partial(zero_phase, gain=gain, poles=poles))
            )
        self._kwargs = {
            "recording": recording,
            "freq_min": float(freq_min),
            "freq_max": float(freq_max),
            "gain_to_uv": None if gain_to_uv is None else gains.tolist(),
            "sample_shifts": None if shifts is None else shifts.tolist(),
        }


class _Segment(BasePreprocessorSegment):  # type: ignore[misc]
    def __init__(
        self,
        parent: Any,
        gains: NDArray[np.float64],
        taps: NDArray[np.float32] | None,
        margin: int,
        band_pass: Callable[..., Iterator[Part]],
    ) -> None:
        super().__init__(parent)
        self._gains, self._taps, self._margin, self._filter = gains, taps, margin, band_pass

    def get_traces(self, start_frame: int | None, end_frame: int | None, channel_indices: Any) -> NDArray[np.float32]:
        start = 0 if start_frame is None else start_frame
        end = self.get_num_samples() if end_frame is None else end_frame
        chosen = slice(None) if channel_indices is None else channel_indices
        parts = self.read_parts(start, end, chosen)
        traces = np.empty((max(end - start, 0), len(self._gains[chosen])), dtype=np.float32)
        for channels, part in parts:
            traces[:, channels] = part
        return traces

    def read_parts(self, start: int, end: int, chosen: Any = slice(None)) -> Iterator[Part]:
        """Yield the traces of frames [start, end), a few channels at a time: see :func:`zero_phase`."""
        first, last = max(start - self._margin, 0), min(end + self._margin, self.get_num_samples())
        stored = self.parent_recording_segment.get_traces(first, last, chosen)
        taps = None if self._taps is None else self._taps[:, chosen]
        return self._filter(stored, self._gains[chosen], keep=(start - first, end - first), taps=taps)


def zero_phase(
    stored: NDArray[Any],
    gains: NDArray[np.float64],
    *,
    gain: float,
    poles: NDArray[np.float64],
    keep: tuple[int, int],
    taps: NDArray[np.float32] | None = None,
) -> Iterator[Part]:
    """Filter forwards and backwards and yield the frames [start, end) of `keep`, a few channels at a time.

    `stored`, of any number type and shape (frames, channels), is multiplied by `gains`, one per channel; NaN and
    infinite values make NaN of their channel. `gain` and `poles` are from :func:`design`, `taps`, which move channels
    in time, from :func:`.shift_taps`. Each item is a slice of channels and their traces, which are overwritten when the
    next item is asked for.

    The channels stay in the cache on their way through both filters: memory is read once and not written at all.
    """
    stored = np.asarray(stored)
    (start, end), (n_frames, n_channels) = keep, stored.shape
    if end <= start or not n_channels:
        return
    extension = min(EXTENSION, n_frames - 1)
    n_rows = n_frames + 2 * extension
    first, last = SPARE, SPARE + n_rows - 1
    tile = np.zeros((n_rows + 2 * SPARE, TILE), dtype=np.float32)
    scale = np.zeros((-(-n_channels // TILE), TILE))
    scale.reshape(-1)[:n_channels] = gain * gains
    scale_back = np.full(TILE, gain)
    shift = first + extension
    mover = None if taps is None else _Mover(n_frames, taps)
    for low in range(0, n_channels, TILE):
        channels = slice(low, min(low + TILE, n_channels))
        traces = tile[first : last + 1]
        body = traces[extension : extension + n_frames]
        if mover is None:
            _read(stored, channels, body[:, : channels.stop - low])
        else:
            mover.read(stored, channels, body)
        _extend(traces, extension)
        forwards(tile, first, n_rows, poles, scale[low // TILE])
        backwards(tile, last, n_rows - extension - start, poles, scale_back)
        yield channels, tile[shift + start : shift + end, : channels.stop - low]


class _Mover:
    """Reads channels brought to the time of their frame."""

    def __init__(self, n_frames: int, taps: NDArray[np.float32]) -> None:
        self._before = len(taps) // 2
        self._end = self._before + n_frames
        self._traces = np.zeros((n_frames + len(taps), TILE), dtype=np.float32)
        self._taps = taps

    def read(self, stored: NDArray[Any], channels: slice, moved: NDArray[np.float32]) -> None:
        """Write some channels to `moved`; before the first frame and after the last one, that frame is repeated."""
        n_channels, traces = channels.stop - channels.start, self._traces
        taps = np.zeros((len(self._taps), TILE), dtype=np.float32)
        taps[:, :n_channels] = self._taps[:, channels]
        _read(stored, channels, traces[self._before : self._end, :n_channels])
        traces[: self._before] = traces[self._before]
        traces[self._end :] = traces[self._end - 1]
        move_in_time(traces, taps, moved)


def _read(stored: NDArray[Any], channels: slice, traces: NDArray[np.float32]) -> None:
    """Write the frames of some channels in single precision."""
    with np.errstate(invalid="ignore", over="ignore"):
        if stored.dtype in (np.int16, np.uint16) and stored.flags.c_contiguous:
            widen(stored, channels.start, traces)  # twice as fast as numpy
        else:
            traces[:] = stored[:, channels]


def _extend(traces: NDArray[np.float32], extension: int) -> None:
    """Continue the frames between the first and last `extension` on either side, as sosfiltfilt does."""
    body = traces[extension : len(traces) - extension]
    with np.errstate(invalid="ignore", over="ignore"):
        traces[:extension] = 2 * body[0] - body[extension:0:-1]
        traces[len(traces) - extension :] = 2 * body[-1] - body[len(body) - 1 - extension : len(body) - 1][::-1]
