"""Find the units that have no template yet, in what matching leaves of the recording."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikelab.spike_sorting.rt_sort.learning.clustering import windows_of
from spikelab.spike_sorting.rt_sort.learning.significance import LEAST_SIGNIFICANCE, significance
from spikelab.spike_sorting.rt_sort.learning.waveforms import EXAMPLE_CHANNELS, mean_events
from spikelab.spike_sorting.rt_sort.matching._template_kernels import subtract_from_windows, subtract_spikes
from spikelab.spike_sorting.rt_sort.matching.moving import versions_of
from spikelab.spike_sorting.rt_sort.matching.peeling import later
from spikelab.spike_sorting.rt_sort.matching.templates import denoise, energies_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.matching.moving import MovingBank
    from spikelab.spike_sorting.rt_sort.matching.templates import TemplateBank, Templates
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
    from spikelab.spike_sorting.rt_sort.traces import Traces
    from spikelab.spike_sorting.rt_sort.whitening import Noise

    Peaks = NDArray[np.void]
    Spikes = NDArray[np.void]

# An event of which so much is left on its root has not been explained. Where a template is wrong by drift, size or the
# place within a frame, less is left.
LEFT = 0.5
AROUND_MS = 0.3
# Events that are an error of one template have its spikes beside them, always at one lag: within a spike's travel, or
# beyond the end of the template's window.
WITHIN_MS, JITTER_MS, MOST_ALONE = 2.0, 0.1, 0.5


def residual_of(traces: Traces, bank: TemplateBank | MovingBank, spikes: Spikes) -> Traces:
    """Make traces of which `spikes`, in the order of frames, are subtracted: of windows, only where these are."""
    placed = spikes.copy()
    placed["template"] = versions_of(bank).rows(spikes["template"], spikes["frame"])
    places = places_of(bank.templates, bank.n_channels)
    silence = traces.silence - traces.start

    def read(start: int, end: int) -> FloatArray:
        residual = traces.read(start, end)
        low, high = np.searchsorted(spikes["frame"], [start - bank.n_frames, end + bank.n_frames])
        subtract_spikes(residual, later(placed[low:high].copy(), -start), bank.templates)
        return residual

    def windows(frames: IntArray, channels: IntArray, before: int, after: int) -> FloatArray:
        found = traces.windows(frames, channels, before, after)
        starts = frames - before
        subtract_from_windows(found, starts, channels, placed, bank.templates, places)
        for first, last in silence:
            for i in range(*np.searchsorted(starts, [first - before - after, last])):
                found[i, :, max(0, first - starts[i]) : last - starts[i]] = 0
        return found

    blind, breaks = traces.blind - traces.start, tuple(frame - traces.start for frame in traces.breaks)
    moved = replace(traces, start=0, end=traces.n_frames, breaks=breaks, silence=silence, blind=blind)
    return replace(moved, _read=read, _read_counts=None, _windows=windows)


def places_of(templates: Templates, n_channels: int) -> NDArray[np.int16]:
    """List where each template has each channel, -1 where it does not reach, shape (templates, channels)."""
    places = np.full((len(templates.n_channels), n_channels), -1, dtype=np.int16)
    for u, n in enumerate(templates.n_channels.tolist()):
        places[u, templates.channels[u, :n]] = np.arange(n)
    return places


def missed_events(events: Peaks, residual: Traces, noise: Noise) -> Peaks:
    """Choose the events of which matching has left half and more on their root."""
    if not len(events):
        return events
    around = max(1, round(AROUND_MS * residual.sampling_frequency / 1000))
    roots = events["channel"].astype(np.int64)
    windows = windows_of(residual, events, roots[:, None], around, around)[:, 0]
    left = (windows * np.sign(events["amplitude"])[:, None]).max(axis=1) / noise.sigma[roots]
    missed: Peaks = events[left >= LEFT * np.abs(events["amplitude"])]
    return missed


class Companion(NamedTuple):
    """Template whose spikes accompany most of some events, and the share of the events; -1 for none."""

    template: int
    share: float


def companion_of(frames: IntArray, spikes: Spikes, within: int, jitter: int) -> Companion:
    """Find the template that fires with most of the `frames`, at most `within` frames apart, at one lag.

    `spikes` are in the order of frames. Lags are one where they are `jitter` frames from it at most.
    """
    low, high = (np.searchsorted(spikes["frame"], frames + step) for step in (-within, within + 1))
    rows = np.concatenate([np.empty(0, dtype=np.int64), *map(np.arange, low, high)])
    lags = spikes["frame"][rows] - np.repeat(frames, high - low) + within
    best = Companion(-1, 0.0)
    for template in np.unique(spikes["template"][rows]):
        by_lag = np.bincount(lags[spikes["template"][rows] == template], minlength=2 * within + 1)
        share = float(np.convolve(by_lag, np.ones(2 * jitter + 1), mode="same").max()) / len(frames)
        if share > best.share:
            best = Companion(int(template), min(share, 1.0))
    return best


def new_groups(
    traces: Traces, residual: Traces, events: Peaks, labels: IntArray, bank: TemplateBank | MovingBank,
    spikes: Spikes, noise: Noise, parameters: SequenceParameters,
) -> tuple[FloatArray, NDArray[np.float64], list[int]]:  # fmt: skip
    """Average groups of missed events that are no noise, and no error of a template: means, counts and their labels.

    What is left of the spikes of one unit, at one lag from them, is a group as well. It is small beside the unit. Where
    it is not, the template has taken the spikes of another unit for its own, and these are averaged as they are.
    """
    means, counts = mean_events(residual, events, labels)
    kept = []
    within, jitter = (round(ms * traces.sampling_frequency / 1000) for ms in (WITHIN_MS, JITTER_MS))
    for group in range(len(counts)):
        own = events[labels == group]
        channels = np.argsort(-np.abs(means[group] / noise.sigma).max(axis=0), kind="stable")[:EXAMPLE_CHANNELS]
        windows = windows_of(
            residual, own, np.broadcast_to(channels, (len(own), len(channels))), bank.n_before, bank.n_after
        )
        if significance(windows, channels, noise, parameters) < LEAST_SIGNIFICANCE:
            continue
        companion = companion_of(own["frame"], spikes, within, jitter)
        if companion.share >= MOST_ALONE:
            energy = energies_of([denoise(means[group], counts[group], noise)], noise)[0]
            if energy < LEFT**2 * bank.limits.norms[companion.template]:
                continue
            means[group] = mean_events(traces, own, np.zeros(len(own), dtype=np.int64))[0][0]
        kept.append(group)
    return means[kept], counts[kept], kept
