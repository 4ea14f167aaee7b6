"""Mixtures of normal distributions of one variable, compiled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

    Doubles = NDArray[np.float64]

N_GROUPS = 64  # that many values and more are grouped
N_ROUNDS = 30
ENOUGH = 1e-3  # the gain in log likelihood at which the rounds end
NEGLIGIBLE = 20.0  # log of how much less likely than the likeliest
# Of the variance of the whole: no component may become a needle. 1 / 100 of the whole deviation.
LEAST_SHARE = 1e-4


@compiled
def mixture_labels(ordered: Doubles, most: int, least_variance: float) -> IntArray:
    """Component of each of some ascending values; see `splitting.mixture_1d`."""
    n = ordered.size
    x, weights, groups = grouped(ordered - ordered.mean())
    whole = (x**2 * weights).sum() / n
    floor = max(least_variance, LEAST_SHARE * whole, 1e-300)
    best = np.inf
    labels = np.zeros(x.size, dtype=np.int64)
    for n_components in range(1, min(most, x.size) + 1):
        for start in range(2 if n_components > 1 else 1):
            means = starting_means(x, weights, n_components, start == 1)
            likelihood, trial = expectation_maximisation(x, weights, means, whole, floor)
            criterion = (3 * n_components - 1) * math.log(n) - 2.0 * likelihood
            if criterion < best:
                best = criterion
                labels = trial
    result = np.empty(n, dtype=np.int64)
    for i in range(n):
        result[i] = labels[groups[i]]
    return result


@compiled
def grouped(ordered: Doubles) -> tuple[Doubles, Doubles, IntArray]:
    """Levels of the values and their counts; of many, means of neighbours, as many in each and no gap within."""
    n = ordered.size
    groups = np.zeros(n, dtype=np.int64)
    for i in range(1, n):
        groups[i] = groups[i - 1] + (1 if ordered[i] > ordered[i - 1] else 0)
    if groups[n - 1] >= N_GROUPS:
        gap = (ordered[n - 1] - ordered[0]) / N_GROUPS
        for i in range(1, n):
            next_share = i * N_GROUPS // n > (i - 1) * N_GROUPS // n
            groups[i] = groups[i - 1] + (1 if next_share or ordered[i] - ordered[i - 1] > gap else 0)
    size = groups[n - 1] + 1
    x = np.zeros(size)
    weights = np.zeros(size)
    for i in range(n):
        x[groups[i]] += ordered[i]
        weights[groups[i]] += 1.0
    return x / weights, weights, groups


@compiled
def starting_means(x: Doubles, weights: Doubles, n_components: int, even: bool) -> Doubles:
    """Quantiles of the sample, or of its range if `even`, which finds small components far away."""
    means = np.empty(n_components)
    total = weights.sum()
    for k in range(n_components):
        share = (k + 0.5) / n_components
        if even:
            means[k] = x[0] + share * (x[-1] - x[0])
        else:
            below = 0.0
            i = 0
            while below + weights[i] < share * total:
                below += weights[i]
                i += 1
            means[k] = x[i]
    return means


@compiled
def expectation_maximisation(
    x: Doubles, weights: Doubles, means: Doubles, whole: float, floor: float
) -> tuple[float, IntArray]:
    """Log likelihood and likeliest component of each point after some rounds; `means` move.

    Dempster, Laird & Rubin (1977). The components begin with equal shares and deviations that tile the whole.
    """
    n_components = means.size
    total = weights.sum()
    variances = np.full(n_components, max(floor, whole / n_components**2))
    shares = np.full(n_components, 1.0 / n_components)
    chance = np.empty(n_components)
    labels = np.zeros(x.size, dtype=np.int64)
    before = -np.inf
    likelihood = -np.inf
    for _ in range(N_ROUNDS):
        sums = np.zeros((3, n_components))
        heights = np.log(np.maximum(shares, 1e-300)) - 0.5 * np.log(2.0 * math.pi * variances)
        likelihood = 0.0
        for i in range(x.size):
            for k in range(n_components):
                chance[k] = heights[k] - 0.5 * (x[i] - means[k]) ** 2 / variances[k]
            labels[i] = np.argmax(chance)
            top = chance[labels[i]]
            whole_chance = 0.0
            for k in range(n_components):
                chance[k] = math.exp(chance[k] - top) if chance[k] > top - NEGLIGIBLE else 0.0
                whole_chance += chance[k]
            likelihood += weights[i] * (top + math.log(whole_chance))
            for k in range(n_components):
                part = weights[i] * chance[k] / whole_chance
                sums[0, k] += part
                sums[1, k] += part * x[i]
                sums[2, k] += part * x[i] * x[i]
        if likelihood - before < ENOUGH:
            break
        before = likelihood
        for k in range(n_components):
            if sums[0, k] > 1e-9 * total:
                means[k] = sums[1, k] / sums[0, k]
                variances[k] = max(floor, sums[2, k] / sums[0, k] - means[k] ** 2)
            shares[k] = sums[0, k] / total
    return likelihood, labels


def fit_mixture(values: Doubles, most: int, least_variance: float) -> IntArray:
    """Labels of values in any order, from 0 by the mean of their values."""
    order = np.argsort(values, kind="stable")
    labels = np.empty(len(values), dtype=np.int64)
    labels[order] = mixture_labels(values[order], most, least_variance)
    _, dense = np.unique(labels, return_inverse=True)
    means = np.bincount(dense, values) / np.bincount(dense)
    rank = np.empty(len(means), dtype=np.int64)
    rank[np.argsort(means, kind="stable")] = np.arange(len(means))
    return rank[dense]
