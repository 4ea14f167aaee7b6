"""What the steps of RT-Sort take: known by the number of channels before, by that of the groups once they are found."""

from __future__ import annotations

from spikelab.spike_sorting.rt_sort import whitening
from spikelab.spike_sorting.rt_sort.learning.waveforms import EXAMPLE_CHANNELS, most_examples
from spikelab.spike_sorting.rt_sort.matching.templates import MAX_RANK, window_frames
from spikelab.spike_sorting.rt_sort.traces import READ_VALUES
from spikelab.system.memory import RT_SORT_BYTES, too_little

COPIES_READ = 6  # of the traces that are read at a time, in float32: buffered, filtered, on their way
COPIES_OF_MEANS = 5  # of the means of all groups: as they were, as they are, their sums, templates, what is merged
PEAK_BYTES = 100  # of a spike on a single electrode: as it is found, and its place in time and among others
MATRICES = 10  # of channels by channels, in float64, while their correlation is found


def detection_bytes(n_frames: int, n_channels: int, sampling_frequency: float, chunk_values: int | None) -> int:
    """Bytes until the noise is known."""
    read = _read_bytes(n_frames, n_channels, chunk_values)
    stretch = round(whitening.STRETCH_S * sampling_frequency)
    looked_at = min(n_frames, whitening.N_STRETCHES * stretch)
    few = min(n_channels, whitening.N_IN_TIME)
    samples = 4 * looked_at * (3 * n_channels // whitening.EVERY + few) + 4 * stretch * n_channels
    return max(read, samples + 8 * MATRICES * n_channels**2)


def learning_bytes(
    n_frames: int, n_channels: int, sampling_frequency: float, chunk_values: int | None, n_groups: int, n_peaks: int
) -> int:
    """Bytes of all that follows, with so many groups of events."""
    window = sum(window_frames(sampling_frequency)) + 1
    means = COPIES_OF_MEANS * 4 * n_groups * window * n_channels
    patterns = 4 * MAX_RANK * n_groups * n_channels
    examples = 4 * n_groups * most_examples(n_groups) * EXAMPLE_CHANNELS * window
    outputs = 2 * 4 * n_groups * min(n_frames, READ_VALUES // n_channels + window)
    return (
        _read_bytes(n_frames, n_channels, chunk_values)
        + means
        + patterns
        + examples
        + outputs
        + (PEAK_BYTES * n_peaks + 4 * n_channels**2)
    )


def least_bytes(n_frames: int, n_channels: int, sampling_frequency: float, chunk_values: int | None = None) -> int:
    """Bytes before anything is known, with one group for ten electrodes; more are refused once they are found."""
    size = (n_frames, n_channels, sampling_frequency, chunk_values)
    return max(detection_bytes(*size), learning_bytes(*size, max(1, n_channels // 10), 0))


def require(needed: int, memory_bytes: int | None, what: str) -> None:
    """Refuse to go on where `what` takes more for its arrays than there may be; None is no limit.

    Raises
    ------
    ValueError
        Names the setting and what it has to be.
    """
    if memory_bytes is not None and needed > memory_bytes:
        raise ValueError(too_little(memory_bytes + RT_SORT_BYTES, needed + RT_SORT_BYTES, what))


def _read_bytes(n_frames: int, n_channels: int, chunk_values: int | None) -> int:
    values = READ_VALUES if chunk_values is None else max(READ_VALUES, 8 * chunk_values)
    return COPIES_READ * 4 * min(n_frames * n_channels, values)
