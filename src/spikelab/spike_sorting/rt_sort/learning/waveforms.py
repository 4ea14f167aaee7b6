"""Mean waveforms and clean examples of every unit, from the spikes that a matching found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort.matching._template_kernels import add_events, gather_windows, subtract_spikes
from spikelab.spike_sorting.rt_sort.matching.peeling import SPIKE, Matcher, later
from spikelab.spike_sorting.rt_sort.matching.templates import window_frames
from spikelab.spike_sorting.rt_sort.traces import frames_at_a_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.rt_sort.matching.templates import TemplateBank
    from spikelab.spike_sorting.rt_sort.traces import Traces

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Peaks = NDArray[np.void]
    Spikes = NDArray[np.void]

N_STRETCHES = 12
EXAMPLE_CHANNELS = 24
MIN_EXAMPLES, MAX_EXAMPLES = 40, 300  # per unit
MAX_EXAMPLES_IN_ALL = 40_000


@dataclass(frozen=True)
class Learnt:
    """What was learnt of each unit.

    Attributes
    ----------
    means : numpy.ndarray of float32, shape (units, frames, channels)
        In microvolts, with everything taken out that other units explain.
    counts : numpy.ndarray of int64, shape (units,)
        Spikes.
    frames : tuple of numpy.ndarray of int64
        Of all spikes of each unit.
    scales : tuple of numpy.ndarray of float32
        Their sizes relative to the template they were matched with.
    channels : numpy.ndarray of int64, shape (units, example channels)
        The largest of each unit.
    examples : tuple of numpy.ndarray of float32, each (examples, example channels, frames)
        Some of the spikes, in microvolts, without what other units explain.
    example_frames : tuple of numpy.ndarray of int64
    """

    means: Floats
    counts: Ints
    frames: tuple[Ints, ...]
    scales: tuple[Floats, ...]
    channels: Ints
    examples: tuple[Floats, ...]
    example_frames: tuple[Ints, ...]


def stretches(traces: Traces, seconds: float) -> list[tuple[int, int]]:
    """Frame ranges, spread evenly over the recording, of so many seconds in all; everything if that is all.

    None reaches across a break.
    """
    wanted = round(seconds * traces.sampling_frequency)
    if traces.n_frames <= wanted:
        return traces.pieces()
    length = wanted // N_STRETCHES
    starts = np.linspace(0, traces.n_frames - length, N_STRETCHES).astype(int)
    return [piece for start in starts for piece in traces.pieces(int(start), int(start) + length)]


def mean_events(traces: Traces, events: Peaks, labels: Ints) -> tuple[Floats, NDArray[np.float64]]:
    """Mean waveforms (groups, frames, channels) of labelled events, and their counts."""
    from spikelab.spike_sorting.rt_sort.learning.clustering import events_by_chunk

    before, after = window_frames(traces.sampling_frequency)
    n_groups = int(labels.max(initial=-1)) + 1
    sums = np.zeros((n_groups, before + after + 1, traces.n_channels), dtype=np.float32)
    counts = np.zeros(n_groups)
    for rows, chunk, frames in events_by_chunk(traces, events["frame"], before, after):
        add_events(chunk, frames, labels[rows], before, sums, counts)
    sums /= np.maximum(counts, 1)[:, None, None]
    return sums, counts


def match(traces: Traces, bank: TemplateBank, parts: list[tuple[int, int]], n_jobs: int = 1) -> Spikes:
    """Spikes in some parts of the recording, in the order of frames."""
    found = [np.empty(0, dtype=SPIKE)]
    matcher = Matcher(bank, n_jobs)
    for start, end in parts:
        found += [later(matcher.push(chunk), start) for _, chunk in traces.chunks(start=start, end=end)]
        found.append(later(matcher.finish(), start))
    spikes = np.concatenate(found)
    return spikes[np.argsort(spikes["frame"], kind="stable")]


def learn(traces: Traces, bank: TemplateBank, spikes: Spikes, parts: list[tuple[int, int]], seed: int) -> Learnt:
    """Gather means and examples; a second look at the traces, with every spike at hand.

    Parameters
    ----------
    traces : Traces
    bank : TemplateBank
        With one template per unit.
    spikes : numpy.ndarray of `SPIKE`
        From :func:`match` on the same parts.
    parts : list of (int, int)
    seed : int
        Which spikes become examples.
    """
    before, window = bank.n_before, bank.n_frames
    n_units = bank.n_templates
    inside = np.zeros(len(spikes), dtype=bool)
    for start, end in parts:
        inside |= (spikes["frame"] >= start + before) & (spikes["frame"] < end - bank.n_after)
    chosen = _choose_examples(spikes["template"], inside, n_units, seed)
    channels = np.full((n_units, EXAMPLE_CHANNELS), -1, dtype=np.int64)
    n_used = np.minimum(bank.templates.n_channels, EXAMPLE_CHANNELS)
    for u, n in enumerate(n_used):
        channels[u, :n] = bank.templates.channels[u, :n]
    sums = np.zeros((n_units, window, bank.n_channels), dtype=np.float32)
    weights = np.zeros(n_units)
    np.add.at(weights, spikes["template"][inside], spikes["scale"][inside])
    windows = np.zeros((int(chosen.sum()), EXAMPLE_CHANNELS, window), dtype=np.float32)
    order, ends = _by_unit(spikes["template"][chosen], n_units)
    place = np.zeros(len(spikes), dtype=np.int64)  # of a chosen spike: unit after unit
    place[np.flatnonzero(chosen)[order]] = np.arange(len(order))
    ignored = np.zeros(n_units)
    for start, end, residual in _residuals(traces, bank, spikes, parts):
        here = np.flatnonzero(inside & (spikes["frame"] >= start) & (spikes["frame"] < end))
        rows = spikes["frame"][here] - start + window
        add_events(residual, rows, spikes["template"][here].astype(np.int64), before, sums, ignored)
        kept = chosen[here]
        some = here[kept]
        if len(some):
            gathered = np.zeros((len(some), EXAMPLE_CHANNELS, window), dtype=np.float32)
            gather_windows(residual, rows[kept], channels[spikes["template"][some]], before, gathered)
            windows[place[some]] = gathered
    means = bank.dense()
    for u, weight in enumerate(weights):  # one by one: all at once are as many again
        means[u] += sums[u] / max(weight, 1)
    del sums
    examples, some = np.split(windows, ends), np.flatnonzero(chosen)[order]
    for u, rows_u in enumerate(np.split(some, ends)):
        own = np.zeros((EXAMPLE_CHANNELS, window), dtype=np.float32)
        own[: n_used[u]] = bank.templates.waveforms[u, : n_used[u]]
        examples[u] += _shifted(own, spikes["scale"][rows_u], spikes["shift"][rows_u])
    example_frames = np.split(spikes["frame"][some], ends)
    order, ends = _by_unit(spikes["template"], n_units)
    frames, scales = (tuple(np.split(spikes[name][order], ends)) for name in ("frame", "scale"))
    counts = np.bincount(spikes["template"][inside], minlength=n_units)
    return Learnt(means, counts, frames, scales, channels, tuple(examples), tuple(example_frames))


def _by_unit(units: NDArray[np.int32], n_units: int) -> tuple[Ints, Ints]:
    """The order of spikes by unit, and where in it each unit but the last ends."""
    return np.argsort(units, kind="stable"), np.cumsum(np.bincount(units, minlength=n_units))[:-1]


def _shifted(own: Floats, scales: Floats, shifts: Floats) -> Floats:
    """The contribution of each spike to its own window, shape (spikes, channels, frames)."""
    earlier = np.concatenate([own[:, :1], own[:, :-1]], axis=1)
    later = np.concatenate([own[:, 1:], own[:, -1:]], axis=1)
    size = np.abs(shifts)[:, None, None]
    beside = np.where(shifts[:, None, None] >= 0, earlier, later)
    shifted: Floats = scales[:, None, None] * ((1 - size) * own + size * beside)
    return shifted


def most_examples(n_units: int) -> int:
    """Of each of so many units."""
    return min(MAX_EXAMPLES, max(MIN_EXAMPLES, MAX_EXAMPLES_IN_ALL // max(1, n_units)))


def _choose_examples(
    templates: NDArray[np.int32], inside: NDArray[np.bool_], n_units: int, seed: int
) -> NDArray[np.bool_]:
    most = most_examples(n_units)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(templates), dtype=bool)
    for u in range(n_units):
        rows = np.flatnonzero(inside & (templates == u))
        chosen[rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))] = True
    return chosen


def _residuals(traces: Traces, bank: TemplateBank, spikes: Spikes, parts: list[tuple[int, int]]):  # type: ignore[no-untyped-def]
    """Chunks of the parts without their spikes; a window of margin on both sides, zeros beyond the recording."""
    window = bank.n_frames
    step = frames_at_a_time(traces.n_channels)
    for begin, stop in parts:
        for start in range(begin, stop, step):
            end = min(start + step, stop)
            low, high = max(0, start - window), min(traces.n_frames, end + window)
            residual = traces.read(low, high)
            if low > start - window or high < end + window:
                residual = np.pad(residual, ((low - start + window, end + window - high), (0, 0)))
            near = slice(*np.searchsorted(spikes["frame"], [start - 2 * window, end + 2 * window]))
            subtract_spikes(residual, later(spikes[near].copy(), window - start), bank.templates)
            yield start, end, residual
