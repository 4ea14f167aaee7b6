"""Mixtures of normal distributions of one variable, in compiled rounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

    Doubles = NDArray[np.float64]

N_GROUPS = 64  # from so many different values on, neighbours are grouped
N_ROUNDS = 30
ENOUGH = 1e-3  # gain in log likelihood at which the rounds end
NEGLIGIBLE = 20.0  # log of the ratio to the likeliest component
LEAST_SHARE = 1e-4  # of the variance of the whole that a component has at least: it cannot become a needle


def fit_mixture(values: Doubles, most: int, least_variance: float) -> IntArray:
    """Label values in any order, from 0 by the mean of their values; see `splitting.mixture_1d`."""
    order = np.argsort(values, kind="stable")
    labels = np.empty(len(values), dtype=np.int64)
    labels[order] = mixture_labels(values[order], most, least_variance)
    _, dense = np.unique(labels, return_inverse=True)
    means = np.bincount(dense, values) / np.bincount(dense)
    rank = np.empty(len(means), dtype=np.int64)
    rank[np.argsort(means, kind="stable")] = np.arange(len(means))
    return rank[dense]


def mixture_labels(ordered: Doubles, most: int, least_variance: float) -> IntArray:
    """Choose the number of components by the Bayesian information criterion; label ascending values."""
    x, weights, groups = grouped(ordered - ordered.mean())
    whole = float((x**2 * weights).sum()) / len(ordered)
    floor = max(least_variance, LEAST_SHARE * whole, 1e-300)
    best, labels = np.inf, np.zeros(len(x), dtype=np.int64)
    for n_components in range(1, min(most, len(x)) + 1):
        for even in (False, True) if n_components > 1 else (False,):
            means = starting_means(x, weights, n_components, even)
            likelihood, trial = expectation_maximisation(x, weights, means, whole, floor)
            criterion = (3 * n_components - 1) * math.log(len(ordered)) - 2.0 * likelihood
            if criterion < best:
                best, labels = criterion, trial
    return labels[groups]


def grouped(ordered: Doubles) -> tuple[Doubles, Doubles, IntArray]:
    """Return means, counts and groups of equal values; of many levels, groups of neighbours without a gap within."""
    groups = np.concatenate([[0], np.cumsum(np.diff(ordered) > 0)])
    if groups[-1] >= N_GROUPS:
        shares = np.arange(len(ordered)) * N_GROUPS // len(ordered)
        gap = (ordered[-1] - ordered[0]) / N_GROUPS
        groups = np.concatenate([[0], np.cumsum((np.diff(shares) > 0) | (np.diff(ordered) > gap))])
    weights = np.bincount(groups).astype(np.float64)
    return np.bincount(groups, ordered) / weights, weights, groups


@compiled
def starting_means(x: Doubles, weights: Doubles, n_components: int, even: bool) -> Doubles:
    """Choose quantiles of the sample, or of its range if `even`, which finds small components far away."""
    shares = (np.arange(n_components) + 0.5) / n_components
    means: Doubles = x[0] + shares * (x[-1] - x[0])
    if not even:
        means = x[np.searchsorted(np.cumsum(weights), shares * weights.sum())]
    return means


@compiled
def expectation_maximisation(
    x: Doubles, weights: Doubles, means: Doubles, whole: float, floor: float
) -> tuple[float, IntArray]:
    """Return the log likelihood and the likeliest component of each point after some rounds; `means` move.

    Dempster, Laird & Rubin (1977). Components begin with equal shares, and with deviations that tile the whole.
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
