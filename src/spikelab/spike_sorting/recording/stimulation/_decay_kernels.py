"""Compiled loops that fit the decay after a pulse, on each channel by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikelab.system.compiling import compiled

Float64 = NDArray[np.float64]
ROUNDS = 6  # of a fit: what lies farther from it than CLIP times its mean misfit counts as that far in the next one
CLIP = 2.5
RIDGE = 1e-10  # of the mean diagonal, so that curves that are nearly alike can be fitted together


@compiled
def suffix_products(basis: Float64, weighted: Float64, end: int, last: int, products: Float64) -> None:
    """Sum the products of the curves `basis` (curves, frames) and `weighted` over frames [t, end), for t below `last`.

    They go to `products`, shape (frames, curves, curves), lower triangles.
    """
    n = basis.shape[0]
    total = np.zeros((n, n))
    for t in range(end - 1, -1, -1):
        for i in range(n):
            for j in range(i + 1):
                total[i, j] += basis[i, t] * weighted[j, t]
        if t < last:
            for i in range(n):
                for j in range(i + 1):
                    products[t, i, j] = total[i, j]


@compiled
def factorise(products: Float64, factor: Float64) -> None:
    """Cholesky factor of a symmetric matrix whose lower triangle is given, with a ridge."""
    n = products.shape[0]
    mean = 0.0
    for i in range(n):
        mean += products[i, i] / n
    for i in range(n):
        for j in range(i + 1):
            value = products[i, j]
            if i == j:
                value += RIDGE * mean
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            factor[i, j] = max(value, 1e-300) ** 0.5 if i == j else value / factor[j, j]


@compiled
def solve(factor: Float64, sums: Float64, channel: int) -> None:
    """Solve for one channel of `sums` (curves, channels) with a Cholesky factor, in place."""
    n = factor.shape[0]
    for i in range(n):
        for k in range(i):
            sums[i, channel] -= factor[i, k] * sums[k, channel]
        sums[i, channel] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            sums[i, channel] -= factor[k, i] * sums[k, channel]
        sums[i, channel] /= factor[i, i]


@compiled
def misfit_of(traces: NDArray[np.float32], basis: Float64, t: int, heights: Float64, misfit: Float64) -> None:
    """Subtract the curves at frame `t` from the traces of all channels."""
    for channel in range(traces.shape[1]):
        misfit[channel] = traces[t, channel]
    for i in range(basis.shape[0]):
        value = basis[i, t]
        for channel in range(traces.shape[1]):
            misfit[channel] -= heights[i, channel] * value


@compiled
def sum_misfits(
    traces: NDArray[np.float32],
    basis: Float64,
    weighted: Float64,
    first: NDArray[np.int64],
    heights: Float64,
    limit: Float64,
    far: Float64,
    sums: Float64,
) -> None:
    """Sum the products of the misfits, which count up to `limit`, and the weighted curves, and the misfits' sizes."""
    n_channels, begin = traces.shape[1], traces.shape[0]
    for channel in range(n_channels):
        far[channel] = 0.0
        begin = min(begin, first[channel])
        for i in range(basis.shape[0]):
            sums[i, channel] = 0.0
    misfit = np.empty(n_channels)
    for t in range(begin, traces.shape[0]):
        misfit_of(traces, basis, t, heights, misfit)
        for channel in range(n_channels):
            value = misfit[channel] if t >= first[channel] else 0.0
            far[channel] += abs(value)
            misfit[channel] = min(max(value, -limit[channel]), limit[channel])
        for i in range(basis.shape[0]):
            weight = weighted[i, t]
            for channel in range(n_channels):
                sums[i, channel] += misfit[channel] * weight


@compiled
def factors_of(basis: Float64, weighted: Float64, first: NDArray[np.int64], end: int) -> Float64:
    """Factors of the products of the curves from a frame to `end`, by that frame; 0 where no channel begins."""
    last = 0
    for channel in range(len(first)):
        if first[channel] < end:
            last = max(last, first[channel] + 1)
    n = basis.shape[0]
    products, factors = np.empty((last, n, n)), np.zeros((last, n, n))
    suffix_products(basis, weighted, end, last, products)
    for channel in range(len(first)):
        start = first[channel]
        if start < end and factors[start, 0, 0] == 0.0:
            factorise(products[start], factors[start])
    return factors


@compiled
def fit_channels(
    traces: NDArray[np.float32], basis: Float64, weighted: Float64, first: NDArray[np.int64], heights: Float64
) -> None:
    """Fit the curves `basis` (curves, frames) to each channel of `traces` (frames, channels) from frame `first` on.

    `weighted` are the curves times the weight of each frame. `heights` of the curves, shape (curves, channels), are 0
    when they are given. Spikes weigh as much as the largest noise: what is farther off than a few times the mean misfit
    is drawn near, and the fit made again.
    """
    end, n_channels = traces.shape
    factors = factors_of(basis, weighted, first, end)
    far, limit, sums = np.empty(n_channels), np.empty(n_channels), np.empty((basis.shape[0], n_channels))
    for channel in range(n_channels):
        limit[channel] = np.inf
    for number in range(ROUNDS):
        sum_misfits(traces, basis, weighted, first, heights, limit, far, sums)
        for channel in range(n_channels):
            if first[channel] >= end:
                continue
            solve(factors[first[channel]], sums, channel)
            for i in range(basis.shape[0]):
                heights[i, channel] += sums[i, channel]
            if number > 0:  # the misfit of the first round is all of the traces
                limit[channel] = CLIP * far[channel] / (end - first[channel])


@compiled
def last_on_rail(
    traces: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    window: int,
    gap: int,
    ends: NDArray[np.int64],
) -> None:
    """Find the frame after the last one on a rail, by channel; 0 where there is none.

    It is one of the first `window` frames, or less than `gap` frames after another one on the rail.
    """
    for channel in range(traces.shape[1]):
        ends[channel] = 0
    until = window  # frames at which a channel may be found on the rail
    for t in range(traces.shape[0]):
        if t >= until:
            break
        for channel in range(traces.shape[1]):
            if (t < window or t < ends[channel] + gap) and (
                traces[t, channel] <= low[channel] or traces[t, channel] >= high[channel]
            ):
                ends[channel] = t + 1
                until = max(until, t + 1 + gap)


@compiled
def subtract_fit(
    traces: NDArray[np.float32],
    basis: Float64,
    heights: Float64,
    first: NDArray[np.int64],
    level: Float64,
    share: Float64,
    cleaned: NDArray[np.float32],
) -> None:
    """Put traces (frames, channels) whose decay is subtracted, as far as `share` (frames) says, into `cleaned`.

    A channel comes to lie at its `level`, and is there alone before its frame `first`.
    """
    misfit = np.empty(traces.shape[1])
    for t in range(traces.shape[0]):
        misfit_of(traces, basis, t, heights, misfit)
        for channel in range(traces.shape[1]):
            value = level[channel]
            if t >= first[channel]:
                value = share[t] * (misfit[channel] + value) + (1.0 - share[t]) * traces[t, channel]
            cleaned[t, channel] = value
