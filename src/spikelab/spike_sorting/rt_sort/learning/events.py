"""From spikes on single electrodes to events: a root electrode that others see the same spike with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters

    Ints = NDArray[np.int64]
    Peaks = NDArray[np.void]


def neighbours(locations: NDArray[np.float64], radius_um: float) -> Ints:
    """Electrodes within the radius of each, itself first, nearest first, shape (electrodes, most); padded with -1."""
    apart = np.linalg.norm(locations[:, None] - locations[None], axis=2)
    order = np.argsort(apart, axis=1, kind="stable")
    inside = np.take_along_axis(apart, order, axis=1) <= radius_um
    return np.where(inside, order, -1)[:, : max(1, int(inside.sum(axis=1).max(initial=1)))]


def find_events(
    peaks: Peaks, locations: NDArray[np.float64], sampling_frequency: float, duration_s: float,
    parameters: SequenceParameters,
) -> Peaks:  # fmt: skip
    """Peaks at the roots of codetections.

    A root has at least the stringent probability, is the largest relative to its noise within the outer radius and
    the time window, and is seen within the inner radius by enough electrodes. Peaks of the whole array at once are
    left out, and so are electrodes with too few events.

    Parameters
    ----------
    peaks : numpy.ndarray of `PEAK`
        In the order of frames.
    locations : numpy.ndarray, shape (electrodes, 2)
        In um.
    sampling_frequency, duration_s : float
        In Hz and s.
    parameters : SequenceParameters

    Returns
    -------
    numpy.ndarray of `PEAK`
        In the order of frames.
    """
    n_electrodes = len(locations)
    stringent = np.log(parameters.stringent_thresh / (1 - parameters.stringent_thresh))
    peaks = peaks[peaks["logit"] >= stringent]
    frames_per_ms = sampling_frequency / 1000
    chosen = is_root(
        peaks["frame"],
        peaks["channel"],
        np.abs(peaks["amplitude"]),
        locations,
        parameters.inner_radius,
        parameters.outer_radius,
        max(1, round(parameters.ms_before * frames_per_ms)),
        max(1, round(parameters.ms_after * frames_per_ms)),
        parameters.min_activity_root_cocs,
        max(parameters.min_elecs_for_array_noise_n, parameters.min_elecs_for_array_noise_f * n_electrodes),
    )
    events = peaks[chosen]
    rates = np.bincount(events["channel"], minlength=n_electrodes) / max(duration_s, 1e-9)
    busy: Peaks = events[rates[events["channel"]] >= parameters.min_activity_hz]
    return busy


@compiled
def is_root(
    frames: Ints, channels: NDArray[np.int32], sizes: NDArray[np.float32], locations: NDArray[np.float64],
    inner_um: float, outer_um: float, before: int, after: int, least: int, too_many: float,
) -> NDArray[np.bool_]:  # fmt: skip
    """Which peaks are roots, shape (peaks,); of equal sizes the earlier one, then the lower electrode."""
    n = len(frames)
    chosen = np.zeros(n, dtype=np.bool_)
    seen = np.full(len(locations), -1, dtype=np.int64)
    first = 0
    for i in range(n):
        while frames[first] < frames[i] - before:
            first += 1
        here = channels[i]
        largest, n_seen, n_array = True, 1, 1
        seen[here] = i
        for j in range(first, n):
            if frames[j] > frames[i] + after:
                break
            there = channels[j]
            if j == i:
                continue
            dx = locations[there, 0] - locations[here, 0]
            dy = locations[there, 1] - locations[here, 1]
            apart = np.sqrt(dx * dx + dy * dy)
            if apart <= outer_um and (sizes[j] > sizes[i] or (sizes[j] == sizes[i] and j < i)):
                largest = False
                break
            if seen[there] != i:
                seen[there] = i
                n_array += 1
                if apart <= inner_um:
                    n_seen += 1
        chosen[i] = largest and n_seen >= least and n_array < too_many
    return chosen
