"""Spikes on single contacts, and where along the probe each was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import dead_time_of
from spikelab.spike_sorting.data.dead_time import live_frames, of_live_time, union
from spikelab.spike_sorting.recording.parts import evenly_spaced
from spikelab.system.progress import Progress
from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import BinaryRecording, IntArray

    Places = NDArray[np.float64]

THRESHOLD = 6.0  # of the noise
APART_MS, APART_UM = 0.8, 75.0  # of two spikes at least
REACH_MS = (0.2, 0.6)  # before and after the trough, in which sizes are measured
SIZES_UM = 90.0  # from the largest contact, where sizes are measured
FLOOR = 3.0  # range of noise alone in that time, over the noise
CHUNK_S, NOISE_BLOCKS, NOISE_BLOCK_S = 1.0, 20, 0.1


@dataclass(frozen=True)
class Source:
    """Filtered traces: of a binary recording, or of one that is read while it is filtered.

    Attributes
    ----------
    n_samples : int
    sampling_frequency : float
    gain_uv : float
        Microvolts per count.
    read : callable
        From first and end frame to counts, shape (frames, channels).
    dead_time : numpy.ndarray of int64, shape (periods, 2)
        Frames in which the noise is not measured.
    """

    n_samples: int
    sampling_frequency: float
    gain_uv: float
    read: Callable[[int, int], NDArray[Any]]
    dead_time: IntArray = field(default_factory=union)

    @classmethod
    def of_binary(cls, binary: BinaryRecording) -> Source:
        """Read the counts of a binary recording: a conversion to microvolts would take most of the time."""
        n_channels = binary.n_channels

        def read(start: int, end: int) -> NDArray[Any]:
            n_values = (end - start) * n_channels
            counts = np.fromfile(binary.path, dtype=np.int16, count=n_values, offset=2 * start * n_channels)
            return counts.reshape(-1, n_channels)

        return cls(binary.n_samples, binary.sampling_frequency, binary.gain_uv, read, binary.dead_time)

    @classmethod
    def of_recording(cls, recording: BaseRecording) -> Source:
        """Read an opened recording in microvolts."""

        def read(start: int, end: int) -> NDArray[Any]:
            traces: NDArray[Any] = recording.get_traces(start_frame=start, end_frame=end)
            return traces

        n_samples, fs = int(recording.get_num_samples()), float(recording.get_sampling_frequency())
        return cls(n_samples, fs, 1.0, read, dead_time_of(recording))


@dataclass(frozen=True)
class Peaks:
    """Spikes as they are seen on the contact where they are largest, in order of time.

    Attributes
    ----------
    frames : numpy.ndarray of int64
    depths_um : numpy.ndarray of float64
        Along the contacts.
    sizes_uv : numpy.ndarray of float64
        From trough to peak, on the largest contact.
    """

    frames: IntArray
    depths_um: Places
    sizes_uv: Places


def find_peaks(source: Source, channels: IntArray, places: Places, n_jobs: int) -> Peaks:
    """Find the spikes on `channels`, whose `places` (channels, 2) are along the contacts and across, in micrometres."""
    from spikelab.spike_sorting.recording.motion._peak_kernels import find_troughs, locate_troughs

    fs, length = source.sampling_frequency, round(CHUNK_S * source.sampling_frequency)
    noise = noise_of(source, channels)
    limits, floors = (-THRESHOLD * noise).astype(np.float32), (FLOOR * noise).astype(np.float32)
    limits[noise == 0] = -np.inf
    apart, reach = round(APART_MS * fs / 1e3), (round(REACH_MS[0] * fs / 1e3), round(REACH_MS[1] * fs / 1e3))
    margin = max(1, apart, *reach)
    rivals, near = _neighbours(places, APART_UM), _neighbours(places, SIZES_UM)

    def work(start: int) -> tuple[IntArray, Places]:
        first, end = max(0, start - margin), min(source.n_samples, start + length + margin)
        traces = _only(source.read(first, end), channels)
        found = np.empty((1024, 2), dtype=np.int64)
        while (count := find_troughs(traces, limits, *rivals, apart, margin, found)) > len(found):
            found = np.empty((count, 2), dtype=np.int64)
        located = np.empty((count, 2))
        locate_troughs(traces, found[:count], *near, places, floors, reach, located)
        return found[:count, 0] + first, located

    starts = range(0, max(source.n_samples, 1), length)
    frames, located = [], []
    with Progress("measuring movement", len(starts)) as progress, ThreadPool(n_jobs) as threads:
        for chunk_frames, chunk_located in threads.map(work, starts):
            frames.append(chunk_frames)
            located.append(chunk_located)
            progress.update()
    values = np.concatenate(located)
    seen = np.isfinite(values).all(axis=1)
    return Peaks(np.concatenate(frames)[seen], values[seen, 0], source.gain_uv * values[seen, 1])


def _only(traces: NDArray[Any], channels: IntArray) -> NDArray[Any]:
    """Take channels, without a copy where they are all."""
    everything = len(channels) == traces.shape[1] and bool((np.diff(channels) == 1).all())
    return np.ascontiguousarray(traces if everything else traces[:, channels])


def noise_of(source: Source, channels: IntArray) -> Places:
    """Measure the noise (MAD) of channels on blocks throughout the live time of the recording, in counts."""
    n_live = live_frames(source.dead_time, 0, source.n_samples)
    if not n_live:
        return np.zeros(len(channels))
    length = min(round(NOISE_BLOCK_S * source.sampling_frequency), n_live)
    blocks = [(start, start + length) for start in evenly_spaced(n_live, length, NOISE_BLOCKS)]
    deviations = []
    for pieces in of_live_time(source.dead_time, blocks, 0, source.n_samples):
        traces = np.concatenate([source.read(*piece)[:, channels] for piece in pieces])
        block = np.ascontiguousarray(traces.T)
        deviations.append(np.median(np.abs(block - np.median(block, axis=1)[:, None]), axis=1))
    noise: Places = np.median(deviations, axis=0) / 0.6745
    return noise


def _neighbours(places: Places, reach_um: float) -> tuple[IntArray, IntArray]:
    """List the channels within `reach_um` of each, padded, and how many there are."""
    near = np.linalg.norm(places[:, None] - places, axis=2) <= reach_um
    counts = near.sum(axis=1)
    listed = np.zeros((len(places), counts.max()), dtype=np.int64)
    for channel, row in enumerate(near):
        listed[channel, : counts[channel]] = np.flatnonzero(row)
    return listed, counts
