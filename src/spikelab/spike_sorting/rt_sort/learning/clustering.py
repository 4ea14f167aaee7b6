"""Events of one root electrode -> groups of events that look alike."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort.learning.events import neighbours
from spikelab.spike_sorting.rt_sort.learning.splitting import split
from spikelab.spike_sorting.rt_sort.matching._template_kernels import gather_windows
from spikelab.spike_sorting.rt_sort.traces import frames_at_a_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
    from spikelab.spike_sorting.rt_sort.traces import Traces
    from spikelab.spike_sorting.rt_sort.whitening import Noise

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Peaks = NDArray[np.void]

FEATURE_RADIUS_UM = 60.0
FEATURE_MS_BEFORE, FEATURE_MS_AFTER = 0.7, 1.0
N_COURSES = 5  # time courses that every waveform is described by
N_FOR_COURSES = 3000
N_DIMENSIONS = 10
MIN_GROUP = 15
MARGIN = 2  # frames around a window that is resampled


def feature_window(sampling_frequency: float) -> tuple[int, int]:
    """Frames before and after the peak that features look at."""
    return round(FEATURE_MS_BEFORE * sampling_frequency / 1000), round(FEATURE_MS_AFTER * sampling_frequency / 1000)


def choose_events(events: Peaks, most: int, seed: int) -> Peaks:
    """At most `most` events, the same share of every busy root and all of the quiet ones; in the order of frames."""
    if len(events) <= most:
        return events
    counts = np.bincount(events["channel"])
    low, high = 1, int(counts.max())
    while low < high:  # the largest cap per root that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= most else (low, middle - 1)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(events))
    rank = np.empty(len(events), dtype=np.int64)
    by_root = shuffled[np.argsort(events["channel"][shuffled], kind="stable")]
    starts = np.cumsum(np.concatenate([[0], counts[:-1]]))
    rank[by_root] = np.arange(len(events)) - starts[events["channel"][by_root]]
    return events[rank < low]


def time_courses(traces: Traces, events: Peaks, noise: Noise, seed: int) -> Floats:
    """Principal time courses of the events on their root, shape (courses, frames), orthonormal."""
    before, after = feature_window(traces.sampling_frequency)
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(events))[:N_FOR_COURSES])
    windows = windows_of(traces, events[some], events["channel"][some][:, None].astype(np.int64), before, after)[:, 0]
    windows /= noise.sigma[events["channel"][some]][:, None]
    _, _, right = np.linalg.svd(windows, full_matrices=False)
    return right[: min(N_COURSES, len(right))].astype(np.float32)


def windows_of(traces: Traces, events: Peaks, channels: Ints, before: int, after: int) -> Floats:
    """Windows of events on given channels, shape (events, channels, frames), in microvolts; one pass."""
    windows = np.zeros((len(events), channels.shape[1], before + after + 1), dtype=np.float32)
    for rows, chunk, frames in events_by_chunk(traces, events["frame"], before, after):
        gather_windows(chunk, frames, channels[rows], before, windows[rows])
    return windows


def events_by_chunk(traces: Traces, frames: Ints, before: int, after: int):  # type: ignore[no-untyped-def]
    """Go through the traces once: slice of `frames` (ascending), the traces around them, and their rows in there.

    Chunks without events are not read. Events whose window leaves the recording must have been left out.
    """
    step = frames_at_a_time(traces.n_channels)
    bounds = np.searchsorted(frames, np.arange(0, traces.n_frames + step, step))
    for index, (low, high) in enumerate(itertools.pairwise(bounds)):
        if low < high:
            start = max(0, index * step - before)
            chunk = traces.read(start, min(traces.n_frames, (index + 1) * step + after))
            yield slice(low, high), chunk, frames[low:high] - start


def event_features(traces: Traces, events: Peaks, noise: Noise, courses: Floats) -> tuple[Floats, Ints]:
    """Whitened waveforms around the root, described by the time courses.

    Returns
    -------
    features : numpy.ndarray of float32, shape (events, channels, courses)
        Zero where an electrode has fewer neighbours.
    near : numpy.ndarray of int64, shape (electrodes, channels)
        The channels, by root; padded with -1.
    """
    before, after = feature_window(traces.sampling_frequency)
    near = neighbours(traces.locations, FEATURE_RADIUS_UM)
    features = np.zeros((len(events), near.shape[1], len(courses)), dtype=np.float32)
    for rows, chunk, frames in events_by_chunk(traces, events["frame"], before + MARGIN, after + MARGIN):
        roots = events["channel"][rows]
        windows = np.zeros((len(roots), near.shape[1], before + after + 1 + 2 * MARGIN), dtype=np.float32)
        gather_windows(chunk, frames, near[roots], before + MARGIN, windows)
        projected = resample(windows, events["shift"][rows]) @ courses.T
        for root in np.unique(roots):
            of_root = np.flatnonzero(roots == root)
            channels = near[root][near[root] >= 0]
            mixing = noise.root(channels) / noise.sigma[channels]
            features[rows.start + of_root, : len(channels)] = np.einsum(
                "dc,nck->ndk", mixing, projected[of_root][:, : len(channels)]
            )
    return features, near


def resample(windows: Floats, shifts: Floats) -> Floats:
    """Windows (events, channels, frames) at times `shifts` later, within +/-1 frame, without their margins.

    Cubic convolution (Keys 1981): where in a frame a spike happens to fall makes it no other spike.
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


def group_events(events: Peaks, features: Floats, branches: Ints, parameters: SequenceParameters, seed: int) -> Ints:
    """Label of each event's group, shape (events,), -1 for none; groups have one root and are of one branch."""
    labels = np.full(len(events), -1, dtype=np.int64)
    n_groups = 0
    least = max(2, parameters.min_coc_n)
    for root in np.unique(events["channel"]):
        for branch in np.unique(branches[(events["channel"] == root) & (branches >= 0)]):
            (members,) = np.nonzero((events["channel"] == root) & (branches == branch))
            if len(members) < least:
                continue
            here = features[members].reshape(len(members), -1)
            inside = (
                split(reduce(here, N_DIMENSIONS), seed=seed)
                if len(members) >= 2 * MIN_GROUP
                else np.zeros(len(members), dtype=np.int64)
            )
            for label in np.unique(inside):
                alike = members[inside == label]
                if len(alike) >= least:
                    labels[alike] = n_groups
                    n_groups += 1
    return labels


def reduce(features: Floats, n_dimensions: int) -> Floats:
    """Principal components, shape (n, at most `n_dimensions`)."""
    centred = features - features.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    n_kept = min(n_dimensions, max(1, len(features) // 3))
    return np.ascontiguousarray(centred @ vectors[:, ::-1][:, :n_kept])
