"""From the places of spikes to the course of the tissue, by SpikeInterface's registration of histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import median_filter

from spikelab.spike_sorting.recording.motion.course import Course

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Epoch, IntArray
    from spikelab.spike_sorting.recording.motion.peaks import Peaks

    Floats = NDArray[np.float64]

BINS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)  # the shortest that has enough spikes is taken
SPIKES_PER_BIN, PER_UM = 20, 400.0  # of a probe as long as that; longer ones need more
LEAST_BINS = 4
BLOCK_BINS = 600  # which are brought to one template; blocks then are to one another
STEP_UM, N_SIZES, N_ROUNDS = 5.0, 8, 6  # of depth, of sizes of spikes, of alignment to a better template
MARGIN_UM = 80.0  # beyond the contacts, as histograms are shifted in a circle
RIGID_BELOW_UM = 300.0  # shorter probes are taken to move as a whole
ASTRAY_UM, NEIGHBOURS = 15.0, 2  # a bin so far from the median of so many on both sides is looked at again
WINDOW_UM, WINDOW_STEP_UM = 150.0, 200.0  # width (sigma) and distance of the windows that move each on its own


def course_of(peaks: Peaks, epochs: Sequence[Epoch], fs: float, contacts_um: Floats, axis: int) -> Course | None:
    """Estimate the course; None where there are too few spikes. No bin of time spans the break between epochs."""
    edges = _edges(peaks, epochs, fs, contacts_um)
    if edges is None:
        return None
    starts, ends = edges
    bins = np.searchsorted(starts, peaks.frames, side="right") - 1
    windows, centres = _windows(contacts_um)
    depths, moved = peaks.depths_um, np.zeros((len(starts), len(centres)))
    n_blocks = -(-len(starts) // BLOCK_BINS)
    block_of = np.arange(len(starts)) * n_blocks // len(starts)
    for block in range(n_blocks):
        inside = np.flatnonzero(block_of == block)
        chosen = (bins >= inside[0]) & (bins <= inside[-1])
        own = bins[chosen] - inside[0]
        moved[inside] = _registered(own, depths[chosen], peaks.sizes_uv[chosen], len(inside), contacts_um, windows)
    if n_blocks > 1:
        middles = (starts + ends) / 2 / fs
        straight = depths - Course(axis, middles, centres, moved).of(peaks.frames / fs, depths)
        moved += _registered(block_of[bins], straight, peaks.sizes_uv, n_blocks, contacts_um, windows)[block_of]
    moved -= np.median(moved, axis=0)
    return _with_ends(starts, ends, epochs, fs, Course(axis, (starts + ends) / 2 / fs, centres, moved))


def enough_spikes(peaks: Peaks, epochs: Sequence[Epoch], fs: float, contacts_um: Floats) -> bool:
    """Tell whether there are spikes to see a course by."""
    return _edges(peaks, epochs, fs, contacts_um) is not None


def _edges(peaks: Peaks, epochs: Sequence[Epoch], fs: float, contacts_um: Floats) -> tuple[IntArray, IntArray] | None:
    """Divide each epoch into equal bins, the shortest of which most have enough spikes; None where none are."""
    wanted = SPIKES_PER_BIN * max(1.0, float(np.ptp(contacts_um)) / PER_UM)
    for length in BINS_S:
        starts, ends = [], []
        for epoch in epochs:
            n_bins = max(1, round(epoch.n_frames / (length * fs)))
            edges = np.linspace(epoch.start_frame, epoch.end_frame, n_bins + 1).round().astype(np.int64)
            starts.append(edges[:-1])
            ends.append(edges[1:])
        first, last = np.concatenate(starts), np.concatenate(ends)
        if len(first) < LEAST_BINS:
            return None
        counts = np.searchsorted(peaks.frames, last) - np.searchsorted(peaks.frames, first)
        if np.median(counts) >= wanted:
            return first, last
    return None


def _grid(contacts_um: Floats) -> Floats:
    low, high = contacts_um.min() - MARGIN_UM, contacts_um.max() + MARGIN_UM
    return np.arange(low, high + STEP_UM, STEP_UM)


def _windows(contacts_um: Floats) -> tuple[Floats, Floats]:
    """Make the weights of the windows (windows, steps) and their centres in micrometres; one for a short probe."""
    steps = (_grid(contacts_um)[:-1] + _grid(contacts_um)[1:]) / 2
    length = float(np.ptp(contacts_um))
    if length < RIGID_BELOW_UM:
        return np.ones((1, len(steps))), np.array([contacts_um.mean()])
    n_windows = max(2, round(length / WINDOW_STEP_UM))
    inset = length / n_windows / 2
    centres = np.linspace(contacts_um.min() + inset, contacts_um.max() - inset, n_windows)
    return np.exp(-(((steps - centres[:, None]) / WINDOW_UM) ** 2) / 2), centres


def _registered(
    bins: IntArray, depths_um: Floats, sizes_uv: Floats, n_bins: int, contacts_um: Floats, windows: Floats
) -> Floats:
    """Return how far the spikes of each bin have moved from the others', shape (bins, windows), in micrometres."""
    from spikeinterface.sortingcomponents.motion.iterative_template import iterative_template_registration

    grid = _grid(contacts_um)
    logs = np.log(np.maximum(sizes_uv, 1e-6))
    low, high = (logs.min(), logs.max()) if len(logs) else (0.0, 1.0)
    levels = np.minimum(((logs - low) / max(high - low, 1e-9) * N_SIZES).astype(np.int64), N_SIZES - 1)
    rows = np.floor((depths_um - grid[0]) / STEP_UM).astype(np.int64)
    inside = (rows >= 0) & (rows < len(grid) - 1)
    counts = np.zeros((n_bins, len(grid) - 1, N_SIZES))
    np.add.at(counts, (bins[inside], rows[inside], levels[inside]), 1.0)
    # The first template is the middle bin: one without spikes would have every other moved as far as can be.
    order, middle = np.arange(n_bins), n_bins // 2 - 1
    busiest = int(counts.sum(axis=(1, 2)).argmax())
    order[[middle, busiest]] = order[[busiest, middle]]
    histograms = np.log2(1 + counts)
    shifts, _, _ = iterative_template_registration(histograms[order], windows, num_iterations=N_ROUNDS)
    moved: Floats = np.empty(shifts.shape)
    moved[order] = -STEP_UM * shifts
    return _with_strays_back(histograms, moved, windows)


def _with_strays_back(histograms: Floats, moved: Floats, windows: Floats) -> Floats:
    """Bring bins that lie far from those around them back to these, where their spikes fit there at least as well.

    Registration searches some way around the place of the round before: a bin of few spikes that once went astray as
    far as that does not come back. A bin that has really moved fits better where it was found.
    """
    around = median_filter(moved, size=(2 * NEIGHBOURS + 1, 1), mode="mirror") if len(moved) > NEIGHBOURS else moved
    astray = np.abs(moved - around) > ASTRAY_UM
    mended = moved.copy()
    for window in np.flatnonzero(astray.any(axis=0)).tolist():
        steady = np.flatnonzero(~astray[:, window])
        rows = np.rint(moved[:, window] / STEP_UM).astype(np.int64)
        template = sum(_straight(histograms[bin_], int(rows[bin_])) for bin_ in steady) * windows[window][:, None]
        for bin_ in np.flatnonzero(astray[:, window]).tolist():
            here, there = moved[bin_, window], around[bin_, window]
            fits = [_fit(histograms[bin_], template, place) for place in (here, there)]
            if fits[1] >= fits[0]:
                mended[bin_, window] = there
    return mended


def _fit(histogram: Floats, template: Floats, moved_um: float) -> float:
    """Say how well a bin fits the template at about a place."""
    row = round(moved_um / STEP_UM)
    return max(float((_straight(histogram, row + near) * template).sum()) for near in (-1, 0, 1))


def _straight(histogram: Floats, rows: int) -> Floats:
    """Move a histogram back by so many rows; what comes in from beyond its ends is empty."""
    moved = np.zeros_like(histogram)
    if abs(rows) < len(histogram):
        moved[max(-rows, 0) : len(moved) - max(rows, 0)] = histogram[max(rows, 0) : len(moved) - max(-rows, 0)]
    return moved


def _with_ends(starts: IntArray, ends: IntArray, epochs: Sequence[Epoch], fs: float, course: Course) -> Course:
    """Hold what was found in the first and last bin of an epoch to its ends: what lies between epochs is unknown."""
    first = np.isin(starts, [epoch.start_frame for epoch in epochs])
    last = np.isin(ends, [epoch.end_frame for epoch in epochs])
    times = np.concatenate([course.times_s, starts[first] / fs, (ends[last] - 1) / fs])
    moved = np.concatenate([course.moved_um, course.moved_um[first], course.moved_um[last]])
    order = np.argsort(times, kind="stable")
    return Course(course.axis, times[order], course.depths_um, moved[order])
