"""Templates and their matched filters: from mean waveforms to what :mod:`matching` works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.rt_sort.matching._template_kernels import answer
from spikelab.spike_sorting.rt_sort.whitening import check_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
    from spikelab.spike_sorting.rt_sort.sequences import Tolerances
    from spikelab.spike_sorting.rt_sort.whitening import Noise

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

MS_BEFORE, MS_AFTER = 1.0, 1.5
MAX_RANK = 6
RANK_ENERGY = 0.99  # of a filter that its low-rank form keeps
MAX_FILTER_CHANNELS = 40
FILTER_ENERGY, LEAST_CHANNELS = 0.99, 12
MAX_CHANNELS = 192
# A channel belongs to a template if its peak there is this much of the noise, and surely not the noise of a mean.
FILTER_PEAK, TEMPLATE_PEAK, MEAN_NOISES = 0.4, 0.12, 4.5
# Band-passed noise is correlated in time: its singular values reach further than those of white noise.
EDGE = 1.4
# A filter answers a template if that changes its output by this many standard deviations of noise.
ANSWER = 0.2


def window_frames(sampling_frequency: float) -> tuple[int, int]:
    """Frames of a template before and after its peak."""
    return round(MS_BEFORE * sampling_frequency / 1000), round(MS_AFTER * sampling_frequency / 1000)


@dataclass(frozen=True)
class TemplateBank:
    """Templates of all units and the filters that find them.

    Attributes
    ----------
    sampling_frequency : float
    n_channels, n_before, n_after : int
        The window has ``n_before + n_after + 1`` frames.
    supports : numpy.ndarray of int64, shape (templates, most)
        Channels of each template, largest first; padded.
    n_supports : numpy.ndarray of int64, shape (templates,)
    waveforms : numpy.ndarray of float32, shape (templates, most, frames)
        On those channels, in microvolts.
    channels, n_support
        The same for the filters, which use fewer.
    spatial : numpy.ndarray of float32, shape (templates, channels, ranks)
    temporal : numpy.ndarray of float32, shape (templates, ranks, frames)
    ranks : numpy.ndarray of int64, shape (templates,)
    norms : numpy.ndarray of float32, shape (templates,)
        Energy of each template in squared standard deviations of the noise.
    scale_precision, min_scale, max_scale : numpy.ndarray of float32, shape (templates,)
    threshold : float
    answers : numpy.ndarray of float32, shape (pairs, 2 * frames + 1)
        Output of a filter to a template, by lag.
    near, near_answer : numpy.ndarray of int64, shape (templates, most)
        Filters that answer each template, and their row in `answers`.
    n_near : numpy.ndarray of int64, shape (templates,)
    repeat_frames : int
        Spikes of one unit are further apart than this.
    sigma : numpy.ndarray of float32, shape (channels,)
        Noise in microvolts.
    tolerances : Tolerances or None
        What single electrodes of a spike are checked against.
    """

    sampling_frequency: float
    n_channels: int
    n_before: int
    n_after: int
    supports: Ints
    n_supports: Ints
    waveforms: Floats
    channels: Ints
    n_support: Ints
    spatial: Floats
    temporal: Floats
    ranks: Ints
    norms: Floats
    scale_precision: Floats
    min_scale: Floats
    max_scale: Floats
    threshold: float
    answers: Floats
    near: Ints
    n_near: Ints
    near_answer: Ints
    repeat_frames: int
    sigma: Floats
    tolerances: Tolerances | None

    @property
    def n_templates(self) -> int:
        """Number of templates."""
        return len(self.norms)

    @property
    def n_frames(self) -> int:
        """Length of the window in frames."""
        return self.n_before + self.n_after + 1

    def dense(self) -> Floats:
        """Templates on all channels, shape (templates, frames, channels), in microvolts."""
        dense = np.zeros((self.n_templates, self.n_frames, self.n_channels), dtype=np.float32)
        for u in range(self.n_templates):
            n = self.n_supports[u]
            dense[u][:, self.supports[u, :n]] = self.waveforms[u, :n].T
        return dense


def denoise(mean: Floats, n_spikes: float, noise: Noise) -> tuple[Ints, Floats]:
    """Channels on which a mean waveform differs from noise, largest first, and the waveform there without its noise.

    A mean of n spikes has noise of 1 / sqrt(n): channels whose peak is within it are left out, and of the rest only
    the singular vectors are kept whose singular values white noise of that size does not reach (its edge lies at
    sqrt(channels) + sqrt(frames)).

    Parameters
    ----------
    mean : numpy.ndarray of float32, shape (frames, channels)
        In microvolts.
    n_spikes : float
    noise : Noise

    Returns
    -------
    channels : numpy.ndarray of int64, shape (kept,)
    waveform : numpy.ndarray of float32, shape (kept, frames)
        In microvolts.
    """
    scaled = mean / noise.sigma
    peaks = np.abs(scaled).max(axis=0)
    error = 1 / np.sqrt(max(n_spikes, 1.0))
    channels = np.argsort(-peaks, kind="stable")[:MAX_CHANNELS]
    keep = peaks[channels] >= max(TEMPLATE_PEAK, MEAN_NOISES * error)
    keep[0] = True
    channels = channels[keep]
    left, values, right = np.linalg.svd(scaled[:, channels], full_matrices=False)
    edge = EDGE * error * (np.sqrt(len(channels)) + np.sqrt(len(mean)))
    n_kept = max(1, int(np.sum(values > edge)))
    clean = (left[:, :n_kept] * values[:n_kept]) @ right[:n_kept]
    return channels.astype(np.int64), (clean * noise.sigma[channels]).T.astype(np.float32)


def build_bank(
    means: Floats,
    counts: NDArray[Any],
    noise: Noise,
    sampling_frequency: float,
    parameters: SequenceParameters,
) -> TemplateBank:
    """Filters for mean waveforms.

    Parameters
    ----------
    means : numpy.ndarray of float32, shape (templates, frames, channels)
        In microvolts, with the peak at the frame that :func:`window_frames` says.
    counts : numpy.ndarray, shape (templates,)
        Spikes behind each mean.
    noise : Noise
    sampling_frequency : float
    parameters : SequenceParameters
    """
    clean = [denoise(mean, count, noise) for mean, count in zip(means, counts, strict=True)]
    return bank_from_waveforms(clean, noise, sampling_frequency, parameters)


def bank_from_waveforms(
    clean: list[tuple[Ints, Floats]],
    noise: Noise,
    sampling_frequency: float,
    parameters: SequenceParameters,
    tolerances: Tolerances | None = None,
) -> TemplateBank:
    """The same from ``(channels, waveform)`` of each template, see :func:`denoise`."""
    n_before, n_after = window_frames(sampling_frequency)
    n, n_frames = len(clean), n_before + n_after + 1
    most = max((len(channels) for channels, _ in clean), default=1)
    supports, n_supports = np.zeros((n, most), dtype=np.int64), np.zeros(n, dtype=np.int64)
    waveforms = np.zeros((n, most, n_frames), dtype=np.float32)
    channels, n_support = np.zeros((n, MAX_FILTER_CHANNELS), dtype=np.int64), np.zeros(n, dtype=np.int64)
    spatial = np.zeros((n, MAX_FILTER_CHANNELS, MAX_RANK), dtype=np.float32)
    temporal = np.zeros((n, MAX_RANK, n_frames), dtype=np.float32)
    ranks, norms = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.float32)
    for u, (support, waveform) in enumerate(clean):
        supports[u, : len(support)], n_supports[u], waveforms[u, : len(support)] = support, len(support), waveform
        used = filter_channels(support, waveform, noise)
        channels[u, : len(used)], n_support[u] = support[: len(used)], len(used)
        space, course = low_rank(noise.whiten(waveform[: len(used)], used))
        space /= np.float32(noise.gain(noise.root(used) @ (waveform[: len(used)] / noise.sigma[used][:, None])))
        ranks[u] = len(course)
        spatial[u, : len(used), : len(course)], temporal[u, : len(course)] = space, course
        norms[u] = float(np.sum((space @ course) * waveform[: len(used)]))
    check_numbers("the energy of templates", norms, least=0)
    answers, near, n_near, near_answer = _answer_table(
        supports, n_supports, waveforms, channels, n_support, spatial, temporal, ranks, norms, noise.n_channels
    )
    full = np.ones(n, dtype=np.float32)
    return TemplateBank(
        sampling_frequency=sampling_frequency,
        n_channels=noise.n_channels,
        n_before=n_before,
        n_after=n_after,
        supports=supports,
        n_supports=n_supports,
        waveforms=waveforms,
        channels=channels,
        n_support=n_support,
        spatial=spatial,
        temporal=temporal,
        ranks=ranks,
        norms=norms,
        scale_precision=full / np.float32(parameters.scale_std**2),
        min_scale=full * np.float32(parameters.min_scale),
        max_scale=full * np.float32(parameters.max_scale),
        threshold=float(parameters.match_threshold),
        answers=answers,
        near=near,
        n_near=n_near,
        near_answer=near_answer,
        repeat_frames=round(parameters.repeated_detection_overlap_time * sampling_frequency / 1000),
        sigma=noise.sigma,
        tolerances=tolerances,
    )


def filter_channels(support: Ints, waveform: Floats, noise: Noise) -> Ints:
    """Of the support, which come largest first, those that a filter uses."""
    peaks = np.abs(waveform).max(axis=1) / noise.sigma[support]
    energy = np.cumsum(np.sum((waveform / noise.sigma[support][:, None]) ** 2, axis=1))
    enough = int(np.searchsorted(energy, FILTER_ENERGY * energy[-1])) + 1
    n_used = min(int(np.sum(peaks >= min(FILTER_PEAK, 0.5 * peaks[0]))), max(enough, LEAST_CHANNELS))
    return support[: min(max(n_used, 1), MAX_FILTER_CHANNELS)]


def low_rank(whitened: Floats) -> tuple[Floats, Floats]:
    """Split (channels, frames) into patterns (channels, rank) and time courses (rank, frames)."""
    left, values, right = np.linalg.svd(whitened, full_matrices=False)
    energy = np.cumsum(values**2)
    rank = min(MAX_RANK, int(np.searchsorted(energy, RANK_ENERGY * energy[-1])) + 1, len(values))
    return (left[:, :rank] * values[:rank]).astype(np.float32), right[:rank].astype(np.float32)


def _answer_table(
    supports: Ints, n_supports: Ints, waveforms: Floats, channels: Ints, n_support: Ints, spatial: Floats,
    temporal: Floats, ranks: Ints, norms: Floats, n_channels: int,
) -> tuple[Floats, Ints, Ints, Ints]:  # fmt: skip
    """How every filter answers every template, where it does."""
    n, n_frames = len(norms), temporal.shape[2]
    patterns = np.zeros((n, n_channels, spatial.shape[2]), dtype=np.float32)
    uses = np.zeros((n, n_channels), dtype=bool)
    for u in range(n):
        patterns[u, channels[u, : n_support[u]]] = spatial[u, : n_support[u]]
        uses[u, channels[u, : n_support[u]]] = True
    rows: list[Floats] = []
    lists: list[list[tuple[int, int]]] = []
    for j in range(n):
        mine = supports[j, : n_supports[j]]
        found: list[tuple[int, int]] = []
        for k in np.flatnonzero(uses[:, mine].any(axis=1)):
            reply = answer(waveforms[j, : len(mine)], patterns[k][mine], temporal[k], ranks[k])
            if k == j or np.abs(reply).max() > ANSWER * np.sqrt(norms[k]):
                found.append((int(k), len(rows)))
                rows.append(reply)
        lists.append(found)
    most = max(map(len, lists), default=1)
    near, near_answer = np.zeros((n, most), dtype=np.int64), np.zeros((n, most), dtype=np.int64)
    for j, found in enumerate(lists):
        near[j, : len(found)] = [k for k, _ in found]
        near_answer[j, : len(found)] = [row for _, row in found]
    answers = np.stack(rows) if rows else np.zeros((0, 2 * n_frames + 1), dtype=np.float32)
    return answers, near, np.array([len(found) for found in lists], dtype=np.int64), near_answer
