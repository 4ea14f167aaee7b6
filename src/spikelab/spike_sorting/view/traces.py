"""Traces of a window of time: read from the binary, thinned by the least and the largest of each pixel; its spikes."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.run.results import TracesUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, IntArray
    from spikelab.spike_sorting.decisions import DecidedUnit
    from spikelab.spike_sorting.run.results import Results

MOST_PIXELS = 4000
MOST_VALUES = 1 << 27  # that are read for one window: 256 MB, all channels of its frames
BLOCK_VALUES = 1 << 22  # that are in memory at a time
MOST_SPIKES = 20_000  # that one window names


@dataclass
class TraceFile:
    """The filtered traces of a results folder: where they are kept, or filtered again into a temporary file."""

    results: Results
    again: Path | None  # file that they are filtered into where they are gone; None where nothing may be written
    recording_input: Path | None = None  # where the recording is now
    trouble: str = ""  # why there are none
    _file: Path | None = None
    _work: threading.Thread | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def opened(self) -> BinaryRecording | None:
        """Return the recording with its traces; None while they are filtered again, and where `trouble` says why."""
        with self._lock:
            if self._file is None or not self._file.is_file():
                self._file = self.results.traces
            if self._file is not None:
                return replace(self.results.recording, path=self._file)
            if self._work is None and not self.trouble:
                self._start()
        return None

    @property
    def note(self) -> str:
        """What the page says of the traces; "" where they are those that were sorted."""
        if self.trouble:
            return self.trouble
        if self._work is not None and self._file is None:
            return "The filtered traces were deleted after the sort. They are filtered again; this takes a while."
        if self._file is not None and self._file == self.again:
            return "The filtered traces were deleted after the sort, and were filtered again for this page."
        return ""

    def _start(self) -> None:
        if self.again is None:
            self.trouble = "The filtered traces were deleted, and this folder cannot be written to."
            return
        self._work = threading.Thread(target=self._filter, name="filter-again", daemon=True)
        self._work.start()

    def _filter(self) -> None:
        assert self.again is not None
        try:
            self.results.write_traces(self.again, self.recording_input)
        except TracesUnavailableError as error:
            self.trouble = f"There are no traces to show: {error}"
        except Exception as error:  # noqa: BLE001 - whatever a reader raises is told in the page
            self.trouble = f"The traces could not be filtered again: {type(error).__name__}: {error}"
        else:
            with self._lock:
                self._file = self.again


def window_of(recording: BinaryRecording, start: int, n_frames: int) -> tuple[int, int]:
    """Return first and end frame of a window that lies in the recording, and is not too large to be read."""
    most = min(recording.n_samples, max(1, MOST_VALUES // max(1, recording.n_channels)))
    n_frames = int(np.clip(n_frames, 2, most)) if most >= 2 else most
    start = int(np.clip(start, 0, recording.n_samples - n_frames))
    return start, start + n_frames


def picture(
    recording: BinaryRecording, start: int, end: int, channels: Sequence[int], pixels: int
) -> tuple[NDArray[np.int16], int]:
    """Read counts of frames [start, end) of `channels`, thinned where there are more than two frames for each pixel.

    Returns
    -------
    counts : numpy.ndarray of int16, shape (channels, points)
        All frames, or the least and the largest of each stretch of frames, one after the other.
    step : int
        Frames for each stretch; 1 where nothing was thinned.
    """
    chosen = np.asarray(channels, dtype=np.int64)
    step = max(1, -(-(end - start) // int(np.clip(pixels, 50, MOST_PIXELS))))
    if step <= 2:
        return np.ascontiguousarray(_read(recording, start, end)[:, chosen].T), 1
    n_stretches = -(-(end - start) // step)
    found = np.empty((len(chosen), n_stretches, 2), dtype=np.int16)
    at_a_time = max(1, BLOCK_VALUES // max(1, recording.n_channels * step))
    for first in range(0, n_stretches, at_a_time):
        last = min(first + at_a_time, n_stretches)
        counts = _read(recording, start + first * step, min(start + last * step, end))[:, chosen]
        edges = np.arange(0, len(counts), step)
        found[:, first:last, 0] = np.minimum.reduceat(counts, edges).T
        found[:, first:last, 1] = np.maximum.reduceat(counts, edges).T
    return found.reshape(len(chosen), -1), step


def _read(recording: BinaryRecording, start: int, end: int) -> NDArray[np.int16]:
    """Read the counts of some frames; not mapped, as mapped pages count as memory of this process."""
    n = recording.n_channels
    values = np.fromfile(recording.path, dtype=np.int16, count=(end - start) * n, offset=2 * start * n)
    return values.reshape(-1, n)


def spikes_in(units: Iterable[DecidedUnit], start: int, end: int) -> tuple[list[dict[str, Any]], bool]:
    """List the frames of each unit's spikes in [start, end); tells too whether there were too many for all."""
    found, left = [], MOST_SPIKES
    for unit in units:
        first, last = np.searchsorted(unit.frames, [start, end]).tolist()
        frames = unit.frames[first : min(last, first + left)]
        if len(frames):
            found.append({"unit": unit.unit_id, "frames": frames.tolist()})
        left -= len(frames)
        if last - first > len(frames):
            return found, True
    return found, False


def next_spike(frames: IntArray, after: int, direction: int) -> int | None:
    """Return the next spike after (1) or before (-1) a frame; None where there is none."""
    if direction > 0:
        place = int(np.searchsorted(frames, after, side="right"))
        return int(frames[place]) if place < len(frames) else None
    place = int(np.searchsorted(frames, after, side="left")) - 1
    return int(frames[place]) if place >= 0 else None


def dead_in(recording: BinaryRecording, start: int, end: int) -> list[list[int]]:
    """List the periods of dead time, by first and end frame, that a window touches."""
    dead = recording.dead_time
    touched = dead[(dead[:, 1] > start) & (dead[:, 0] < end)] if len(dead) else dead
    return [[int(first), int(last)] for first, last in touched]


def encoded(values: NDArray[Any]) -> str:
    """Encode an array, little-endian, for the page: JSON would be three times as long and slow to read."""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode("ascii")
