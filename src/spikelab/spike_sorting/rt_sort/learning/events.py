"""Find events: spikes at a root electrode that other electrodes record too."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters

    Peaks = NDArray[np.void]

logger = logging.getLogger(__name__)


def neighbours(locations: NDArray[np.float64], radius_um: float) -> IntArray:
    """List electrodes within the radius of each, from itself outwards, shape (electrodes, most); padded with -1."""
    apart = np.linalg.norm(locations[:, None] - locations[None], axis=2)
    order = np.argsort(apart, axis=1, kind="stable")
    inside = np.take_along_axis(apart, order, axis=1) <= radius_um
    return np.where(inside, order, -1)[:, : max(1, int(inside.sum(axis=1).max(initial=1)))]


def warn_of_far_electrodes(locations: NDArray[np.float64], radius_um: float) -> None:
    """Warn where no two electrodes are within the radius."""
    places = np.asarray(locations, dtype=np.float64)
    if neighbours(places, radius_um).shape[1] == 1:
        logger.warning(
            "RT-Sort: no two of %d electrodes are within %g um (inner_radius): neurons can only be told apart by their "
            "waveform on one electrode. Check the positions of the electrodes",
            len(places),
            radius_um,
        )


def find_events(
    peaks: Peaks, locations: NDArray[np.float64], sampling_frequency: float, duration_s: float,
    parameters: SequenceParameters,
) -> Peaks:  # fmt: skip
    """Choose the peaks at the roots of codetections.

    A root has at least the stringent probability, is the largest relative to its noise within the outer radius and
    the time window, and has peaks on enough electrodes within the inner radius. Peaks of the whole array at once and
    electrodes with too few events are left out. `peaks` are in the order of frames, `locations` in um.
    """
    n_electrodes = len(locations)
    stringent = np.log(parameters.stringent_thresh / (1 - parameters.stringent_thresh))
    peaks = peaks[peaks["logit"] >= stringent]
    frames_per_ms = sampling_frequency / 1000
    too_many = max(parameters.min_elecs_for_array_noise_n, parameters.min_elecs_for_array_noise_f * n_electrodes)
    limits = RootLimits(
        inner_um=float(parameters.inner_radius),
        outer_um=float(parameters.outer_radius),
        before=max(1, round(parameters.ms_before * frames_per_ms)),
        after=max(1, round(parameters.ms_after * frames_per_ms)),
        least=parameters.min_activity_root_cocs,
        too_many=float(too_many),
    )
    chosen = is_root(peaks, locations, limits)
    events = peaks[chosen]
    rates = np.bincount(events["channel"], minlength=n_electrodes) / max(duration_s, 1e-9)
    busy: Peaks = events[rates[events["channel"]] >= parameters.min_activity_hz]
    return busy


class RootLimits(NamedTuple):
    """Radii in um, times in frames, and numbers of electrodes that make a root; see :func:`find_events`."""

    inner_um: float
    outer_um: float
    before: int
    after: int
    least: int
    too_many: float


@compiled
def is_root(peaks: Peaks, locations: NDArray[np.float64], limits: RootLimits) -> NDArray[np.bool_]:
    """Find which peaks are roots, shape (peaks,); of equal sizes the earlier one, then the lower electrode."""
    n = len(peaks)
    chosen = np.zeros(n, dtype=np.bool_)
    seen = np.full(len(locations), -1, dtype=np.int64)
    first = last = 0
    for i in range(n):
        while peaks[first]["frame"] < peaks[i]["frame"] - limits.before:
            first += 1
        while last < n and peaks[last]["frame"] <= peaks[i]["frame"] + limits.after:
            last += 1
        if is_largest(peaks, i, first, last, locations, limits.outer_um):
            n_inner, n_array = count_electrodes(peaks, i, first, last, locations, limits.inner_um, seen)
            chosen[i] = n_inner >= limits.least and n_array < limits.too_many
    return chosen


@compiled
def apart(locations: NDArray[np.float64], one: int, other: int) -> float:
    """Distance of two electrodes."""
    dx = locations[other, 0] - locations[one, 0]
    dy = locations[other, 1] - locations[one, 1]
    return math.sqrt(dx * dx + dy * dy)


@compiled
def is_largest(peaks: Peaks, i: int, first: int, last: int, locations: NDArray[np.float64], radius_um: float) -> bool:
    """Test that no peak of rows `first` to `last` within a radius is larger than peak `i`, or as large and earlier."""
    size = abs(peaks[i]["amplitude"])
    for j in range(first, last):
        other = abs(peaks[j]["amplitude"])
        if other < size or (other == size and j >= i):
            continue
        if apart(locations, peaks[i]["channel"], peaks[j]["channel"]) <= radius_um:
            return False
    return True


@compiled
def count_electrodes(
    peaks: Peaks, i: int, first: int, last: int, locations: NDArray[np.float64], radius_um: float, seen: IntArray
) -> tuple[int, int]:
    """Count the electrodes with a peak in rows `first` to `last`: within a radius of that of peak `i`, and in all.

    `seen`, shape (electrodes,), holds the peak for which an electrode was last counted.
    """
    here = peaks[i]["channel"]
    n_inner, n_array = 1, 1
    seen[here] = i
    for j in range(first, last):
        there = peaks[j]["channel"]
        if seen[there] != i:
            seen[there] = i
            n_array += 1
            n_inner += apart(locations, here, there) <= radius_um
    return n_inner, n_array
