"""Split the events of one root electrode as published: by latencies, electrode by electrode, then by size.

Off by default (``max_n_components_latency=1``, ``split_coc_clusters_amps=False``): whitened waveforms separate better
(:mod:`.clustering`). Where this is on, waveforms are compared within branches only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort.learning.events import neighbours
from spikelab.spike_sorting.rt_sort.learning.splitting import dip_test, mixture_1d
from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters

    Peaks = NDArray[np.void]

LEAST_VARIANCE = 0.3  # of latencies, which are whole frames


@compiled
def latencies_of(
    frames: IntArray, channels: NDArray[np.int32], logits: FloatArray, event_frames: IntArray, electrodes: IntArray,
    before: int, after: int, n_channels: int,
) -> FloatArray:  # fmt: skip
    """Find the frames from each event to the surest peak on each electrode, (events, electrodes); NaN where none is."""
    place = np.full(n_channels, -1, dtype=np.int64)
    for k in range(len(electrodes)):
        if electrodes[k] >= 0:
            place[electrodes[k]] = k
    result = np.full((len(event_frames), len(electrodes)), np.nan, dtype=np.float32)
    best = np.empty(len(electrodes), dtype=np.float32)
    for e in range(len(event_frames)):
        best[:] = -np.inf
        for i in range(np.searchsorted(frames, event_frames[e] - before), len(frames)):
            if frames[i] > event_frames[e] + after:
                break
            k = place[channels[i]]
            if k >= 0 and logits[i] > best[k]:
                best[k] = logits[i]
                result[e, k] = frames[i] - event_frames[e]
    return result


def branches_of(
    events: Peaks, peaks: Peaks, locations: NDArray[np.float64], sampling_frequency: float,
    parameters: SequenceParameters,
) -> IntArray:  # fmt: skip
    """Find the branch of each event among those of its root, shape (events,); -1: none; all 0 where nothing splits.

    `peaks` are all peaks of the network on single electrodes, in the order of frames; `locations` are in um.
    """
    branches = np.zeros(len(events), dtype=np.int64)
    if parameters.max_n_components_latency <= 1 and not parameters.split_coc_clusters_amps:
        return branches
    peaks = peaks[peaks["logit"] >= np.log(parameters.loose_thresh / (1 - parameters.loose_thresh))]
    before, after = (
        max(1, round(ms * sampling_frequency / 1000)) for ms in (parameters.ms_before, parameters.ms_after)
    )
    near = neighbours(locations, parameters.outer_radius)
    for root in np.unique(events["channel"]):
        (of_root,) = np.nonzero(events["channel"] == root)
        others = near[root][near[root] >= 0][1:]
        latencies = latencies_of(
            peaks["frame"], peaks["channel"], peaks["logit"], events["frame"][of_root], others, before, after,
            len(locations),
        )  # fmt: skip
        distances = np.linalg.norm(locations[others] - locations[root], axis=1)
        branches[of_root] = split_branches(latencies, distances, np.abs(events["amplitude"][of_root]), parameters)
    return branches


def split_branches(
    latencies: FloatArray, distances: NDArray[np.float64], sizes: FloatArray, parameters: SequenceParameters
) -> IntArray:
    """Label the branch of each event, shape (events,), -1 in branches that are too small.

    `latencies`, shape (events, electrodes), are in frames, NaN without a peak of the event, the nearest electrode
    first, without the root; `distances` from the root are in um, `sizes` of the peak on the root in sigma.
    """
    least = max(parameters.min_coc_n, round(parameters.min_coc_p / 100 * len(sizes)), 2)
    waiting = [(np.arange(len(sizes)), 0)]  # rows of a branch, and the first electrode it has not been split by
    complete: list[IntArray] = []
    while waiting:
        rows, first = waiting.pop()
        parts, after = _first_split(rows, first, latencies, distances, parameters)
        if len(parts) == 1:
            complete += _by_size(rows, sizes[rows], parameters)
        else:
            waiting += [(part, after) for part in parts if len(part) >= least]
    labels = np.full(len(sizes), -1, dtype=np.int64)
    for label, rows in enumerate(rows for rows in complete if len(rows) >= max(parameters.min_coc_n, 2)):
        labels[rows] = label
    return labels


def _first_split(
    rows: IntArray, k: int, latencies: FloatArray, distances: NDArray[np.float64], parameters: SequenceParameters
) -> tuple[list[IntArray], int]:
    """Split by the first electrode from `k` on that splits, within `elec_patience` distances; the electrode after."""
    n_distances = 0
    while k < latencies.shape[1] and n_distances < parameters.elec_patience:
        parts = _by_latency(rows, latencies[rows, k], parameters)
        k += 1
        if len(parts) > 1:
            return parts, k
        n_distances += k == latencies.shape[1] or distances[k] > distances[k - 1]
    return [rows], k


def _by_latency(rows: IntArray, latencies: FloatArray, parameters: SequenceParameters) -> list[IntArray]:
    """Split by the latency on one electrode; events without a peak there are a part of their own."""
    seen = np.isfinite(latencies)
    if parameters.max_n_components_latency <= 1 or seen.sum() < max(2, parameters.min_extend_comp_p / 100 * len(rows)):
        return [rows]
    components = mixture_1d(latencies[seen], parameters.max_n_components_latency, LEAST_VARIANCE)
    if components.max(initial=0) == 0:
        return [rows]
    parts = [rows[seen][components == component] for component in np.unique(components)]
    return [*parts, rows[~seen]]


def _by_size(rows: IntArray, sizes: FloatArray, parameters: SequenceParameters) -> list[IntArray]:
    """Split by the amplitude on the root where Hartigan's dip test rejects a single mode."""
    if (
        not parameters.split_coc_clusters_amps
        or len(rows) < 2 * parameters.min_coc_n
        or dip_test(sizes).p >= parameters.min_amp_dist_p
    ):
        return [rows]
    components = mixture_1d(sizes, parameters.max_n_components_amp)
    return [rows[components == component] for component in np.unique(components)]
