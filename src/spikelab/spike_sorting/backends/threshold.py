"""Detect threshold crossings without clustering: one "unit" per channel, the multi-unit activity around the channel.

Meant for tests, for a first look at a recording and as a template for other backends. Neurons are not told apart: use
a sorter for that.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.backends.base import StandardBackend, check_param_names
from spikelab.spike_sorting.data import BinaryRecording, IntArray, SpikeTrains, rows_of_each
from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording, BaseSorting

logger = logging.getLogger(__name__)
VALUE_BYTES = 6  # of a value of the traces, while its chunk is searched


@dataclass(frozen=True)
class ThresholdParams:
    """Parameters of the detector, as ``sorter_params`` may set them.

    Attributes
    ----------
    detect_threshold : float
        Threshold in units of the channel's noise (MAD / 0.6745); a spike goes below its negative.
    exclude_ms : float
        Exclusion time: of the samples within +/- this time the deepest is the spike,
    radius_um : float
        also among channels within this distance, so that a spike seen by neighbours counts once.
    """

    detect_threshold: float = 5.0
    exclude_ms: float = 1.0
    radius_um: float = 50.0


class ThresholdBackend(StandardBackend):
    """Detect negative threshold crossings, one unit per channel. Parameters: :class:`ThresholdParams`."""

    sorter_label: ClassVar[str] = "threshold"
    takes_seed: ClassVar[bool] = False

    def sort(
        self,
        recording: BaseRecording,
        rec_path: Any,  # noqa: ARG002 - part of the interface
        recording_dat_path: Path,
        output_folder: Path,  # noqa: ARG002 - nothing to keep
    ) -> BaseSorting:
        """Detect spikes; unit ids are channel indices. InsufficientActivityError if nothing crosses the threshold."""
        self.check_settings()
        params = ThresholdParams(**(self.config.sorter.sorter_params or {}))
        binary = self.ensure_binary(recording, recording_dat_path)
        second = VALUE_BYTES * binary.n_channels * round(binary.sampling_frequency)
        workers = max(1, min(self.workers, self.for_work // second))
        chunk = round(binary.sampling_frequency) * min(self.for_work, second) // second
        frames, channels = detect_spikes(binary, params, n_jobs=workers, chunk_frames=chunk)
        if not len(frames):
            raise InsufficientActivityError(
                f"No sample of {binary.duration_s:.1f} s on {binary.n_channels} channels goes below "
                f"-{params.detect_threshold:g} times its channel's noise. Check first whether the traces show spikes "
                "(gain, data type, filter band), then detect_threshold.",
                sorter=self.sorter_label,
                threshold_crossings=0,
            )
        found = np.unique(channels)
        logger.info("threshold: %d spikes on %d channels", len(frames), len(found))
        rows = rows_of_each(channels, found)
        trains = SpikeTrains.from_dict({int(channel): frames[own] for channel, own in zip(found, rows, strict=True)})
        return trains.to_spikeinterface(binary.sampling_frequency)

    def least_bytes(self, n_samples: int, n_channels: int, sampling_frequency: float) -> int:  # noqa: ARG002
        """Estimate the memory of the noise levels: spikes are found in chunks as short as needed."""
        from spikelab.spike_sorting.waveforms.noise import tally_bytes

        return tally_bytes(n_channels)

    def check_settings(self) -> None:
        """Raise ValueError for ``sorter_params`` that are not in :class:`ThresholdParams`."""
        names = [field.name for field in fields(ThresholdParams)]
        check_param_names(self.sorter_label, names, self.config.sorter.sorter_params or {})


def detect_spikes(
    binary: BinaryRecording, params: ThresholdParams, *, n_jobs: int = 1, chunk_frames: int | None = None
) -> tuple[IntArray, IntArray]:
    """Find frames and channels, by frame, then channel, of local minima in time and among neighbouring channels.

    A sample is a spike when it is at or below its channel's threshold and no sample within the exclusion time, on its
    channel or on one within the radius, is deeper in microvolts; of equals the earliest counts, then the lowest
    channel. Spikes depend on neither `n_jobs`, the number of threads, nor `chunk_frames`, one second by default.
    """
    from spikelab.spike_sorting.data.traces import read_raw

    chunk = max(1, chunk_frames or round(binary.sampling_frequency))
    exclude = max(1, round(params.exclude_ms * binary.sampling_frequency / 1000))
    limits = -params.detect_threshold * noise_counts(binary)
    neighbours = _neighbour_table(binary.locations, params.radius_um)

    def in_chunk(start: int) -> tuple[IntArray, IntArray]:
        end = min(start + chunk, binary.n_samples)
        first = max(0, start - 2 * exclude)  # twice: an equal sample in the margin needs its own margin
        frames, channels = _local_minima(
            read_raw(binary, first, min(end + 2 * exclude, binary.n_samples)), limits, neighbours, exclude
        )
        frames = frames + first
        inside = (frames >= start) & (frames < end)
        return frames[inside], channels[inside]

    starts = range(0, binary.n_samples, chunk)
    with ThreadPool(max_workers=n_jobs) as pool:
        parts = list(pool.map(in_chunk, starts))
    empty = np.empty(0, dtype=np.int64)
    return np.concatenate([empty, *(p[0] for p in parts)]), np.concatenate([empty, *(p[1] for p in parts)])


def noise_counts(binary: BinaryRecording) -> NDArray[np.float64]:
    """Measure the noise of each channel as the waveform engine does, in counts; infinite where there is none."""
    from spikelab.spike_sorting.waveforms.noise import noise_levels

    noise = noise_levels(binary, seed=0).astype(np.float64) / binary.gain_uv
    noise[noise == 0] = np.inf
    return noise


def _neighbour_table(locations: NDArray[np.float64], radius_um: float) -> IntArray:
    """List the channels within the radius of each, shape (channels, most); padded with the channel itself."""
    from scipy.spatial import cKDTree

    lists: Any = cKDTree(locations).query_ball_point(locations, radius_um)
    table = np.repeat(np.arange(len(locations))[:, None], max(map(len, lists), default=1), axis=1)
    for channel, near in enumerate(lists):
        table[channel, : len(near)] = sorted(near)
    return table


def _local_minima(
    counts: NDArray[np.int16], limits: NDArray[np.float64], neighbours: IntArray, exclude: int
) -> tuple[IntArray, IntArray]:
    """Find frames and channels of the spikes in one chunk, shape (frames, channels)."""
    from scipy.ndimage import minimum_filter1d

    deepest = minimum_filter1d(counts, 2 * exclude + 1, axis=0, mode="nearest")
    frames, channels = np.nonzero((counts <= limits) & (counts == deepest))
    values = counts[frames, channels]
    keep = values <= deepest[frames[:, None], neighbours[channels]].min(axis=1, initial=np.iinfo(np.int16).max)
    frames, channels, values = frames[keep], channels[keep], values[keep]
    tied = _follows_an_equal(frames, channels, values, neighbours, exclude)
    return frames[~tied].astype(np.int64), channels[~tied].astype(np.int64)


def _follows_an_equal(
    frames: IntArray, channels: IntArray, values: NDArray[np.int16], neighbours: IntArray, exclude: int
) -> NDArray[np.bool_]:
    """Mark minima with an equal minimum earlier (by frame, then channel) within reach, shape (minima,)."""
    follows = np.zeros(len(frames), dtype=bool)
    for lag in range(1, len(frames)):
        close = frames[lag:] - frames[:-lag] <= exclude
        if not close.any():
            break
        (equal,) = np.nonzero(close & (values[lag:] == values[:-lag]))
        near = (neighbours[channels[equal + lag]] == channels[equal, None]).any(axis=1)
        follows[equal[near] + lag] = True
    return follows
