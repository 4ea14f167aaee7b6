"""Sequences: the electrodes that a spike reaches, its latency, amplitude and probability there."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters

    Peaks = NDArray[np.void]
    Waveform = tuple[IntArray, FloatArray]  # channels, and their courses (channels, frames) in microvolts

MAX_CHECKED = 12  # electrodes whose latency and amplitude are compared
MIN_CHECKED_SIZE = 2.0  # ... in sigma: below, noise moves the peak
MAX_DESCRIBED = 300  # spikes behind a probability


@dataclass(frozen=True)
class Sequences:
    """Sequences in rows; electrodes are listed largest first and padded.

    Attributes
    ----------
    root : numpy.ndarray of int64, shape (sequences,)
        Electrode whose peak is the time of the spike.
    n_channels : numpy.ndarray of int64, shape (sequences,)
        Number of electrodes that are not padding.
    channels : numpy.ndarray of int64, shape (sequences, electrodes)
    waveforms : numpy.ndarray of float32, shape (sequences, electrodes, frames)
        Mean waveform in microvolts, with the peak on the root 1 ms after its start.
    latencies : numpy.ndarray of float32, shape (sequences, electrodes)
        Of the peak after that on the root, in frames.
    amplitudes : numpy.ndarray of float32, shape (sequences, electrodes)
        Size of the peak in sigma of the electrode's noise.
    probabilities : numpy.ndarray of float32, shape (sequences, electrodes)
        Mean probability of the network over spikes.
    n_spikes : numpy.ndarray of int64, shape (sequences,)
        Number of spikes in the waveform.
    root_std : numpy.ndarray of float32, shape (sequences,)
        Standard deviation of the amplitude on the root over spikes, relative to its mean.
    significance : numpy.ndarray of float32, shape (sequences,)
        By how many standard errors its spikes are above what noise reaches; see :mod:`.learning.significance`.

    Examples
    --------
    >>> from spikelab.spike_sorting.rt_sort import RTSort
    >>> sequences = RTSort.load("sorted_rt_sort_culture/stages/sorting/rt_sort").sequences
    >>> sequences.latencies.shape == sequences.channels.shape
    True
    """

    root: IntArray
    n_channels: IntArray
    channels: IntArray
    waveforms: FloatArray
    latencies: FloatArray
    amplitudes: FloatArray
    probabilities: FloatArray
    n_spikes: IntArray
    root_std: FloatArray
    significance: FloatArray

    @property
    def n_sequences(self) -> int:
        """Number of sequences."""
        return len(self.root)

    def subset(self, chosen: NDArray[np.bool_]) -> Sequences:
        """Select sequences by `chosen`, shape (sequences,)."""
        return Sequences(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def loose(self, loose_thresh: float) -> NDArray[np.bool_]:
        """Find the listed electrodes on which the network detects the spike, shape (sequences, electrodes)."""
        listed = np.arange(self.channels.shape[1]) < self.n_channels[:, None]
        return listed & (self.probabilities >= loose_thresh)

    def seen_by_network(self, locations: NDArray[np.float64], parameters: SequenceParameters) -> NDArray[np.bool_]:
        """Find the sequences with enough loose electrodes, and not too many, shape (sequences,).

        Other sequences match mostly noise: the network, which is independent of templates, does not confirm them.
        """
        loose = self.loose(parameters.loose_thresh)
        apart = np.linalg.norm(locations[self.channels] - locations[self.root][:, None], axis=2)
        n_loose = loose.sum(axis=1)
        n_inner = (loose & (apart <= parameters.inner_radius)).sum(axis=1)
        too_many = max(parameters.min_elecs_for_seq_noise_n, parameters.min_elecs_for_seq_noise_f * len(locations))
        seen: NDArray[np.bool_] = (
            (n_loose >= parameters.min_loose_detections_n)
            & (n_inner >= parameters.min_inner_loose_detections)
            & (n_loose < too_many)
        )
        return seen

    def at_time(self, waveforms: list[Waveform], n_before: int, sigma: FloatArray) -> Sequences:
        """Describe the sequences by other waveforms, those of another time, on the same clock."""
        n, most = self.n_sequences, max((len(channels) for channels, _ in waveforms), default=1)
        n_channels, channels = np.zeros(n, dtype=np.int64), np.zeros((n, most), dtype=np.int64)
        room = np.zeros((n, most, self.waveforms.shape[2]), dtype=np.float32)
        latencies, amplitudes, probabilities = (np.zeros((n, most), dtype=np.float32) for _ in range(3))
        for u, (support, waveform) in enumerate(waveforms):
            k = len(support)
            n_channels[u], channels[u, :k], room[u, :k] = k, support, waveform
            latencies[u, :k], amplitudes[u, :k] = latencies_and_amplitudes(waveform, n_before, sigma[support])
            own, listed = self.channels[u, : self.n_channels[u]], self.probabilities[u]
            here, there = np.nonzero(support[:, None] == own)
            probabilities[u, here] = listed[there]
        return replace(
            self, n_channels=n_channels, channels=channels, waveforms=room, latencies=latencies,
            amplitudes=amplitudes, probabilities=probabilities,
        )  # fmt: skip

    def tolerances(self, parameters: SequenceParameters) -> Tolerances | None:
        """Expected latencies and amplitudes and their limits, to check spikes by; None where no limit is finite."""
        limits = (
            parameters.max_latency_diff_spikes, parameters.max_amp_median_diff_spikes,
            parameters.max_root_amp_median_std_spikes,
        )  # fmt: skip
        if not np.isfinite(limits).any() and not parameters.min_loose_detections_r_spikes:
            return None
        n = min(MAX_CHECKED, self.channels.shape[1])
        counts = np.minimum(np.maximum((self.amplitudes >= MIN_CHECKED_SIZE).sum(axis=1), 1), self.n_channels)
        return Tolerances(
            np.minimum(counts, n), self.latencies[:, :n], self.amplitudes[:, :n], self.root_std,
            np.float32(limits[0]), np.float32(limits[1]), np.float32(limits[2]),
            np.float32(parameters.clip_latency_diff_factor),
            np.float32(parameters.clip_amp_median_diff_factor),
            parameters.min_loose_detections_r_spikes,
        )  # fmt: skip


class Tolerances(NamedTuple):
    """Latencies (frames) and amplitudes (sigma) on the first electrodes of each sequence, and limits of deviations."""

    n_channels: IntArray
    latencies: FloatArray
    amplitudes: FloatArray
    root_std: FloatArray
    latency: np.float32
    amplitude: np.float32
    root: np.float32
    clip_latency: np.float32
    clip_amplitude: np.float32
    share: float  # a third of 12 electrodes is 4, but not in single precision


def peak_of(waveform: FloatArray, centre: int, reach: int) -> tuple[int, float]:
    """Find frame and value of the largest deviation within `reach` of `centre`."""
    low = max(0, centre - reach)
    part = waveform[low : centre + reach + 1]
    index = int(np.argmax(np.abs(part)))
    return low + index, float(part[index])


def find_root(
    channels: IntArray, waveform: FloatArray, sigma: FloatArray, n_before: int, reach: int,
    parameters: SequenceParameters,
) -> tuple[int, int]:  # fmt: skip
    """Find the row of the root electrode in a template (channels largest first) and the frame of its peak.

    The root is the largest electrode relative to its noise, or an earlier one that is nearly as large.
    """
    size = np.abs(waveform).max(axis=1) / sigma[channels]
    main = int(np.argmax(size))
    at, _ = peak_of(waveform[main], n_before, reach)
    root, root_at = main, at
    for row in np.flatnonzero(size >= parameters.relocate_root_min_amp * size[main]):
        frame, _ = peak_of(waveform[row], at, reach)
        if frame - at <= parameters.relocate_root_max_latency and frame < root_at:
            root, root_at = int(row), frame
    return root, root_at


def describe(
    clean: list[tuple[IntArray, FloatArray]], counts: IntArray, trains: list[tuple[IntArray, FloatArray]],
    peaks: Peaks, sigma: FloatArray, n_before: int, reach: int, parameters: SequenceParameters,
) -> Sequences:  # fmt: skip
    """Make sequences of clean waveforms.

    `clean` are (channels, waveform) of `templates.denoise`, with a peak near frame `n_before`; `trains` are frames and
    sizes of the spikes; `peaks` are those of the network, for the probabilities within `reach` frames.
    """
    n, most = len(clean), max((len(channels) for channels, _ in clean), default=1)
    window = clean[0][1].shape[1] if clean else 1
    channels, n_channels = np.zeros((n, most), dtype=np.int64), np.zeros(n, dtype=np.int64)
    waveforms = np.zeros((n, most, window), dtype=np.float32)
    latencies, amplitudes, probabilities = (np.zeros((n, most), dtype=np.float32) for _ in range(3))
    roots, root_std = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.float32)
    for u, ((support, waveform), (frames, scales)) in enumerate(zip(clean, trains, strict=True)):
        row, at = find_root(support, waveform, sigma, n_before, reach, parameters)
        centred = shift(waveform, at - n_before)
        k = len(support)
        n_channels[u], channels[u, :k], waveforms[u, :k], roots[u] = k, support, centred, support[row]
        latencies[u, :k], amplitudes[u, :k] = latencies_and_amplitudes(centred, n_before, sigma[support])
        some = np.linspace(0, len(frames) - 1, min(MAX_DESCRIBED, len(frames))).astype(int)
        seen = frames[some] + (at - n_before)
        probabilities[u, :k] = mean_probability(
            peaks["frame"], peaks["channel"], peaks["logit"], seen, support, reach, len(sigma)
        )
        root_std[u] = np.std(scales) if len(scales) > 1 else 0.0
    return Sequences(
        roots,
        n_channels,
        channels,
        waveforms,
        latencies,
        amplitudes,
        probabilities,
        counts,
        root_std,
        np.zeros_like(root_std),
    )


def latencies_and_amplitudes(waveform: FloatArray, n_before: int, sigma: FloatArray) -> tuple[IntArray, FloatArray]:
    """Find when after frame `n_before` each channel has its peak, in frames, and its size in sigma."""
    sizes = np.abs(waveform)
    return np.argmax(sizes, axis=1) - n_before, sizes.max(axis=1) / sigma


def shift(waveform: FloatArray, lag: int) -> FloatArray:
    """Move (channels, frames) `lag` frames earlier, repeating the edge."""
    index = np.clip(np.arange(waveform.shape[1]) + lag, 0, waveform.shape[1] - 1)
    return waveform[:, index]


@compiled
def mean_probability(
    frames: IntArray, channels: NDArray[np.int32], logits: FloatArray, spikes: IntArray, wanted: IntArray, reach: int,
    n_channels: int,
) -> FloatArray:  # fmt: skip
    """Average over `spikes` the largest probability within `reach` frames, shape (wanted,); no peak counts as 0."""
    place = np.full(n_channels, -1, dtype=np.int64)
    for k in range(len(wanted)):
        place[wanted[k]] = k
    total = np.zeros(len(wanted), dtype=np.float32)
    best = np.zeros(len(wanted), dtype=np.float32)
    for s in spikes:
        best[:] = 0
        for i in range(np.searchsorted(frames, s - reach), len(frames)):
            if frames[i] > s + reach:
                break
            k = place[channels[i]]
            if k >= 0:
                best[k] = max(best[k], 1 / (1 + np.exp(-logits[i])))
        total += best
    total /= np.float32(max(1, len(spikes)))
    return total
