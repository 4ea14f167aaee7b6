"""Cluster the events of one root electrode into groups of similar waveforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort.learning.events import neighbours
from spikelab.spike_sorting.rt_sort.learning.parts import rank_within
from spikelab.spike_sorting.rt_sort.learning.splitting import split
from spikelab.spike_sorting.rt_sort.traces import clusters_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
    from spikelab.spike_sorting.rt_sort.traces import Traces
    from spikelab.spike_sorting.rt_sort.whitening import Noise

    Peaks = NDArray[np.void]

FEATURE_RADIUS_UM = 60.0
FEATURE_MS_BEFORE, FEATURE_MS_AFTER = 0.7, 1.0
N_COMPONENTS = 5  # temporal components that describe every waveform
N_FOR_COMPONENTS = 3000
N_DIMENSIONS = 10
MIN_GROUP = 6  # fewer points have no modes, see `_unimodal.FEWEST`
WINDOW_VALUES = 2**20  # of windows in memory at a time
MARGIN = 2  # frames around a window that is resampled


def feature_window(sampling_frequency: float) -> tuple[int, int]:
    """Frames of the features before and after the peak."""
    return round(FEATURE_MS_BEFORE * sampling_frequency / 1000), round(FEATURE_MS_AFTER * sampling_frequency / 1000)


def choose_events(events: Peaks, most: int, seed: int) -> Peaks:
    """Choose at most `most` events, the same number of every busy root and all of the quiet ones."""
    if len(events) <= most:
        return events
    counts = np.bincount(events["channel"])
    low, high = 1, int(counts.max())
    while low < high:  # the largest cap per root that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= most else (low, middle - 1)
    rank = rank_within(events["channel"], seed)
    return events[rank < low]


def temporal_components(traces: Traces, events: Peaks, noise: Noise, seed: int) -> FloatArray:
    """Find the principal temporal components of events on their root, orthonormal, shape (components, frames)."""
    before, after = feature_window(traces.sampling_frequency)
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(events))[:N_FOR_COMPONENTS])
    windows = windows_of(traces, events[some], events["channel"][some][:, None].astype(np.int64), before, after)[:, 0]
    windows /= noise.sigma[events["channel"][some]][:, None]
    _, _, right = np.linalg.svd(windows, full_matrices=False)
    return right[: min(N_COMPONENTS, len(right))].astype(np.float32)


def windows_of(traces: Traces, events: Peaks, channels: IntArray, before: int, after: int) -> FloatArray:
    """Read the windows of events on given channels, shape (events, channels, frames), in microvolts."""
    return traces.windows(events["frame"], channels, before, after)


def events_by_chunk(traces: Traces, frames: IntArray, before: int, after: int):  # type: ignore[no-untyped-def]
    """Read the traces once: yield a slice of `frames` (ascending), the traces around them, and their rows in there.

    What lies far from all of them is not read. No window may leave the recording.
    """
    for rows, start, end in clusters_of(frames, before, after, traces.n_channels):
        yield rows, traces.read(start, end), frames[rows] - start


def event_features(traces: Traces, events: Peaks, noise: Noise, components: FloatArray) -> tuple[FloatArray, IntArray]:
    """Project whitened waveforms around the root on the temporal components, shape (events, channels, components).

    Also returned are the channels by root, (electrodes, channels), padded with -1; features are zero there.
    """
    before, after = feature_window(traces.sampling_frequency)
    near = neighbours(traces.locations, FEATURE_RADIUS_UM)
    roots = events["channel"]
    features = np.zeros((len(events), near.shape[1], len(components)), dtype=np.float32)
    length = before + after + 1 + 2 * MARGIN
    at_a_time = max(1, WINDOW_VALUES // (near.shape[1] * length))
    for first in range(0, len(events), at_a_time):
        some = slice(first, first + at_a_time)
        windows = windows_of(traces, events[some], near[roots[some]], before + MARGIN, after + MARGIN)
        features[some] = resample(windows, events["shift"][some]) @ components.T
    order = np.argsort(roots, kind="stable")
    for of_root in np.split(order, np.flatnonzero(np.diff(roots[order])) + 1) if len(order) else []:
        channels = near[roots[of_root[0]]]
        channels = channels[channels >= 0]
        mixing = noise.whitening(channels) / noise.sigma[channels]
        seen = features[of_root, : len(channels)]
        features[of_root, : len(channels)] = np.einsum("dc,nck->ndk", mixing, seen)
    return features, near


def resample(windows: FloatArray, shifts: FloatArray) -> FloatArray:
    """Interpolate windows (events, channels, frames) `shifts` frames later, within +/-1, and drop their margins.

    By cubic convolution (Keys 1981). Without this, spikes would differ by where in a frame they fall.
    """
    base = np.floor(shifts).astype(np.int64)
    x = (shifts - base).astype(np.float32)
    taps = np.stack(
        [-x * (1 - x) ** 2, 2 - 5 * x**2 + 3 * x**3, x * (1 + 4 * x - 3 * x**2), -(x**2) * (1 - x)], axis=1
    ) * np.float32(0.5)
    n = windows.shape[2] - 2 * MARGIN
    result = np.zeros((*windows.shape[:2], n), dtype=np.float32)
    for low in (-1, 0):
        rows = np.flatnonzero(np.clip(base, -1, 0) == low)
        for tap in range(4):
            first = MARGIN + low - 1 + tap
            result[rows] += taps[rows, tap, None, None] * windows[rows, :, first : first + n]
    return result


def group_events(
    events: Peaks, features: FloatArray, branches: IntArray, parameters: SequenceParameters, seed: int
) -> IntArray:
    """Label the group of each event, shape (events,), -1 for none; groups have one root and one branch."""
    labels = np.full(len(events), -1, dtype=np.int64)
    n_groups = 0
    least = max(2, parameters.min_coc_n)
    for root in np.unique(events["channel"]):
        for branch in np.unique(branches[(events["channel"] == root) & (branches >= 0)]):
            (members,) = np.nonzero((events["channel"] == root) & (branches == branch))
            if len(members) < least:
                continue
            inside = np.zeros(len(members), dtype=np.int64)
            if len(members) >= 2 * MIN_GROUP:
                inside = split(reduce(features[members].reshape(len(members), -1), N_DIMENSIONS), seed=seed)
            for label in np.unique(inside):
                alike = members[inside == label]
                if len(alike) >= least:
                    labels[alike] = n_groups
                    n_groups += 1
    return labels


def reduce(features: FloatArray, n_dimensions: int) -> FloatArray:
    """Project on the principal components, shape (n, at most `n_dimensions`)."""
    centred = features - features.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    n_kept = min(n_dimensions, max(1, len(features) // 3))
    return np.ascontiguousarray(centred @ vectors[:, ::-1][:, :n_kept])
