"""Split spikes into units, and tell whether two groups of spikes are one.

Nothing here knows how many units there are or which shape they have: a unit is a sample that is unimodal along a line.
All inner loops are compiled, call neither BLAS nor threads, and give the same numbers on any machine.

::

    unimodality(values)                              score of a sample of numbers (2 and more: bimodal) and where to cut
    dip_test(values)                                 Hartigan's dip and its p-value
    mixture_1d(values, max_components)               label of each number: normal distributions, as many as BIC wants
    split(features, seed)                            label of each spike, in the manner of isosplit
    compare(a, b, times_a, times_b)                  are two groups of spikes one unit? As they are, but for their size,
                                                     but for slow drift, but for both
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spikelab.spike_sorting.rt_sort.learning._dip import dip_of, dip_p_value
from spikelab.spike_sorting.rt_sort.learning._linear import discriminant
from spikelab.spike_sorting.rt_sort.learning._mixture import fit_mixture
from spikelab.spike_sorting.rt_sort.learning._partition import absorb_small, k_means, merge_unimodal
from spikelab.spike_sorting.rt_sort.learning._unimodal import unimodality_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from spikelab.spike_sorting.data import IntArray

    Doubles = NDArray[np.float64]

THRESHOLD = 2.0
K_MEANS_ROUNDS = 6
# Enough points that a comparison of two cells can tell anything, and cells enough for clusters that are bent.
POINTS_PER_CELL = 30
MOST_CELLS = 60
# Cells of a few points look unimodal whatever they are. They are merged reluctantly at first.
FIRST_THRESHOLD = 0.75
DRIFT_WINDOW = 25  # spikes
LEAST_COMPONENT = 0.25  # of the median: spikes that are smaller are not made larger still


class Unimodality(NamedTuple):
    """How far a sample is from unimodal, and the value that parts it best."""

    score: float
    cut: float


class Dip(NamedTuple):
    """Hartigan's dip and the share of uniform samples of the same size whose dip is larger."""

    dip: float
    p: float


class Comparison(NamedTuple):
    """Unimodality of two groups together; 2 and more: they are apart.

    `plain` as they are, `angular` but for their size, `detrended` but for slow drift, `detrended_angular` but for both.
    `d_prime` is that of `plain`: the distance of the means in units of the standard deviation within the groups.
    """

    plain: float
    angular: float
    detrended: float
    detrended_angular: float
    d_prime: float


def unimodality(values: ArrayLike) -> Unimodality:
    """Tell how far a sample of numbers is from unimodal.

    Parameters
    ----------
    values : array_like, shape (n,)
        In any order. Equal values are spread over the space between levels, so that integers are a histogram; what has
        but two levels is unimodal.

    Returns
    -------
    Unimodality
        A score: 0 for fewer than 6 values; above 2 for 1 to 3 in 100 uniform samples and 1 in 1000 normal ones, of
        any size. And the value in the middle of the gap between the modes.

    Notes
    -----
    Of the unimodal densities of largest likelihood (Grenander 1956) with their modes at 16 places, the one counts that
    is nearest to the sample; the distance is Kolmogorov and Smirnov's, on the sample and on nested tails of it (isocut;
    Magland & Barnett 2015, arXiv 1508.04841).
    """
    return Unimodality(*unimodality_of(np.asarray(values, dtype=np.float64).ravel()))


def dip_test(values: ArrayLike) -> Dip:
    """Test by Hartigan's dip whether a sample of numbers is unimodal.

    Parameters
    ----------
    values : array_like, shape (n,)
        In any order.

    Returns
    -------
    Dip
        Of n different values the dip is 1 / (2 n) and more. p is 1 for fewer than 4 values, and 0 if smaller than
        0.0005.

    Notes
    -----
    Hartigan & Hartigan (1985), The dip test of unimodality, Annals of Statistics 13, 70-84. It is blind to a small
    mode beside a large one; :func:`unimodality` is not.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not len(sample):
        return Dip(0.0, 1.0)
    dip = dip_of(sample)
    return Dip(dip, dip_p_value(dip, len(sample)))


def mixture_1d(values: ArrayLike, max_components: int, least_variance: float = 0.0) -> IntArray:
    """Label numbers by the normal distribution they are likeliest to be drawn from.

    Parameters
    ----------
    values : array_like, shape (n,)
    max_components : int
        The number of components is that of the smallest Bayesian information criterion (Schwarz 1978).
    least_variance : float
        No component is narrower; about 0.3 for latencies in whole frames. It is no less than 1 / 10 000 of the variance
        of all values.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        From 0, by ascending mean of the values. A component that is nowhere the likeliest has no label.

    Notes
    -----
    Starts from quantiles of the sample and of its range. Of more than 64 different values, neighbours count as one.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not len(sample):
        return np.empty(0, dtype=np.int64)
    return fit_mixture(sample, max_components, least_variance)


def split(
    features: NDArray[Any],
    seed: int,
    min_size: int = 10,
    threshold: float = THRESHOLD,
    n_init: int | None = None,
) -> IntArray:
    """Part points into clusters that are unimodal along the line to each of their neighbours.

    Parameters
    ----------
    features : numpy.ndarray, shape (points, dimensions)
    seed : int
        Of the cells it starts from.
    min_size : int
        Smaller clusters become part of the nearest one.
    threshold : float
        Two clusters whose :func:`unimodality` is below are one.
    n_init : int, optional
        Cells it starts from. By default one for each 30 points, and no more than 60.

    Returns
    -------
    numpy.ndarray of int64, shape (points,)
        From 0, the largest cluster first.

    Notes
    -----
    Isosplit (Magland & Barnett 2015, arXiv 1508.04841): k-means makes too many cells, those that are nearest to each
    other are merged or cut anew, and so on until each pair has been looked at. The cells are fewer here than there, are
    merged more reluctantly while they are small, and a cut does not move points that fit in better where they are.
    """
    points = np.ascontiguousarray(features, dtype=np.float64)
    if not len(points):
        return np.empty(0, dtype=np.int64)
    wanted = min(MOST_CELLS, len(points) // POINTS_PER_CELL) if n_init is None else min(n_init, len(points))
    n_cells = max(1, wanted)
    labels = k_means(points, np.random.default_rng(seed).random(n_cells), K_MEANS_ROUNDS)
    for share in (FIRST_THRESHOLD, 1.0):
        merge_unimodal(points, labels, n_cells, share * threshold)
    absorb_small(points, labels, n_cells, min_size)
    return by_size(labels)


def by_size(labels: IntArray) -> IntArray:
    """Number labels from 0, the most frequent first, the earlier of equals first."""
    _, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse]


def compare(
    a: NDArray[Any], b: NDArray[Any], times_a: NDArray[Any], times_b: NDArray[Any], window: int = DRIFT_WINDOW
) -> Comparison:
    """Tell whether two groups of spikes are one unit.

    Parameters
    ----------
    a, b : numpy.ndarray, shape (spikes, dimensions)
        Features with noise of about unit variance; a spike and more of each group.
    times_a, times_b : numpy.ndarray, shape (spikes,)
        In any unit and order; what counts is which spike comes after which.
    window : int
        Spikes of both groups together over which the running mean is taken that drift is told by.

    Notes
    -----
    The spikes are projected onto Fisher's discriminant line, see :func:`._linear.discriminant`. Divided by their
    component along the mean of all, spikes of a burst, which are scaled copies of each other, are the same.
    """
    points = joined(a, b)
    order = np.argsort(np.concatenate([times_a, times_b]), kind="stable")
    along = discriminant(points, len(a))
    angle = discriminant(of_one_size(points), len(a))
    return Comparison(
        plain=unimodality_of(along)[0],
        angular=unimodality_of(angle)[0],
        detrended=unimodality_of(detrended(along[order], window))[0],
        detrended_angular=unimodality_of(detrended(angle[order], window))[0],
        d_prime=d_prime_of(along, len(a)),
    )


def joined(a: NDArray[Any], b: NDArray[Any]) -> Doubles:
    """Both groups, one after the other."""
    return np.concatenate([a, b], axis=0, dtype=np.float64)


def of_one_size(points: Doubles) -> Doubles:
    """Vectors divided by their component along the mean of all, times the median component."""
    mean = points.mean(axis=0)
    length = float(np.sqrt((mean * mean).sum()))
    if length == 0:
        return points
    sizes = np.einsum("ij,j->i", points, mean / length)
    middle = float(np.median(sizes))
    if middle <= 0:
        return points
    rescaled: Doubles = points * (middle / np.maximum(sizes, LEAST_COMPONENT * middle))[:, None]
    return rescaled


def detrended(values: Doubles, window: int) -> Doubles:
    """Values minus their running mean over `window` of them, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low = np.maximum(index - window // 2, 0)
    high = np.minimum(index + (window + 1) // 2, len(values))
    rest: Doubles = values - (sums[high] - sums[low]) / (high - low)
    return rest


def d_prime_of(along: Doubles, n_first: int) -> float:
    """Distance of the means of the first values and of the others, in units of the deviation within them."""
    first, second = along[:n_first], along[n_first:]
    spread = float(np.sqrt(0.5 * (first.var() + second.var())))
    return abs(float(second.mean() - first.mean())) / max(spread, 1e-12)
