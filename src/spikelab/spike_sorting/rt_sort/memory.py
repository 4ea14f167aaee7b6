"""Memory that the steps of RT-Sort take: by the number of channels, and by that of the groups once they are found."""

from __future__ import annotations

from spikelab.spike_sorting.rt_sort import whitening
from spikelab.spike_sorting.rt_sort.learning.waveforms import EXAMPLE_CHANNELS, most_examples
from spikelab.spike_sorting.rt_sort.matching.templates import MAX_RANK, window_frames
from spikelab.spike_sorting.rt_sort.traces import READ_VALUES
from spikelab.system.memory import RT_SORT_BYTES, too_little

COPIES_READ = 6  # of the traces that are read at a time, in float32: buffered and filtered
COPIES_OF_MEANS = 4  # of the means of all groups: of the round before, their sums, joined ones, and those that are left
PEAK_BYTES = 70  # per spike on a single electrode, while events are chosen from all of them
MATRICES = 10  # of channels by channels, in float64, while their correlation is measured


def detection_bytes(n_frames: int, n_channels: int, sampling_frequency: float, chunk_values: int | None) -> int:
    """Estimate the bytes until the noise is known."""
    read = _read_bytes(n_frames, n_channels, chunk_values)
    segment = round(whitening.SEGMENT_S * sampling_frequency)
    measured = min(n_frames, whitening.N_SEGMENTS * segment)
    few = min(n_channels, whitening.N_AUTOCORRELATED)
    samples = 4 * measured * (3 * n_channels // whitening.EVERY + few) + 4 * segment * n_channels
    return max(read, samples + 8 * MATRICES * n_channels**2)


def learning_bytes(
    n_frames: int, n_channels: int, sampling_frequency: float, chunk_values: int | None, n_groups: int, n_peaks: int
) -> int:
    """Estimate the bytes of all that follows, with so many groups of events."""
    window = sum(window_frames(sampling_frequency)) + 1
    means = COPIES_OF_MEANS * 4 * n_groups * window * n_channels
    patterns = 4 * MAX_RANK * n_groups * n_channels
    examples = 4 * n_groups * most_examples(n_groups) * EXAMPLE_CHANNELS * window
    outputs = 2 * 4 * n_groups * min(n_frames, READ_VALUES // n_channels + window)
    read = _read_bytes(n_frames, n_channels, chunk_values)
    return read + means + patterns + examples + outputs + PEAK_BYTES * n_peaks + 4 * n_channels**2


def least_bytes(n_frames: int, n_channels: int, sampling_frequency: float, chunk_values: int | None = None) -> int:
    """Estimate the bytes before groups are found, with one group for ten electrodes; see :func:`require`."""
    size = (n_frames, n_channels, sampling_frequency, chunk_values)
    return max(detection_bytes(*size), learning_bytes(*size, max(1, n_channels // 10), 0))


def require(needed: int, memory_bytes: int | None, what: str) -> None:
    """Raise ValueError, which names the setting, where the arrays of `what` need more than is allowed (None: any)."""
    if memory_bytes is not None and needed > memory_bytes:
        raise ValueError(too_little(memory_bytes + RT_SORT_BYTES, needed + RT_SORT_BYTES, what))


def _read_bytes(n_frames: int, n_channels: int, chunk_values: int | None) -> int:
    values = READ_VALUES if chunk_values is None else max(READ_VALUES, 8 * chunk_values)
    return COPIES_READ * 4 * min(n_frames * n_channels, values)
