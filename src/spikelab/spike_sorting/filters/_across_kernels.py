"""Inner loops of the steps that a frame takes across its channels.

A block holds `LANES` frames, a row for each channel: the innermost loop runs over frames, which are neighbours in
memory, so that the compiler turns it into vector instructions and a frame's result does not depend on the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled, contracted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Keys = NDArray[np.int32]

LANES = 64
EXACT_BITS, CENTRE_BITS, SPREAD_BITS = 32, 20, 16
LOWEST, LARGEST = -(2**31), 2**31 - 1


@compiled
def to_block(traces: Floats, start: int, order: Ints, block: Floats) -> None:
    """Copy frames from `start` on, at most `LANES`: row i of `block` is channel ``order[i]``."""
    for lane in range(min(LANES, traces.shape[0] - start)):
        frame = traces[start + lane]
        for row in range(order.size):
            block[row, lane] = frame[order[row]]


@compiled
def from_block(block: Floats, start: int, order: Ints, traces: Floats) -> None:
    """Copy a block back to where :func:`to_block` took its frames from."""
    for lane in range(min(LANES, traces.shape[0] - start)):
        frame = traces[start + lane]
        for row in range(order.size):
            frame[order[row]] = block[row, lane]


@contracted
def interpolate(block: Floats, rows: Ints, weights: Floats) -> None:
    """Overwrite `rows` by sums of all rows, weighted by `weights`, (rows, all); those of weight 0 are not read."""
    sums = np.zeros(LANES, dtype=np.float32)
    for index in range(rows.size):
        for lane in range(LANES):
            sums[lane] = np.float32(0.0)
        for row in range(block.shape[0]):
            weight, values = weights[index, row], block[row]
            if weight != 0:
                for lane in range(LANES):
                    sums[lane] += weight * values[lane]
        target = block[rows[index]]
        for lane in range(LANES):
            target[lane] = sums[lane]


@compiled
def to_keys(block: Floats, centre: Floats, keys: Keys, distance: bool) -> None:
    """Write whole numbers that sort as the values of `block`, or as their distances from `centre`, one per lane."""
    for row in range(block.shape[0]):
        values, own = block[row], keys[row]
        if distance:
            for lane in range(LANES):
                own[lane] = np.float32(abs(values[lane] - centre[lane])).view(np.int32)
        else:
            for lane in range(LANES):
                bits = np.float32(values[lane]).view(np.int32)
                own[lane] = bits ^ ((bits >> np.int32(31)) & np.int32(LARGEST))


@compiled
def select(keys: Keys, rows: Ints, below: int, bits: int, found: Keys) -> None:
    """Find the key of each lane that has `below` smaller ones, or the like, among `rows`, which are a multiple of four.

    It is the largest number below which at most so many keys lie, found bit by bit, from the largest one on. With
    `bits` below 32 it is that much too small at most: one bit is the sign, and the next eight are the exponent.
    """
    tried, counts = np.zeros(LANES, dtype=np.int32), np.zeros(LANES, dtype=np.int32)
    for lane in range(LANES):
        found[lane] = LOWEST
    for bit in range(bits):
        for lane in range(LANES):
            tried[lane] = 0 if bit == 0 else found[lane] + np.int32(1 << (31 - bit))
            counts[lane] = 0
        for index in range(0, rows.size, 4):
            k0, k1 = keys[rows[index]], keys[rows[index + 1]]
            k2, k3 = keys[rows[index + 2]], keys[rows[index + 3]]
            for lane in range(LANES):
                limit = tried[lane]
                first = np.int32(k0[lane] < limit) + np.int32(k1[lane] < limit)
                counts[lane] += first + (np.int32(k2[lane] < limit) + np.int32(k3[lane] < limit))
        for lane in range(LANES):
            found[lane] = tried[lane] if counts[lane] <= below else found[lane]


@compiled
def medians(keys: Keys, rows: Ints, n_rows: int, found: Keys, result: Floats) -> None:
    """Write the median of each lane, where :func:`select` has found the middle, or the lower of the two in the middle.

    Of `rows` those beyond `n_rows` have the largest key. The upper of the two is the same, or the next larger key.
    """
    counts, above = np.zeros(LANES, dtype=np.int32), np.full(LANES, LARGEST, dtype=np.int32)
    for index in range(n_rows):
        own = keys[rows[index]]
        for lane in range(LANES):
            larger = own[lane] > found[lane]
            counts[lane] += np.int32(0) if larger else np.int32(1)
            above[lane] = min(above[lane], own[lane]) if larger else above[lane]
    for lane in range(LANES):
        upper = above[lane] if 2 * counts[lane] == n_rows else found[lane]
        result[lane] = np.float32(0.5) * (_value(found[lane]) + _value(upper))


@compiled
def to_values(keys: Keys, result: Floats) -> None:
    """Write the number that the key of each lane stands for."""
    for lane in range(LANES):
        result[lane] = _value(keys[lane])


@compiled
def _value(key: np.int32) -> np.float32:
    """Return the number that a key stands for."""
    return np.int32(key ^ ((key >> np.int32(31)) & np.int32(LARGEST))).view(np.float32)


@contracted
def averages(block: Floats, rows: Ints, n_rows: int, result: Floats) -> None:
    """Write the average over the first `n_rows` of `rows` of each lane."""
    for lane in range(LANES):
        result[lane] = np.float32(0.0)
    for index in range(n_rows):
        values = block[rows[index]]
        for lane in range(LANES):
            result[lane] += values[lane]
    for lane in range(LANES):
        result[lane] /= np.float32(n_rows)


@compiled
def subtract(block: Floats, rows: Ints, reference: Floats) -> None:
    """Subtract `reference`, one value per lane, from `rows`."""
    for index in range(rows.size):
        values = block[rows[index]]
        for lane in range(LANES):
            values[lane] -= reference[lane]


@contracted
def averages_of_each(block: Floats, starts: Ints, rows: Ints, n_rows: Ints, references: Floats) -> None:
    """Write the averages of several groups of rows: group i begins at ``starts[i]`` of `rows` and has ``n_rows[i]``."""
    for index in range(n_rows.size):
        averages(block, rows[starts[index] : starts[index + 1]], n_rows[index], references[index])


@compiled
def medians_of_each(keys: Keys, starts: Ints, rows: Ints, n_rows: Ints, references: Floats) -> None:
    """Write the medians of several groups of rows, as :func:`averages_of_each` its averages."""
    found = np.zeros(LANES, dtype=np.int32)
    for index in range(n_rows.size):
        own = rows[starts[index] : starts[index + 1]]
        select(keys, own, (n_rows[index] - 1) // 2, EXACT_BITS, found)
        medians(keys, own, n_rows[index], found, references[index])


@compiled
def subtract_from_each(block: Floats, starts: Ints, rows: Ints, references: Floats) -> None:
    """Subtract each of `references` from its group of rows."""
    for index in range(references.shape[0]):
        subtract(block, rows[starts[index] : starts[index + 1]], references[index])


@contracted
def subtract_waves(block: Floats, waves: Floats, limits: Floats, held: Floats) -> None:
    """Subtract what `block` has of each of `waves`; of values beyond `limits`, one per lane, only so much counts.

    `waves` have shape (waves, rows), both multiples of four; `held` has as many rows, those beyond the block's zero.
    """
    sizes = np.zeros((waves.shape[0], LANES), dtype=np.float32)
    for row in range(block.shape[0]):
        values, own = block[row], held[row]
        for lane in range(LANES):
            own[lane] = min(max(values[lane], -limits[lane]), limits[lane])
    for row in range(0, waves.shape[1], 4):
        h0, h1, h2, h3 = held[row], held[row + 1], held[row + 2], held[row + 3]
        for wave in range(waves.shape[0]):
            w0, w1, w2, w3 = waves[wave, row], waves[wave, row + 1], waves[wave, row + 2], waves[wave, row + 3]
            size = sizes[wave]
            for lane in range(LANES):
                size[lane] += w0 * h0[lane] + w1 * h1[lane] + (w2 * h2[lane] + w3 * h3[lane])
    for row in range(block.shape[0]):
        values = block[row]
        for wave in range(0, waves.shape[0], 4):
            w0, w1, w2, w3 = waves[wave, row], waves[wave + 1, row], waves[wave + 2, row], waves[wave + 3, row]
            s0, s1, s2, s3 = sizes[wave], sizes[wave + 1], sizes[wave + 2], sizes[wave + 3]
            for lane in range(LANES):
                values[lane] -= w0 * s0[lane] + w1 * s1[lane] + (w2 * s2[lane] + w3 * s3[lane])


@compiled
def high_pass(block: Floats, keys: Keys, rows: Ints, n_rows: int, waves: Floats, spreads: np.float32) -> None:
    """Subtract the median of each frame, then what is left of `waves`; values count up to `spreads` times their median.

    Of `rows` those beyond `n_rows` are that of the largest key.
    """
    found = np.zeros(LANES, dtype=np.int32)
    centre, limits = np.zeros(LANES, dtype=np.float32), np.zeros(LANES, dtype=np.float32)
    to_keys(block, centre, keys, False)
    select(keys, rows, (n_rows - 1) // 2, CENTRE_BITS, found)
    to_values(found, centre)
    to_keys(block, centre, keys, True)
    select(keys, rows, (n_rows - 1) // 2, SPREAD_BITS, found)
    to_values(found, limits)
    for lane in range(LANES):
        limits[lane] *= spreads
    subtract(block, rows[:n_rows], centre)
    held = np.zeros((waves.shape[1], LANES), dtype=np.float32)
    subtract_waves(block, waves, limits, held)
