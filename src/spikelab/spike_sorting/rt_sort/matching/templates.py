"""Templates and their matched filters, made of mean waveforms, for :mod:`.peeling`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikelab.spike_sorting.rt_sort.matching._template_kernels import filter_outputs
from spikelab.spike_sorting.rt_sort.whitening import check_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
    from spikelab.spike_sorting.rt_sort.sequences import Tolerances, Waveform
    from spikelab.spike_sorting.rt_sort.whitening import Noise

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
# Least change of a filter's output by a template, in standard deviations of noise, for the pair to be stored.
LEAST_CROSSTALK = 0.2


def window_frames(sampling_frequency: float) -> tuple[int, int]:
    """Frames of a template before and after its peak."""
    return round(MS_BEFORE * sampling_frequency / 1000), round(MS_AFTER * sampling_frequency / 1000)


class Templates(NamedTuple):
    """Waveforms of all units on the channels that they reach, largest first.

    Attributes
    ----------
    channels : numpy.ndarray of int64, shape (templates, most)
        Padded.
    n_channels : numpy.ndarray of int64, shape (templates,)
    waveforms : numpy.ndarray of float32, shape (templates, most, frames)
        In microvolts.
    n_before : int
        Frames before the peak.
    """

    channels: IntArray
    n_channels: IntArray
    waveforms: FloatArray
    n_before: int


class Filters(NamedTuple):
    """Matched filters of low rank: spatial patterns times temporal components.

    Attributes
    ----------
    channels : numpy.ndarray of int64, shape (templates, most)
        The first of the template's; padded.
    n_channels : numpy.ndarray of int64, shape (templates,)
    spatial : numpy.ndarray of float32, shape (templates, most, ranks)
    temporal : numpy.ndarray of float32, shape (templates, ranks, frames)
    ranks : numpy.ndarray of int64, shape (templates,)
    """

    channels: IntArray
    n_channels: IntArray
    spatial: FloatArray
    temporal: FloatArray
    ranks: IntArray


class CrossTalk(NamedTuple):
    """Pairwise convolutions: the output of each filter to each template that changes it.

    Attributes
    ----------
    outputs : numpy.ndarray of float32, shape (pairs, 2 * frames + 1)
        By lag.
    filters, rows : numpy.ndarray of int64, shape (templates, most)
        Filters whose output a template changes, and the row of `outputs`; padded.
    n_filters : numpy.ndarray of int64, shape (templates,)
    """

    outputs: FloatArray
    filters: IntArray
    rows: IntArray
    n_filters: IntArray


class Limits(NamedTuple):
    """Energy of each template, and what counts as one of its spikes.

    Attributes
    ----------
    norms : numpy.ndarray of float32, shape (templates,)
        Energy in squared standard deviations of the noise.
    scale_precision, min_scale, max_scale : numpy.ndarray of float32, shape (templates,)
        Inverse variance about 1, and range, of a spike's size relative to its template.
    threshold : float
        Least energy that a spike explains.
    repeat_frames : int
        Spikes of one unit are further apart than this.
    """

    norms: FloatArray
    scale_precision: FloatArray
    min_scale: FloatArray
    max_scale: FloatArray
    threshold: float
    repeat_frames: int


@dataclass(frozen=True)
class TemplateBank:
    """Templates of all units and the filters that find them.

    Attributes
    ----------
    sampling_frequency : float
    sigma : numpy.ndarray of float32, shape (channels,)
        Noise in microvolts.
    templates : Templates
    filters : Filters
    crosstalk : CrossTalk
    limits : Limits
    tolerances : Tolerances or None
        Expected latencies and amplitudes that single spikes are checked against.
    """

    sampling_frequency: float
    sigma: FloatArray
    templates: Templates
    filters: Filters
    crosstalk: CrossTalk
    limits: Limits
    tolerances: Tolerances | None

    @property
    def n_templates(self) -> int:
        """Number of templates."""
        return len(self.limits.norms)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.sigma)

    @property
    def n_frames(self) -> int:
        """Length of the window in frames."""
        return int(self.templates.waveforms.shape[2])

    @property
    def n_before(self) -> int:
        """Frames of the window before the peak."""
        return self.templates.n_before

    @property
    def n_after(self) -> int:
        """Frames of the window after the peak."""
        return self.n_frames - self.n_before - 1

    def dense(self) -> FloatArray:
        """Templates on all channels, shape (templates, frames, channels), in microvolts."""
        dense = np.zeros((self.n_templates, self.n_frames, self.n_channels), dtype=np.float32)
        for u, n in enumerate(self.templates.n_channels):
            dense[u][:, self.templates.channels[u, :n]] = self.templates.waveforms[u, :n].T
        return dense


def denoise(mean: FloatArray, n_spikes: float, noise: Noise) -> tuple[IntArray, FloatArray]:
    """Find the channels on which a mean waveform differs from noise, largest first, and remove its noise there.

    A mean of n spikes has noise of 1 / sqrt(n): channels whose peak is within it are left out, and of the rest only
    the singular vectors are kept whose singular values white noise of that size does not reach (its edge lies at
    sqrt(channels) + sqrt(frames)). `mean` is (frames, channels), the result (channels, frames), in microvolts.
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


def bank_from_waveforms(
    clean: list[Waveform], noise: Noise, sampling_frequency: float, parameters: SequenceParameters,
    tolerances: Tolerances | None = None,
) -> TemplateBank:  # fmt: skip
    """Make the bank of ``(channels, waveform)`` of each template, see :func:`denoise`."""
    n_before, n_after = window_frames(sampling_frequency)
    n, n_frames = len(clean), n_before + n_after + 1
    templates = table_of(clean, n_before, n_frames)
    filters, norms = _filters_of(clean, noise, n_frames)
    full = np.ones(n, dtype=np.float32)
    limits = Limits(
        norms=norms,
        scale_precision=full / np.float32(parameters.scale_std**2),
        min_scale=full * np.float32(parameters.min_scale),
        max_scale=full * np.float32(parameters.max_scale),
        threshold=float(parameters.match_threshold),
        repeat_frames=round(parameters.repeated_detection_overlap_time * sampling_frequency / 1000),
    )
    crosstalk = measure_crosstalk(templates, filters, norms, noise.n_channels)
    return TemplateBank(sampling_frequency, noise.sigma, templates, filters, crosstalk, limits, tolerances)


def energies_of(clean: Sequence[Waveform], noise: Noise) -> FloatArray:
    """Compute the energy of each template, as :attr:`Limits.norms` has it."""
    return _filters_of(clean, noise, clean[0][1].shape[1] if clean else 1)[1]


def _filters_of(clean: Sequence[Waveform], noise: Noise, n_frames: int) -> tuple[Filters, FloatArray]:
    """Make the filters of templates; return their energies too."""
    n = len(clean)
    filters = Filters(
        *_room(n, MAX_FILTER_CHANNELS),
        np.zeros((n, MAX_FILTER_CHANNELS, MAX_RANK), dtype=np.float32),
        np.zeros((n, MAX_RANK, n_frames), dtype=np.float32),
        np.zeros(n, dtype=np.int64),
    )
    norms = np.zeros(n, dtype=np.float32)
    for u, (support, waveform) in enumerate(clean):
        norms[u] = _set_filter(filters, u, support, waveform, noise)
    check_numbers("the energy of templates", norms, least=0)
    return filters, norms


def replace_templates(
    bank: TemplateBank, changed: dict[int, Waveform], noise: Noise, tolerances: Tolerances | None = None
) -> TemplateBank:
    """Make a bank with other waveforms of some templates; only what these touch is computed."""
    most = max(bank.templates.channels.shape[1], *(len(channels) for channels, _ in changed.values()))
    templates = _longer(bank.templates, most)
    old = bank.filters
    filters = Filters(
        old.channels.copy(), old.n_channels.copy(), old.spatial.copy(), old.temporal.copy(), old.ranks.copy()
    )
    norms = bank.limits.norms.copy()
    for u, (support, waveform) in changed.items():
        _set_template(templates, u, support, waveform)
        norms[u] = _set_filter(filters, u, support, waveform, noise)
    check_numbers("the energy of templates", norms, least=0)
    is_changed = np.zeros(len(norms), dtype=bool)
    is_changed[list(changed)] = True
    crosstalk = measure_crosstalk(templates, filters, norms, noise.n_channels, (bank.crosstalk, is_changed))
    limits = bank.limits._replace(norms=norms)
    return TemplateBank(bank.sampling_frequency, bank.sigma, templates, filters, crosstalk, limits, tolerances)


def table_of(clean: Sequence[Waveform], n_before: int, n_frames: int) -> Templates:
    """Put waveforms into one table."""
    most = max((len(channels) for channels, _ in clean), default=1)
    room = _room(len(clean), most)
    templates = Templates(*room, np.zeros((len(clean), most, n_frames), dtype=np.float32), n_before)
    for u, (support, waveform) in enumerate(clean):
        _set_template(templates, u, support, waveform)
    return templates


def _set_template(templates: Templates, u: int, support: IntArray, waveform: FloatArray) -> None:
    k = len(support)
    templates.channels[u], templates.waveforms[u] = 0, 0
    templates.channels[u, :k], templates.n_channels[u], templates.waveforms[u, :k] = support, k, waveform


def _set_filter(filters: Filters, u: int, support: IntArray, waveform: FloatArray, noise: Noise) -> float:
    """Write the filter of a template and return its energy."""
    used = filter_channels(support, waveform, noise)
    k, kept = len(used), waveform[: len(used)]
    space, course = low_rank(noise.whiten(kept, used))
    space /= np.float32(noise.gain(noise.whitening(used) @ (kept / noise.sigma[used][:, None])))
    rank = len(course)
    for values in filters:
        values[u] = 0
    filters.channels[u, :k], filters.n_channels[u], filters.ranks[u] = used, k, rank
    filters.spatial[u, :k, :rank], filters.temporal[u, :rank] = space, course
    return float(np.sum((space @ course) * kept))


def _longer(templates: Templates, most: int) -> Templates:
    """Copy templates to tables with room for so many channels."""
    n, had, n_frames = templates.waveforms.shape
    channels, _ = _room(n, most)
    waveforms = np.zeros((n, most, n_frames), dtype=np.float32)
    channels[:, :had], waveforms[:, :had] = templates.channels, templates.waveforms
    return Templates(channels, templates.n_channels.copy(), waveforms, templates.n_before)


def _room(n: int, most: int) -> tuple[IntArray, IntArray]:
    """Allocate channels of `n` templates, padded, and their numbers."""
    return np.zeros((n, most), dtype=np.int64), np.zeros(n, dtype=np.int64)


def filter_channels(support: IntArray, waveform: FloatArray, noise: Noise) -> IntArray:
    """Choose the channels of a filter from the support, which is in the order of size."""
    peaks = np.abs(waveform).max(axis=1) / noise.sigma[support]
    energy = np.cumsum(np.sum((waveform / noise.sigma[support][:, None]) ** 2, axis=1))
    enough = int(np.searchsorted(energy, FILTER_ENERGY * energy[-1])) + 1
    n_used = min(int(np.sum(peaks >= min(FILTER_PEAK, 0.5 * peaks[0]))), max(enough, LEAST_CHANNELS))
    return support[: min(max(n_used, 1), MAX_FILTER_CHANNELS)]


def low_rank(whitened: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Split (channels, frames) into patterns (channels, rank) and temporal components (rank, frames)."""
    left, values, right = np.linalg.svd(whitened, full_matrices=False)
    energy = np.cumsum(values**2)
    rank = min(MAX_RANK, int(np.searchsorted(energy, RANK_ENERGY * energy[-1])) + 1, len(values))
    return (left[:, :rank] * values[:rank]).astype(np.float32), right[:rank].astype(np.float32)


def measure_crosstalk(
    templates: Templates, filters: Filters, norms: FloatArray, n_channels: int,
    known: tuple[CrossTalk, NDArray[np.bool_]] | None = None,
) -> CrossTalk:  # fmt: skip
    """Convolve every filter with every template that changes its output by `LEAST_CROSSTALK` and more.

    `known` is the cross-talk before some templates changed, and which: pairs of others are taken from it.
    """
    n, n_frames = len(norms), filters.temporal.shape[2]
    patterns, uses = np.zeros((n, n_channels, MAX_RANK), dtype=np.float32), np.zeros((n, n_channels), dtype=bool)
    listed = _listed(filters.channels, filters.n_channels)
    places = np.nonzero(listed)[0], filters.channels[listed]
    patterns[places], uses[places] = filters.spatial[listed], True
    is_changed = np.ones(n, dtype=bool) if known is None else known[1]
    changed, least = np.flatnonzero(is_changed), np.float32(LEAST_CROSSTALK) * np.sqrt(norms)
    pairs, tables = [_room(2, 0)[0]], [np.zeros((0, 2 * n_frames + 1), dtype=np.float32)]
    if known is not None:
        old, rows = _pairs_of(known[0])
        same = ~is_changed[old].any(axis=0)
        pairs, tables = [old[:, same]], [known[0].outputs[rows[same]]]
    for j in np.flatnonzero(is_changed | _touched(templates, uses[changed])).tolist():
        channels, waveform = templates.channels[j, : templates.n_channels[j]], templates.waveforms[j]
        wanted = np.arange(n) if is_changed[j] else changed
        reached = wanted[uses[wanted[:, None], channels].any(axis=1)]
        outputs = filter_outputs(
            waveform[: len(channels)], channels, patterns, filters.temporal, filters.ranks, reached
        )
        strong = (reached == j) | (np.abs(outputs).max(axis=1, initial=0) > least[reached])
        pairs.append(np.stack([np.full(int(strong.sum()), j), reached[strong]]))
        tables.append(outputs[strong])
    return _crosstalk_of(np.concatenate(pairs, axis=1), np.concatenate(tables), n)


def _listed(channels: IntArray, n_channels: IntArray) -> NDArray[np.bool_]:
    """Find what is no padding, shape (templates, most)."""
    listed: NDArray[np.bool_] = np.arange(channels.shape[1]) < n_channels[:, None]
    return listed


def _touched(templates: Templates, uses: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the templates that have a channel of some filters; `uses` is (filters, channels)."""
    used = np.zeros(uses.shape[1], dtype=bool)
    used[np.nonzero(uses)[1]] = True
    touched = np.zeros(len(templates.channels), dtype=bool)
    touched[np.nonzero(used[templates.channels] & _listed(templates.channels, templates.n_channels))[0]] = True
    return touched


def _pairs_of(crosstalk: CrossTalk) -> tuple[IntArray, IntArray]:
    """List the pairs of template and filter, (2, pairs), and the rows of their outputs."""
    listed = _listed(crosstalk.filters, crosstalk.n_filters)
    return np.stack([np.nonzero(listed)[0], crosstalk.filters[listed]]), crosstalk.rows[listed]


def _crosstalk_of(pairs: IntArray, outputs: FloatArray, n_templates: int) -> CrossTalk:
    """Put pairs of template and filter, (2, pairs), in order, and list them by template."""
    order = np.lexsort(pairs[::-1])
    counts = np.bincount(pairs[0], minlength=n_templates)
    lists, rows = (np.zeros((n_templates, int(counts.max(initial=1))), dtype=np.int64) for _ in range(2))
    listed = _listed(lists, counts)
    lists[listed], rows[listed] = pairs[1, order], np.arange(len(order))
    return CrossTalk(outputs[order], lists, rows, counts)
