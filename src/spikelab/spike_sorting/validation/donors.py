"""Donors: the units of a sort that lend their footprints, drift, sizes and spike trains to the injected neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data.traces import read_raw
from spikelab.spike_sorting.validation._kernels import measure_windows
from spikelab.system.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, FloatArray, IntArray, Waveforms

MIN_SNR, MIN_SPIKES = 3.0, 30
DEAD_MS, MAX_VIOLATIONS = 1.5, 0.05  # a donor with more intervals below is no single neuron
SEEN_SHARE, SEEN_NOISE = 0.05, 5.0  # of the main amplitude, and of the mean's own noise: channels that see a donor
BIN_SPIKES, MAX_BINS = 60, 20  # spikes of a stretch of time that has a footprint of its own
TAPER_MS = 0.2
CHUNK_VALUES = 1 << 24
NOISE_WINDOWS = 500  # per donor
MAD = 0.6745
SIZES = (0.3, 2.0)  # least and most of a single spike, of its neuron's mean


@dataclass(frozen=True)
class Donor:
    """A unit of the sort, as it is lent.

    Attributes
    ----------
    row : int
        Of the unit in the waveforms.
    main : int
        Main channel.
    channels : numpy.ndarray of int64, shape (channels,)
        Channels that see it, of those that are sorted together with the main one.
    shapes : numpy.ndarray of float32, shape (stretches, samples, channels)
        Mean spike in each of some stretches of time, in uV; 0 on all other channels.
    middles : numpy.ndarray of float64, shape (stretches,)
        Mean frame of the spikes of each stretch.
    frames : numpy.ndarray of int64, shape (spikes,)
        Spikes, aligned to the peak on the main channel.
    sizes : numpy.ndarray of float32, shape (spikes,)
        Each spike over the mean of its stretch, what noise does to it taken out.
    n_before : int
        Samples before the peak.
    """

    row: int
    main: int
    channels: IntArray
    shapes: FloatArray
    middles: NDArray[np.float64]
    frames: IntArray
    sizes: FloatArray
    n_before: int

    @property
    def mean(self) -> FloatArray:
        """Mean spike, shape (samples, channels)."""
        return np.asarray(self.shapes.mean(axis=0), dtype=np.float32)

    @property
    def amplitude(self) -> float:
        """Largest value of the mean spike on the main channel, in uV."""
        (at,) = np.flatnonzero(self.channels == self.main)
        return float(np.abs(self.mean[:, at]).max())


def usable_units(waveforms: Waveforms, sampling_frequency: float) -> IntArray:
    """List the rows of units that can lend: large enough, with enough spikes, and refractory."""
    rows = []
    for row, frames in enumerate(waveforms.spikes):
        intervals = np.diff(frames) / sampling_frequency * 1000.0
        violations = np.mean(intervals < DEAD_MS) if len(intervals) else 1.0
        if waveforms.snr[row] >= MIN_SNR and len(frames) >= MIN_SPIKES and violations <= MAX_VIOLATIONS:
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def measure_donors(binary: BinaryRecording, waveforms: Waveforms, rows: IntArray) -> list[Donor]:
    """Measure how the spikes of some units look over time, in one pass over the traces."""
    started = [_Measured(waveforms, int(row), binary.n_samples, binary.groups) for row in rows]
    n_samples = waveforms.templates.shape[1]
    step = max(4 * n_samples, CHUNK_VALUES // binary.n_channels)
    with Progress("footprints of the units", binary.n_samples) as progress:
        for start in range(0, binary.n_samples, step):
            end = min(start + step, binary.n_samples)
            base, last = max(0, start - 4 * n_samples), min(binary.n_samples, end + n_samples)
            counts = read_raw(binary, base, last)
            for donor in started:
                donor.add(counts, base, start, end)
            progress.update(end - start)
    taper = _taper(n_samples, waveforms.n_before, binary.sampling_frequency)
    return [donor.finished(binary.gain_uv, taper) for donor in started]


class _Measured:
    """Sums of the windows of a donor, and the size of every spike."""

    def __init__(self, waveforms: Waveforms, row: int, n_frames: int, groups: IntArray) -> None:
        template = waveforms.templates[row]
        peaks = np.abs(template).max(axis=0)
        floor = SEEN_NOISE * waveforms.noise / np.sqrt(max(1, int(waveforms.n_averaged[row])))
        self.row, self.main, self.n_before = row, int(waveforms.main_channels[row]), waveforms.n_before
        seen = peaks >= np.maximum(SEEN_SHARE * peaks[self.main], floor)
        seen &= groups == groups[self.main]
        seen[self.main] = True
        self.channels = np.flatnonzero(seen)
        self.template = np.ascontiguousarray(template[:, self.channels])
        self.length = len(template)
        frames = waveforms.spikes[row]
        inside = (frames >= self.n_before) & (frames < n_frames - (self.length - self.n_before))
        self.frames = frames[inside]
        n_bins = int(np.clip(len(self.frames) // BIN_SPIKES, 1, MAX_BINS))
        self.bins = np.arange(len(self.frames)) * n_bins // max(1, len(self.frames))
        self.counts = np.maximum(np.bincount(self.bins, minlength=n_bins), 1)
        self.sums = np.zeros((n_bins, *self.template.shape))
        self.sizes = np.zeros(len(self.frames))
        self.noise: list[NDArray[np.float64]] = []
        self.noise_left = NOISE_WINDOWS

    def add(self, counts: NDArray[np.int16], base: int, start: int, end: int) -> None:
        """Take the spikes of frames [start, end) from counts that begin at the frame `base`."""
        own = slice(*np.searchsorted(self.frames, [start, end]))
        at = self.frames[own] - base - self.n_before
        measure_windows(counts, at, self.channels, self.template, self.bins[own], self.sums, self.sizes[own])
        before = at - 3 * self.length  # a moment without this unit, mostly
        before = before[before >= 0][: self.noise_left]
        products = np.zeros(len(before))
        measure_windows(counts, before, self.channels, self.template, before, self.sums[:0], products)
        self.noise.append(products)
        self.noise_left -= len(before)

    def finished(self, gain_uv: float, taper: FloatArray) -> Donor:
        """Return the donor."""
        energy = float(np.sum(self.template.astype(np.float64) ** 2))
        to_size = gain_uv / max(energy, 1e-12)
        noise = np.concatenate([np.zeros(0), *self.noise]) * to_size
        shapes = self.sums * (gain_uv / self.counts[:, None, None])
        shapes = _without_noise(shapes, _spread(noise) * float(np.sqrt(energy)), self.counts)
        middles = np.bincount(self.bins, weights=self.frames, minlength=len(self.counts)) / self.counts
        sizes = _without_scatter(self.sizes * to_size, self.bins, self.counts, _spread(noise))
        tapered = (shapes * taper[:, None]).astype(np.float32)
        return Donor(self.row, self.main, self.channels, tapered, middles, self.frames, sizes, self.n_before)


def _without_noise(shapes: NDArray[np.float64], noise: float, counts: IntArray) -> NDArray[np.float64]:
    """Keep of the change over time what is more than noise: components beyond the largest that noise makes.

    A matrix of independent noise has no singular value above ``noise * (sqrt(rows) + sqrt(columns))`` (Marchenko and
    Pastur); each value here is a mean of as many spikes as its stretch has.
    """
    mean = np.average(shapes, axis=0, weights=counts)
    if len(shapes) == 1:
        return shapes
    change = (shapes - mean).reshape(len(shapes), -1)
    left, values, right = np.linalg.svd(change, full_matrices=False)
    edge = noise / np.sqrt(counts.mean()) * (np.sqrt(change.shape[0]) + np.sqrt(change.shape[1]))
    kept = np.where(values > edge, values, 0.0)
    return np.asarray(mean + ((left * kept) @ right).reshape(shapes.shape))


def _without_scatter(sizes: NDArray[np.float64], bins: IntArray, counts: IntArray, noise: float) -> FloatArray:
    """Return each spike over the mean of its stretch, drawn together by the share of the scatter that is noise."""
    means = np.bincount(bins, weights=sizes, minlength=len(counts)) / counts
    relative = sizes / np.maximum(means[bins], 1e-6) - 1.0
    whole = _spread(relative)
    own = np.sqrt(max(0.0, whole**2 - noise**2))
    return np.clip(1.0 + relative * (own / whole if whole > 0 else 0.0), *SIZES).astype(np.float32)


def _spread(values: NDArray[np.floating]) -> float:
    """Estimate a standard deviation from the median absolute deviation."""
    return float(np.median(np.abs(values - np.median(values))) / MAD) if len(values) else 0.0


def _taper(n_samples: int, n_before: int, sampling_frequency: float) -> FloatArray:
    """Make a window that lets a spike begin and end at nothing, shape (samples,)."""
    width = max(1, round(TAPER_MS * sampling_frequency / 1000.0))
    edge = min(width, n_before, n_samples - n_before)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    window = np.ones(n_samples)
    window[:edge], window[n_samples - edge :] = ramp, ramp[::-1]
    return window.astype(np.float32)
