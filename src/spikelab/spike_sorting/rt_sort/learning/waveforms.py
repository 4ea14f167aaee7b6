"""Learn mean waveforms and clean examples of every unit from matched spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort._window_kernels import gather_windows
from spikelab.spike_sorting.rt_sort.learning.parts import Part, Reach, complete, inside
from spikelab.spike_sorting.rt_sort.matching._template_kernels import add_events, subtract_spikes
from spikelab.spike_sorting.rt_sort.matching.moving import MovingMatcher, matcher_of, versions_of
from spikelab.spike_sorting.rt_sort.matching.peeling import SPIKE, later
from spikelab.spike_sorting.rt_sort.matching.templates import window_frames
from spikelab.spike_sorting.rt_sort.traces import READ_VALUES, frames_at_a_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.matching.moving import MovingBank, Versions
    from spikelab.spike_sorting.rt_sort.matching.templates import TemplateBank, Templates
    from spikelab.spike_sorting.rt_sort.traces import Traces

    Peaks = NDArray[np.void]
    Spikes = NDArray[np.void]

EXAMPLE_CHANNELS = 24
MIN_EXAMPLES, MAX_EXAMPLES = 40, 300  # per unit
MAX_EXAMPLES_IN_ALL = 40_000


@dataclass(frozen=True)
class Learnt:
    """Waveforms and spikes of each unit, in microvolts, with the spikes of other units subtracted.

    Attributes
    ----------
    means : numpy.ndarray of float32, shape (units, frames, channels)
    counts : numpy.ndarray of int64, shape (units,)
        Numbers of spikes.
    frames, scales : tuple of numpy.ndarray of int64, of float32
        All spikes of each unit, and their sizes relative to the template they were matched with.
    channels : numpy.ndarray of int64, shape (units, example channels)
        The largest of each unit.
    examples : tuple of numpy.ndarray of float32, each (examples, example channels, frames)
    example_frames : tuple of numpy.ndarray of int64
        Some of the spikes.
    """

    means: FloatArray
    counts: IntArray
    frames: tuple[IntArray, ...]
    scales: tuple[FloatArray, ...]
    channels: IntArray
    examples: tuple[FloatArray, ...]
    example_frames: tuple[IntArray, ...]


def mean_events(traces: Traces, events: Peaks, labels: IntArray) -> tuple[FloatArray, NDArray[np.float64]]:
    """Average the waveforms of labelled events, shape (groups, frames, channels), and count them."""
    from spikelab.spike_sorting.rt_sort.learning.clustering import events_by_chunk

    before, after = window_frames(traces.sampling_frequency)
    n_groups = int(labels.max(initial=-1)) + 1
    sums = np.zeros((n_groups, before + after + 1, traces.n_channels), dtype=np.float32)
    counts = np.zeros(n_groups)
    labelled = labels >= 0
    events, labels = events[labelled], labels[labelled]
    for rows, chunk, frames in events_by_chunk(traces, events["frame"], before, after):
        add_events(chunk, frames, labels[rows], before, sums, counts)
    sums /= np.maximum(counts, 1)[:, None, None]
    return sums, counts


def match(
    traces: Traces, bank: TemplateBank | MovingBank, parts: Sequence[tuple[int, ...]], n_jobs: int = 1,
    read_values: int = READ_VALUES, done: Callable[[float], None] | None = None, clock: int = 0,
) -> Spikes:  # fmt: skip
    """Find the spikes in some parts of the recording, in the order of frames; `done` takes seconds that are done.

    Of each part the first two numbers count: its first frame, and the one behind its last. Moving templates are those
    of frame `clock` at the first frame of `traces`.
    """
    found = [np.empty(0, dtype=SPIKE)]
    matcher = matcher_of(bank, n_jobs)
    for start, end, *_ in parts:
        if isinstance(matcher, MovingMatcher):
            matcher.reset(clock + start)
        for first, last in traces.steps(read_values, start, end):
            found.append(later(matcher.push(*traces.stored(first, last)), start))
            if done is not None:
                done((last - first) / traces.sampling_frequency)
        found.append(later(matcher.finish(), start))
    spikes = np.concatenate(found)
    spikes = spikes[~traces.in_artefact(spikes["frame"])]
    return spikes[np.argsort(spikes["frame"], kind="stable")]


def learn(traces: Traces, bank: TemplateBank | MovingBank, spikes: Spikes, parts: list[Part], seed: int) -> Learnt:
    """Read the traces again, with all spikes known, and gather means and examples, which `seed` chooses.

    `bank` has one template per unit; `spikes` are from :func:`match` on the same parts. Spikes near a cut are
    subtracted, but do not count.
    """
    versions, table = versions_of(bank), bank.templates
    rows_of_spikes = versions.rows(spikes["template"], spikes["frame"])
    before, window, n_units = bank.n_before, bank.n_frames, bank.n_templates
    usable = complete(parts, spikes["frame"], Reach(before, bank.n_after)) & traces.learnable(spikes["frame"])
    chosen = _choose_examples(spikes["template"], usable, n_units, seed)
    channels = example_channels(versions, table, bank.sigma)
    sums = np.zeros((n_units, window, bank.n_channels), dtype=np.float32)
    weights = np.zeros(len(table.n_channels))
    np.add.at(weights, rows_of_spikes[usable], spikes["scale"][usable])
    windows = np.zeros((int(chosen.sum()), EXAMPLE_CHANNELS, window), dtype=np.float32)
    order, ends = _by_unit(spikes["template"][chosen], n_units)
    place = np.zeros(len(spikes), dtype=np.int64)  # of a chosen spike: unit after unit
    place[np.flatnonzero(chosen)[order]] = np.arange(len(order))
    ignored = np.zeros(n_units)
    for start, end, residual in _residuals(traces, bank, spikes, rows_of_spikes, parts):
        low, high = np.searchsorted(spikes["frame"], [start, end])
        here = low + np.flatnonzero(usable[low:high])
        rows = spikes["frame"][here] - start + window
        add_events(residual, rows, spikes["template"][here].astype(np.int64), before, sums, ignored)
        kept = chosen[here]
        some = here[kept]
        if len(some):
            gathered = np.zeros((len(some), EXAMPLE_CHANNELS, window), dtype=np.float32)
            own = channels[spikes["template"][some]]
            gather_windows(residual, rows[kept], own, before, np.float32(1), gathered)
            windows[place[some]] = gathered
    _to_means(versions, table, sums, weights)
    examples, some = np.split(windows, ends), np.flatnonzero(chosen)[order]
    for u, rows_u in enumerate(np.split(some, ends)):
        for row in np.unique(rows_of_spikes[rows_u]).tolist():
            of_row = rows_of_spikes[rows_u] == row
            own = _on_channels(table, row, channels[u])
            of_spikes = spikes[rows_u[of_row]]
            examples[u][of_row] += _shifted(own, of_spikes["scale"], of_spikes["shift"])
    example_frames = np.split(spikes["frame"][some], ends)
    counts = np.bincount(spikes["template"][usable], minlength=n_units)
    spikes = spikes[inside(parts, spikes["frame"])]
    order, ends = _by_unit(spikes["template"], n_units)
    frames, scales = (tuple(np.split(spikes[name][order], ends)) for name in ("frame", "scale"))
    return Learnt(sums, counts, frames, scales, channels, tuple(examples), tuple(example_frames))


def example_channels(versions: Versions, table: Templates, sigma: FloatArray) -> IntArray:
    """Choose the channels of each unit's examples, the largest of any version, shape (units, channels), -1 for none."""
    chosen = np.full((versions.n_templates, EXAMPLE_CHANNELS), -1, dtype=np.int64)
    for u, rows in enumerate(np.split(np.arange(len(versions.templates)), np.cumsum(versions.n_each)[:-1])):
        first = table.channels[rows[0], : min(table.n_channels[rows[0]], EXAMPLE_CHANNELS)]
        if len(rows) > 1:
            sizes = np.zeros(len(sigma), dtype=np.float32)
            for row in rows:
                of_row = table.channels[row, : table.n_channels[row]]
                peaks = np.abs(table.waveforms[row, : len(of_row)]).max(axis=1) / sigma[of_row]
                sizes[of_row] = np.maximum(sizes[of_row], peaks)
            first = np.argsort(-sizes, kind="stable")[: min(EXAMPLE_CHANNELS, np.count_nonzero(sizes))]
        chosen[u, : len(first)] = first
    return chosen


def _to_means(versions: Versions, table: Templates, sums: FloatArray, weights: NDArray[np.float64]) -> None:
    """Make means of what was left of the spikes, in place, with the templates that were subtracted.

    `weights` are of versions.
    """
    totals = np.bincount(versions.templates, weights=weights, minlength=len(sums))
    for u, rows in enumerate(np.split(np.arange(len(weights)), np.cumsum(versions.n_each)[:-1])):
        mean = np.zeros_like(sums[u])
        for row in rows.tolist():
            share = weights[row] / totals[u] if totals[u] else 1 / len(rows)
            n = table.n_channels[row]
            mean[:, table.channels[row, :n]] += np.float32(share) * table.waveforms[row, :n].T
        sums[u] = mean + sums[u] / max(totals[u], 1)


def _on_channels(table: Templates, row: int, channels: IntArray) -> FloatArray:
    """Get a waveform on some channels, zero where it does not reach, shape (channels, frames)."""
    own = np.zeros((len(channels), table.waveforms.shape[2]), dtype=np.float32)
    reached = table.channels[row, : table.n_channels[row]]
    wanted, at = np.nonzero(channels[:, None] == reached)
    own[wanted] = table.waveforms[row, at]
    return own


def _by_unit(units: NDArray[np.int32], n_units: int) -> tuple[IntArray, IntArray]:
    """Order spikes by unit; return the order and the end in it of each unit but the last."""
    return np.argsort(units, kind="stable"), np.cumsum(np.bincount(units, minlength=n_units))[:-1]


def _shifted(own: FloatArray, scales: FloatArray, shifts: FloatArray) -> FloatArray:
    """Shift and scale a template to each of its spikes, shape (spikes, channels, frames)."""
    earlier = np.concatenate([own[:, :1], own[:, :-1]], axis=1)
    later = np.concatenate([own[:, 1:], own[:, -1:]], axis=1)
    size = np.abs(shifts)[:, None, None]
    beside = np.where(shifts[:, None, None] >= 0, earlier, later)
    shifted: FloatArray = scales[:, None, None] * ((1 - size) * own + size * beside)
    return shifted


def most_examples(n_units: int) -> int:
    """Number of examples that are kept of each of so many units, at most."""
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


def _residuals(  # type: ignore[no-untyped-def]
    traces: Traces, bank: TemplateBank | MovingBank, spikes: Spikes, rows: IntArray, parts: list[Part]
):
    """Yield chunks of the parts without their spikes, with a window of margin on both sides (zeros at the ends).

    `rows` are the waveforms of the spikes.
    """
    window = bank.n_frames
    step = frames_at_a_time(traces.n_channels)
    for begin, stop, *_ in parts:
        for start in range(begin, stop, step):
            end = min(start + step, stop)
            low, high = max(0, start - window), min(traces.n_frames, end + window)
            residual = traces.read(low, high)
            if low > start - window or high < end + window:
                residual = np.pad(residual, ((low - start + window, end + window - high), (0, 0)))
            near = slice(*np.searchsorted(spikes["frame"], [start - 2 * window, end + 2 * window]))
            here = later(spikes[near].copy(), window - start)
            here["template"] = rows[near]
            subtract_spikes(residual, here, bank.templates)
            yield start, end, residual
