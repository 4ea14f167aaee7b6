"""Paths of units: how their waveforms change over the recording, from examples of their spikes.

Examples are averaged in bins of time. Where electrodes move, or a neuron grows, these averages differ in few ways: the
largest singular vectors of the differences, as far as noise does not reach. The noise is that of the examples
themselves, with all that makes spikes of one neuron differ within a short time (overlaps, bursts, jitter): it is taken
from differences of spikes that follow each other, in which slow changes cancel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikelab.spike_sorting.rt_sort.matching.moving import Versions
from spikelab.spike_sorting.rt_sort.matching.templates import denoise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.learning.merging import Units
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
    from spikelab.spike_sorting.rt_sort.sequences import Waveform
    from spikelab.spike_sorting.rt_sort.whitening import Noise

MAX_BINS = 32  # a template is this often different at most, whatever the length of the recording
BIN_S = 2.0  # ... and no more often than this: nothing that lasts moves faster
LEAST_EXAMPLES = 4  # of a bin: a mean of so many is known to a quarter of the noise of a spike
LEAST_BINS = 3
MAX_COMPONENTS = 3
DRAWS, SAFETY = 9, 1.1  # the largest of so many draws of noise, and a tenth more
# A template is replaced when what it leaves of a spike, in squared standard deviations of the noise, is this share of
# the least energy of a spike: far too little for a spike of another unit.
STEP = 0.25
MODEL_ERROR = 0.003  # of the energy: what interpolation within a frame leaves of any spike


class Examples(NamedTuple):
    """Spikes of one unit, cleaned of others, in the order of time.

    Attributes
    ----------
    windows : numpy.ndarray of float32, shape (spikes, channels, frames)
        In microvolts.
    frames : numpy.ndarray of int64, shape (spikes,)
    channels : numpy.ndarray of int64, shape (channels,)
    """

    windows: FloatArray
    frames: IntArray
    channels: IntArray

    @classmethod
    def of(cls, windows: FloatArray, frames: IntArray, channels: IntArray) -> Examples:
        """Order spikes by time and leave out channels below 0."""
        order, used = np.argsort(frames, kind="stable"), channels >= 0
        return cls(windows[order][:, used], frames[order], channels[used])

    def features(self, noise: Noise, components: FloatArray, origin: int) -> NDArray[np.float64]:
        """Project on the whitened temporal components (components, frames) from frame `origin` on."""
        mixing = noise.whitening(self.channels) / noise.sigma[self.channels]
        courses = self.windows[:, :, origin : origin + components.shape[1]] @ components.T
        features: NDArray[np.float64] = (
            np.einsum("dc,nck->ndk", mixing, courses).reshape(len(courses), -1).astype(float)
        )
        return features


class Course(NamedTuple):
    """How far a unit is from its mean at what time.

    Attributes
    ----------
    starts : numpy.ndarray of int64, shape (times,)
        First frame of each, ascending.
    places : numpy.ndarray of float64, shape (times, components)
        In standard deviations of the noise.
    weights : numpy.ndarray of float64, shape (examples, components)
        Their products with the examples are the components' waveforms.
    """

    starts: IntArray
    places: NDArray[np.float64]
    weights: NDArray[np.float64]


def n_bins(duration_s: float) -> int:
    """Number of bins that a recording is cut into."""
    return max(1, min(MAX_BINS, int(duration_s / BIN_S)))


def bins_of(frames: IntArray, n_frames: int, n: int) -> IntArray:
    """Find the bin of each example (ascending); a bin with too few is one with the next, the last with that before."""
    bins = np.minimum(frames * n // max(n_frames, 1), n - 1)
    joined = np.empty_like(bins)
    first, label = 0, 0
    ends = np.append(np.flatnonzero(np.diff(bins)) + 1, len(bins))
    for end in ends.tolist():
        joined[first:end] = label
        if end - first >= LEAST_EXAMPLES:
            first, label = end, label + 1
    if first < len(bins):
        joined[first:] = max(label - 1, 0)
    return joined


def course_of(
    examples: Examples, features: NDArray[np.float64], bins: IntArray, threshold: float, scale_std: float
) -> Course | None:
    """Find the course of a unit over the recording; None where it stands still.

    `threshold` is the least energy of a spike, `scale_std` the spread of sizes that a template allows for.
    """
    n = int(bins.max(initial=-1)) + 1
    if n < LEAST_BINS:
        return None
    mean = features.mean(axis=0)
    averaging = np.zeros((n, len(bins)))
    averaging[bins, np.arange(len(bins))] = 1
    counts = averaging.sum(axis=1)
    averaging /= np.sqrt(counts)[:, None]
    left, values, right = np.linalg.svd(averaging @ (features - mean), full_matrices=False)
    k = min(MAX_COMPONENTS, int(np.sum(values > noise_edge(features, averaging))))
    if k == 0:
        return None
    places = left[:, :k] * values[:k] / np.sqrt(counts)[:, None]
    size = float(np.linalg.norm(mean))
    step = max(STEP * threshold, MODEL_ERROR * size**2)
    labels = joined_steps(weigh_size(places, right[:k] @ (mean / size), step / (scale_std * size) ** 2), counts, step)
    if labels[-1] == 0:
        return None
    firsts = np.flatnonzero(np.diff(labels, prepend=-1))
    places = np.stack(
        [np.average(places[labels == i], axis=0, weights=counts[labels == i]) for i in range(len(firsts))]
    )
    starts = [0]
    for first in firsts[1:].tolist():  # half-way between the examples around
        row = int(np.searchsorted(bins, first))
        starts.append(int(examples.frames[row - 1] + examples.frames[row] + 1) // 2)
    weights = (left[:, :k] / values[:k]).T @ averaging
    return Course(np.array(starts, dtype=np.int64), places, weights.T)


def weigh_size(places: NDArray[np.float64], along: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Change the scale of places so that distances along the mean count `weight` times, squared.

    Along the mean lies the size of spikes, which each spike is free to choose within limits. `along` is the mean's
    direction in the components.
    """
    length = float(np.linalg.norm(along))
    if length == 0:
        return places
    unit = along / length
    factor = np.sqrt(1 + (weight - 1) * length**2)
    weighed: NDArray[np.float64] = places + (places @ unit)[:, None] * unit * (factor - 1)
    return weighed


def noise_edge(features: NDArray[np.float64], averaging: NDArray[np.float64]) -> float:
    """Find the singular value of averages in bins that spikes would have whose mean is always the same.

    Differences of neighbours in time, of random sign, stand for their noise.
    """
    differences = np.diff(features, axis=0) / np.sqrt(2)
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], size=(DRAWS, len(differences)))
    largest = max(float(np.linalg.norm((averaging[:, 1:] * sign) @ differences, 2)) for sign in signs)
    return SAFETY * largest


def joined_steps(places: NDArray[np.float64], counts: NDArray[np.float64], step: float) -> IntArray:
    """Join neighbours in time whose places, (times, components), are less than a squared distance `step` apart.

    The nearest are joined first; returns a label for each time, ascending from 0.
    """
    places, counts = places.copy(), counts.copy()
    firsts = list(range(len(places)))
    while len(firsts) > 1:
        rows = np.array(firsts)
        apart = np.sum(np.diff(places[rows], axis=0) ** 2, axis=1)
        at = int(np.argmin(apart))
        if apart[at] >= step:
            break
        i, j = firsts[at], firsts.pop(at + 1)
        total = counts[i] + counts[j]
        places[i] = (counts[i] * places[i] + counts[j] * places[j]) / total
        counts[i] = total
    labels = np.zeros(len(places), dtype=np.int64)
    labels[firsts[1:]] = 1
    return np.cumsum(labels)


def path_of(
    mean: FloatArray, count: float, examples: Examples, course: Course, noise: Noise
) -> list[tuple[int, Waveform]]:
    """Make the waveform of each time of the course, with the frame it holds from; `mean` is (frames, channels)."""
    components = np.tensordot(course.weights.T, examples.windows, axes=1)
    # The components are sums of examples: so much noise do they add to that of the mean.
    variances = np.sum(course.weights**2, axis=0)
    path = []
    for start, place in zip(course.starts.tolist(), course.places, strict=True):
        moved = mean.copy()
        moved[:, examples.channels] += np.tensordot(place, components, axes=1).T.astype(np.float32)
        effective = 1 / (1 / max(count, 1.0) + float(np.sum(place**2 * variances)))
        path.append((start, denoise(moved, effective, noise)))
    return path


def find_paths(units: Units, chosen: IntArray, n_frames: int, parameters: SequenceParameters) -> Versions:
    """Find the waveforms over time of some units, from their examples in a recording of so many frames."""
    templates, starts, waveforms = [], [], []
    n = n_bins(n_frames / units.sampling_frequency)
    for number, unit in enumerate(chosen.tolist()):
        examples = Examples.of(units.examples[unit], units.example_frames[unit], units.channels[unit])
        features = examples.features(units.noise, units.components, units.origin)
        bins = bins_of(examples.frames, n_frames, n)
        mean, count = units.means[unit], units.counts[unit]
        course = course_of(examples, features, bins, parameters.match_threshold, parameters.scale_std)
        path = (
            [(0, denoise(mean, count, units.noise))]
            if course is None
            else path_of(mean, count, examples, course, units.noise)
        )
        templates += [number] * len(path)
        starts += [start for start, _ in path]
        waveforms += [waveform for _, waveform in path]
    return Versions(np.array(templates, dtype=np.int64), np.array(starts, dtype=np.int64), tuple(waveforms))
