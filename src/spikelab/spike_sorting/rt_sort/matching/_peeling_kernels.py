"""Inner loops of the matching: filter outputs, and greedy explanation by blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.compiling import compiled, contracted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

MAX_SPIKES_PER_BLOCK = 4096
SEEN = 0.5  # an electrode sees a spike that has this much of its size there


@contracted
def filter_tile(
    traces: Floats, first: int, block: int, channels: Ints, n: int, spatial: Floats, temporal: Floats, rank: int,
    course: Floats, total: Floats,
) -> None:  # fmt: skip
    """Output of one filter for `block` frames: patterns over the channels, then time courses; `total` (block,)."""
    n_frames = temporal.shape[1]
    n_course = block + n_frames - 1
    for t in range(block):
        total[t] = 0
    for r in range(rank):
        for t in range(n_course):
            course[t] = 0
        for k in range(n):
            weight = spatial[k, r]
            row = traces[channels[k], first : first + n_course]
            for t in range(n_course):
                course[t] += weight * row[t]
        for lag in range(n_frames):
            weight = temporal[r, lag]
            shifted = course[lag : lag + block]
            for t in range(block):
                total[t] += weight * shifted[t]


@compiled
def filter_tiles(
    traces: Floats, channels: Ints, n_support: Ints, spatial: Floats, temporal: Floats, ranks: Ints, tile: int,
    part: Ints, outputs: Floats,
) -> None:  # fmt: skip
    """Outputs of the filters in `part`, tile by tile, so that the traces of a tile stay in the cache.

    Every output is the same sum in the same order whatever the tile. `traces` is (channels, frames) with the margins
    of the templates around; `outputs` (templates, frames).
    """
    course = np.zeros(tile + temporal.shape[2] - 1, dtype=np.float32)
    total = np.zeros(tile, dtype=np.float32)
    for first in range(0, outputs.shape[1], tile):
        n = min(tile, outputs.shape[1] - first)
        for u in part:
            filter_tile(traces, first, n, channels[u], n_support[u], spatial[u], temporal[u], ranks[u], course, total)
            for t in range(n):
                outputs[u, first + t] = total[t]


@compiled
def explained(output: float, norm: float, precision: float, low: float, high: float) -> Any:
    """Energy that a spike explains at its best scale, and that scale; scales far from 1 cost energy."""
    scale = (output + precision) / (norm + precision)
    scale = min(max(scale, low), high)
    return 2 * scale * output - scale * scale * norm - (scale - 1) * (scale - 1) * precision, scale


@compiled
def subtract(
    outputs: Floats, template: int, frame: int, shift: float, scale: float, answers: Floats, near: Ints, n_near: Ints,
    near_answer: Ints, stale: Any,
) -> None:  # fmt: skip
    """Take a spike out of the outputs of all filters that answer it; `shift` interpolates between frames."""
    reach = answers.shape[1] // 2
    n = outputs.shape[1]
    other = np.int64(-1) if shift >= 0 else np.int64(1)
    here, beside = np.float32(scale * (1 - abs(shift))), np.float32(scale * abs(shift))
    first, last = max(1, reach - frame), min(2 * reach, n - frame + reach)
    for q in range(n_near[template]):
        u = near[template, q]
        answer = answers[near_answer[template, q]]
        stale[u] = True
        for lag in range(first, last):
            outputs[u, frame + lag - reach] -= here * answer[lag] + beside * answer[lag + other]


@compiled
def best_frame(output: Floats, n_frames: int, norm: float, precision: float, low: float, high: float) -> Any:
    """The local maximum of one filter's output that explains most: energy (-1 if none) and its column."""
    most, where = np.float32(-1.0), 0
    least = low * norm
    for t in range(1, n_frames):
        value = output[t]
        if value < least or output[t - 1] > value or output[t + 1] > value:
            continue
        energy, _ = explained(value, norm, precision, low, high)
        if energy > most:
            most, where = np.float32(energy), t
    return most, where


@compiled
def with_room(room: int, frames: Ints, templates: Ints, values: Floats) -> Any:
    """Longer copies of the three."""
    more_frames, more_templates = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    more_values = np.empty((room, 3), dtype=np.float32)
    for i in range(len(frames)):
        more_frames[i], more_templates[i] = frames[i], templates[i]
        for k in range(3):
            more_values[i, k] = values[i, k]
    return more_frames, more_templates, more_values


@compiled
def explain_blocks(  # noqa: C901 - one loop that numba compiles whole
    outputs: Floats, n_blocks: int, block: int, look_ahead: int, norms: Floats, precision: Floats, low: Floats,
    high: Floats, threshold: float, answers: Floats, near: Ints, n_near: Ints, near_answer: Ints, repeat: int,
    latest: Ints,
) -> Any:  # fmt: skip
    """Decide on the spikes of `n_blocks` blocks; column 0 of `outputs` is the frame before the first of them.

    `latest` is the column of the latest spike of each template in earlier blocks, and is kept so.

    Each block is first explained on a copy that reaches `look_ahead` frames further; the spikes inside the block are
    then taken out of the outputs for good, and those beyond are found again with their own block.
    """
    n_templates = len(norms)
    room = 256
    frames, templates = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    values = np.empty((room, 3), dtype=np.float32)
    count = 0
    stale, unused = np.ones(n_templates, dtype=np.bool_), np.ones(n_templates, dtype=np.bool_)
    most, where = np.zeros(n_templates, dtype=np.float32), np.zeros(n_templates, dtype=np.int64)
    width = block + look_ahead
    local = np.empty((n_templates, width + 2), dtype=np.float32)
    for index in range(n_blocks):
        origin = index * block
        for u in range(n_templates):
            stale[u] = True
            for t in range(width + 2):
                local[u, t] = outputs[u, origin + t]
        begin = count
        while count - begin < MAX_SPIKES_PER_BLOCK:
            best, chosen = np.float32(threshold), n_templates
            for u in range(n_templates):
                if stale[u]:
                    most[u], where[u] = best_frame(local[u], width + 1, norms[u], precision[u], low[u], high[u])
                    stale[u] = False
                if most[u] > best:
                    best, chosen = most[u], u
            if chosen == n_templates:
                break
            t = where[chosen]
            before, value, after = local[chosen, t - 1], local[chosen, t], local[chosen, t + 1]
            curvature = before - 2 * value + after
            shift = np.float32(0)
            if curvature < 0:
                shift = np.float32(min(max(0.5 * (before - after) / curvature, -0.5), 0.5))
            vertex = value - np.float32(0.25) * (before - after) * shift
            energy, scale = explained(vertex, norms[chosen], precision[chosen], low[chosen], high[chosen])
            repeated = origin + t - latest[chosen] <= repeat
            for i in range(begin, count):
                if templates[i] == chosen and abs(frames[i] - origin - t) <= repeat:
                    repeated = True
            if count == room:
                room *= 2
                frames, templates, values = with_room(room, frames, templates, values)
            frames[count], templates[count] = origin + t, chosen
            values[count, 0], values[count, 1], values[count, 2] = scale, shift, -1 if repeated else energy
            count += 1
            subtract(local, chosen, t, float(shift), scale, answers, near, n_near, near_answer, stale)
        kept = begin
        for i in range(begin, count):
            if frames[i] - origin <= block:
                subtract(
                    outputs, templates[i], frames[i], values[i, 1], values[i, 0], answers, near, n_near, near_answer,
                    unused,
                )  # fmt: skip
                if values[i, 2] >= 0:
                    frames[kept], templates[kept] = frames[i], templates[i]
                    for k in range(3):
                        values[kept, k] = values[i, k]
                    latest[templates[i]] = max(latest[templates[i]], frames[i])
                    kept += 1
        count = kept
    return frames[:count], templates[:count], values[:count]


@compiled
def within_tolerances(  # noqa: C901 - the same
    traces: Floats, start: int, spikes: Any, first: int, block: int, origin: int, supports: Ints, n_supports: Ints,
    waveforms: Floats, n_before: int, reach: int, sigma: Floats, limits: Any,
) -> Any:  # fmt: skip
    """Which spikes from row `first` on look like their sequence electrode by electrode.

    `spikes` are (frames, templates, scales) with the earlier ones that may still overlap; `traces` begin at frame
    `start`. From the traces are taken the spikes of the same and of earlier blocks, as a stream knows them.
    """
    frames, templates, scales = spikes
    n_listed, channels, latencies, amplitudes, root_std, most_late, most_off, most_root, clip_late, clip_off, share = (
        limits
    )
    window = waveforms.shape[2]
    good = np.ones(len(frames) - first, dtype=np.bool_)
    values = np.empty(2 * reach + 1, dtype=np.float32)
    for i in range(first, len(frames)):
        u, own_block = templates[i], (frames[i] - origin) // block
        late, off, weight, n_seen = 0.0, 0.0, 0.0, 0
        for k in range(n_listed[u]):
            channel = channels[u, k]
            centre = frames[i] + np.int64(latencies[u, k])
            for q in range(2 * reach + 1):
                row = centre - reach + q - start
                values[q] = traces[row, channel] if 0 <= row < len(traces) else 0
            for j in range(len(frames)):
                if j == i or (frames[j] - origin) // block > own_block:
                    continue
                if abs(frames[j] - centre) > window + reach:
                    continue
                v = templates[j]
                for m in range(n_supports[v]):
                    if supports[v, m] == channel:
                        for q in range(2 * reach + 1):
                            t = centre - reach + q - frames[j] + n_before
                            if 0 <= t < window:
                                values[q] -= scales[j] * waveforms[v, m, t]
                        break
            sign = np.float32(1)
            for m in range(n_supports[u]):
                if supports[u, m] == channel:
                    at = n_before + np.int64(latencies[u, k])
                    sign = np.float32(1) if waveforms[u, m, at] >= 0 else np.float32(-1)
                    break
            best, where = -np.inf, 0
            for q in range(2 * reach + 1):
                if sign * values[q] > best:
                    best, where = sign * values[q], q
            size = best / sigma[channel] / scales[i]
            late += amplitudes[u, k] * min(abs(where - reach), clip_late * most_late)
            off += amplitudes[u, k] * min(abs(size - amplitudes[u, k]) / amplitudes[u, k], clip_off * most_off)
            weight += amplitudes[u, k]
            n_seen += size >= SEEN * amplitudes[u, k]
        root = abs(scales[i] - 1) / max(root_std[u], np.float32(0.02))
        good[i - first] = late <= most_late * weight and off <= most_off * weight and root <= most_root
        good[i - first] &= n_seen >= share * n_listed[u]
    return good
