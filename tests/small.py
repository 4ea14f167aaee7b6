"""Small arrays for the parts of RT-Sort: a few frames, a few electrodes in a row, peaks by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spikelab.spike_sorting.rt_sort.detection.peaks import PEAK
from spikelab.spike_sorting.rt_sort.traces import Traces


def row_of_electrodes(n: int, pitch_um: float = 20.0) -> np.ndarray:
    """Locations (electrodes, 2) of electrodes in a row."""
    return np.column_stack([pitch_um * np.arange(n), np.zeros(n)])


def traces_of(
    values: np.ndarray, sampling_frequency: float = 10_000.0, locations: np.ndarray | None = None, **kwargs: Any
) -> Traces:
    """Traces that hold an array (frames, channels); reading beyond its ends is an error."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    n_frames, n_channels = values.shape

    def read(start: int, end: int) -> np.ndarray:
        assert 0 <= start <= end <= n_frames, f"read {start} to {end} of {n_frames} frames"
        return values[start:end].copy()

    places = row_of_electrodes(n_channels) if locations is None else locations
    names = tuple(f"e{k}" for k in range(n_channels))
    return Traces(0, n_frames, n_channels, sampling_frequency, places, names, read, **kwargs)


def peaks_of(rows: Sequence[tuple[float, ...]]) -> np.ndarray:
    """Peaks from rows of (frame, channel, logit, amplitude, shift), the last ones 0 where left out."""
    peaks = np.zeros(len(rows), dtype=PEAK)
    for peak, row in zip(peaks, rows, strict=True):
        for name, value in zip(PEAK.names or (), row, strict=False):
            peak[name] = value
    return peaks
