"""Inner loops of the peeling: filter outputs, matching pursuit block by block, and the tolerances of single spikes.

Spikes are rows of `peeling.SPIKE`; in :func:`peel` their `frame` is a column of the outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.compiling import compiled, contracted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.matching.templates import CrossTalk, Filters, Limits, Templates
    from spikelab.spike_sorting.rt_sort.sequences import Tolerances

    Flags = NDArray[np.bool_]
    Spikes = NDArray[np.void]

MAX_SPIKES_PER_BLOCK = 4096
# What is left after a spike explains less than it, or, as spikes overlap, little more. Where noise is shared, filters
# may answer each other more than themselves: after an artefact, each spike that is taken out makes a larger one.
MOST_GROWTH = np.float32(4.0)  # of the energy, over that of the first spike of the block
SEEN = 0.5  # an electrode sees a spike that has this much of its size there
LEAST_ROOT_STD = np.float32(0.02)


@contracted
def add_rows(total: FloatArray, traces: FloatArray, first: int, channels: IntArray, weights: FloatArray) -> None:
    """Add rows from column `first` on, four at a time, so that the total is loaded and stored once for all four."""
    n, last = len(channels), first + len(total)
    for k in range(0, n - n % 4, 4):
        a, b = traces[channels[k], first:last], traces[channels[k + 1], first:last]
        c, d = traces[channels[k + 2], first:last], traces[channels[k + 3], first:last]
        p, q, r, s = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for t in range(len(total)):
            total[t] = (((total[t] + p * a[t]) + q * b[t]) + r * c[t]) + s * d[t]
    for k in range(n - n % 4, n):
        row, weight = traces[channels[k], first:last], weights[k]
        for t in range(len(total)):
            total[t] += weight * row[t]


@contracted
def add_lags(total: FloatArray, values: FloatArray, weights: FloatArray) -> None:
    """Convolve, eight lags at a time; sums are in the order of the lags."""
    n = len(weights)
    for lag in range(0, n - n % 8, 8):
        part, w = values[lag : lag + len(total) + 7], weights[lag : lag + 8]
        a, b, c, d, e, f, g, h = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
        for t in range(len(total)):
            four = (((total[t] + a * part[t]) + b * part[t + 1]) + c * part[t + 2]) + d * part[t + 3]
            total[t] = (((four + e * part[t + 4]) + f * part[t + 5]) + g * part[t + 6]) + h * part[t + 7]
    for lag in range(n - n % 8, n):
        part, weight = values[lag : lag + len(total)], weights[lag]
        for t in range(len(total)):
            total[t] += weight * part[t]


@contracted
def filter_tile(
    traces: FloatArray, first: int, filters: Filters, u: int, component: FloatArray, output: FloatArray
) -> None:
    """Write one filter's output for the frames from `first` on: for each rank, over channels and then over time.

    `component` is the room for one temporal component of the traces, of ``len(output) + frames - 1`` values at least.
    """
    n_channels = filters.n_channels[u]
    part = component[: len(output) + filters.temporal.shape[2] - 1]
    for t in range(len(output)):
        output[t] = 0
    for r in range(filters.ranks[u]):
        for t in range(len(part)):
            part[t] = 0
        add_rows(part, traces, first, filters.channels[u, :n_channels], filters.spatial[u, :n_channels, r])
        add_lags(output, part, filters.temporal[u, r])


@compiled
def filter_tiles(traces: FloatArray, filters: Filters, tile: int, part: IntArray, outputs: FloatArray) -> None:
    """Write the outputs of the filters in `part`, tile by tile, so that the traces of a tile stay in the cache.

    Every output is the same sum in the same order whatever the tile. `traces` is (channels, frames) with the margins
    of the templates around; `outputs` (templates, frames).
    """
    component = np.empty(tile + filters.temporal.shape[2] - 1, dtype=np.float32)
    output = np.empty(tile, dtype=np.float32)  # contiguous, which a row of `outputs` need not be: vector instructions
    for first in range(0, outputs.shape[1], tile):
        n = min(tile, outputs.shape[1] - first)
        for u in part:
            filter_tile(traces, first, filters, u, component, output[:n])
            for t in range(n):
                outputs[u, first + t] = output[t]


@compiled
def explained(output: float, limits: Limits, u: int) -> Any:
    """Compute the energy that a spike of template `u` explains at its best scale, which is near 1, and that scale."""
    norm, precision = limits.norms[u], limits.scale_precision[u]
    scale = (output + precision) / (norm + precision)
    scale = min(max(scale, limits.min_scale[u]), limits.max_scale[u])
    return 2 * scale * output - scale * scale * norm - (scale - 1) * (scale - 1) * precision, scale


@compiled
def best_peak(output: FloatArray, limits: Limits, u: int) -> Any:
    """Find the local maximum of one filter's output that explains most: energy (-1 if none) and its column."""
    most, where = np.float32(-1.0), 0
    least = limits.min_scale[u] * limits.norms[u]
    n_large = 0
    for t in range(len(output)):  # with vector instructions, unlike the search: most filters see no spike
        n_large += output[t] >= least
    if n_large == 0:
        return most, where
    for t in range(1, len(output) - 1):
        value = output[t]
        if value < least or output[t - 1] > value or output[t + 1] > value:
            continue
        energy, _ = explained(value, limits, u)
        if energy > most:
            most, where = np.float32(energy), t
    return most, where


@compiled
def best_template(outputs: FloatArray, limits: Limits, stale: Flags, energies: FloatArray, columns: IntArray) -> int:
    """Find the template whose best peak explains most, -1 if none reaches the threshold; search `stale` ones anew."""
    best, chosen = np.float32(limits.threshold), -1
    for u in range(len(outputs)):
        if stale[u]:
            energies[u], columns[u] = best_peak(outputs[u], limits, u)
            stale[u] = False
        if energies[u] > best:
            best, chosen = energies[u], u
    return chosen


@compiled
def fit_spike(output: FloatArray, column: int, limits: Limits, u: int, spike: Any) -> None:
    """Write shift, scale and energy of a spike, from the parabola through the peak in `column`."""
    before, value, after = output[column - 1], output[column], output[column + 1]
    curvature = before - 2 * value + after
    shift = np.float32(0)
    if curvature < 0:
        shift = np.float32(min(max(0.5 * (before - after) / curvature, -0.5), 0.5))
    vertex = value - np.float32(0.25) * (before - after) * shift
    energy, scale = explained(vertex, limits, u)
    spike["shift"], spike["scale"], spike["energy"] = shift, scale, energy


@compiled
def subtract(outputs: FloatArray, origin: int, spike: Any, crosstalk: CrossTalk, stale: Flags) -> None:
    """Take a spike out of the outputs of all filters that it reaches; its shift interpolates between frames.

    Column 0 of `outputs` is frame `origin` of the spike's.
    """
    reach = crosstalk.outputs.shape[1] // 2
    template, column, scale, shift = spike["template"], spike["frame"] - origin, spike["scale"], spike["shift"]
    other = np.int64(-1) if shift >= 0 else np.int64(1)
    here, beside = np.float32(scale * (1 - abs(shift))), np.float32(scale * abs(shift))
    first, last = max(1, reach - column), min(2 * reach, outputs.shape[1] - column + reach)
    for q in range(crosstalk.n_filters[template]):
        u = crosstalk.filters[template, q]
        reply = crosstalk.outputs[crosstalk.rows[template, q]]
        stale[u] = True
        values = outputs[u, column + first - reach : column + last - reach]
        own, neighbour = reply[first:last], reply[first + other : last + other]
        for lag in range(len(values)):
            values[lag] -= here * own[lag] + beside * neighbour[lag]


@compiled
def repeats(spikes: Spikes, begin: int, row: int, latest: IntArray, repeat_frames: int) -> bool:
    """Test whether a spike is too close to one of its template, in the rows from `begin` on or before them."""
    frame, template = spikes[row]["frame"], spikes[row]["template"]
    if frame - latest[template] <= repeat_frames:
        return True
    for i in range(begin, row):
        if spikes[i]["template"] == template and abs(spikes[i]["frame"] - frame) <= repeat_frames:
            return True
    return False


@compiled
def doubled(spikes: Spikes) -> Spikes:
    """Copy to an array of twice the length."""
    longer: Spikes = np.empty(2 * len(spikes), dtype=spikes.dtype)
    for i in range(len(spikes)):
        longer[i] = spikes[i]
    return longer


@compiled
def peel_block(
    outputs: FloatArray, origin: int, limits: Limits, crosstalk: CrossTalk, latest: IntArray, spikes: Spikes, begin: int
) -> Any:
    """Append spikes from row `begin` on, the one that explains most first; return the array and the row behind them.

    A spike that repeats another has an energy of -1. What the spikes explain is taken out of `outputs`, whose column 0
    is column `origin` of the whole. Where they explain more and more, there is none.
    """
    n_templates = len(outputs)
    stale = np.ones(n_templates, dtype=np.bool_)
    energies, columns = np.zeros(n_templates, dtype=np.float32), np.zeros(n_templates, dtype=np.int64)
    end, most = begin, np.float32(np.inf)
    while True:
        u = best_template(outputs, limits, stale, energies, columns)
        if u < 0:
            break
        if energies[u] > most or end - begin == MAX_SPIKES_PER_BLOCK:
            return spikes, begin
        if end == begin:
            most = MOST_GROWTH * energies[u]
        if end == len(spikes):
            spikes = doubled(spikes)
        spike = spikes[end]
        spike["frame"], spike["template"] = origin + columns[u], u
        fit_spike(outputs[u], columns[u], limits, u, spike)
        subtract(outputs, origin, spike, crosstalk, stale)
        if repeats(spikes, begin, end, latest, limits.repeat_frames):
            spike["energy"] = -1
        end += 1
    return spikes, end


@compiled
def peel(
    outputs: FloatArray, block: int, n_blocks: int, limits: Limits, crosstalk: CrossTalk, latest: IntArray,
    spikes: Spikes,
) -> Any:  # fmt: skip
    """Decide on the spikes of `n_blocks` blocks; column 0 of `outputs` is the frame before the first of them.

    Each block is first peeled on a copy that reaches as much further as the outputs do after the last block. The spikes
    inside the block are then taken out of the outputs for good, and those beyond are found again with their own block.

    `latest` is the column of the latest spike of each template in earlier blocks, and is kept so. `spikes` is room for
    some.
    """
    n_templates = len(outputs)
    local = np.empty((n_templates, outputs.shape[1] - (n_blocks - 1) * block), dtype=np.float32)
    unused = np.ones(n_templates, dtype=np.bool_)
    count = 0
    for origin in range(0, n_blocks * block, block):
        for u in range(n_templates):
            to_come = outputs[u, origin : origin + local.shape[1]]
            for t in range(len(to_come)):
                local[u, t] = to_come[t]
        begin = count
        spikes, end = peel_block(local, origin, limits, crosstalk, latest, spikes, begin)
        for i in range(begin, end):
            spike = spikes[i]
            if spike["frame"] > origin + block:
                continue
            subtract(outputs, 0, spike, crosstalk, unused)
            if spike["energy"] >= 0:
                latest[spike["template"]] = max(latest[spike["template"]], spike["frame"])
                spikes[count] = spike
                count += 1
    return spikes[:count]


@compiled
def residual_at(
    traces: FloatArray, spikes: Spikes, blocks: IntArray, i: int, channel: int, centre: int, templates: Templates,
    values: FloatArray,
) -> None:  # fmt: skip
    """Write the traces of a channel around row `centre`, less all spikes but `i` of its block and of those before."""
    reach, window = len(values) // 2, templates.waveforms.shape[2]
    for q in range(len(values)):
        row = centre - reach + q
        values[q] = traces[row, channel] if 0 <= row < len(traces) else 0
    for j in range(len(spikes)):
        if j == i or blocks[j] > blocks[i] or abs(spikes[j]["frame"] - centre) > window + reach:
            continue
        first = centre - reach - spikes[j]["frame"] + templates.n_before
        subtract_channel(values, first, spikes[j], channel, templates)


@compiled
def subtract_channel(values: FloatArray, first: int, spike: Any, channel: int, templates: Templates) -> None:
    """Take a spike's waveform on one channel out of `values`, which begin at frame `first` of the template's window."""
    u, scale = spike["template"], spike["scale"]
    for m in range(templates.n_channels[u]):
        if templates.channels[u, m] == channel:
            for q in range(max(0, -first), min(len(values), templates.waveforms.shape[2] - first)):
                values[q] -= scale * templates.waveforms[u, m, first + q]
            break


@compiled
def largest(values: FloatArray, sign: np.float32) -> Any:
    """Find the largest of the values times `sign`, and its first index."""
    best, where = -np.inf, 0
    for q in range(len(values)):
        if sign * values[q] > best:
            best, where = sign * values[q], q
    return best, where


@compiled
def within_tolerances(
    traces: FloatArray, spikes: Spikes, first: int, blocks: IntArray, templates: Templates, tolerances: Tolerances,
    sigma: FloatArray, reach: int,
) -> Any:  # fmt: skip
    """Find which spikes from index `first` on fit their sequence electrode by electrode, shape (spikes - first,).

    Spikes of the same and of earlier blocks are subtracted from the traces (frames, channels), as a stream knows them.
    Before `first` come earlier spikes that may overlap; frames are rows of `traces`, or beyond. Peaks are searched
    within `reach` frames of where they are expected.
    """
    good = np.ones(len(spikes) - first, dtype=np.bool_)
    values = np.empty(2 * reach + 1, dtype=np.float32)
    most_late = tolerances.clip_latency * tolerances.latency
    most_off = tolerances.clip_amplitude * tolerances.amplitude
    for i in range(first, len(spikes)):
        u, scale = spikes[i]["template"], spikes[i]["scale"]
        late, off, weight, n_seen = 0.0, 0.0, 0.0, 0
        for k in range(tolerances.n_channels[u]):
            channel, lag = templates.channels[u, k], np.int64(tolerances.latencies[u, k])
            residual_at(traces, spikes, blocks, i, channel, spikes[i]["frame"] + lag, templates, values)
            is_positive = templates.waveforms[u, k, templates.n_before + lag] >= 0
            peak, where = largest(values, np.float32(1) if is_positive else np.float32(-1))
            size, expected = peak / sigma[channel] / scale, tolerances.amplitudes[u, k]
            late += expected * min(abs(where - reach), most_late)
            off += expected * min(abs(size - expected) / expected, most_off)
            weight += expected
            n_seen += size >= SEEN * expected
        apart = abs(scale - 1) / max(tolerances.root_std[u], LEAST_ROOT_STD)
        good[i - first] = (
            (late <= tolerances.latency * weight)
            & (off <= tolerances.amplitude * weight)
            & (apart <= tolerances.root)
            & (n_seen >= tolerances.share * tolerances.n_channels[u])
        )
    return good
