"""Split spikes into units, and test whether two groups of spikes are one.

Neither the number of units nor their shape is assumed: a unit is a sample that is unimodal along a line. All inner
loops are compiled, call neither BLAS nor threads, and give the same numbers on any machine.
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
POINTS_PER_CELL = 30  # enough for two cells to be compared; fewer cells would not follow bent clusters
# Of few points, a unit of ten is a cell of its own: in one cell with its neighbours it could not be parted from them.
POINTS_PER_SMALL_CELL, SMALL_CELLS = 10, 10
MOST_CELLS = 60
FIRST_THRESHOLD = 0.75  # share of the threshold in the first pass: cells of a few points are always unimodal
DRIFT_WINDOW = 25  # spikes
N_BESIDE = 15  # spikes of either group that are closest in time to one of the other
HALVES = 1.6  # standard deviations between the means of the halves of a normal sample
LEAST_COMPONENT = 0.25  # of the median: smaller spikes are not scaled further


class Unimodality(NamedTuple):
    """Distance of a sample from unimodal, and the value that separates its modes best."""

    score: float
    cut: float


class Dip(NamedTuple):
    """Hartigan's dip and the share of uniform samples of the same size whose dip is larger."""

    dip: float
    p: float


class Comparison(NamedTuple):
    """Unimodality scores of two groups together (2 and more: bimodal) in four projections.

    `plain` as they are, `angular` without their size, `detrended` without slow drift, `detrended_angular` without both.
    `d_prime` is the distance of the means of `plain` in units of the standard deviation within the groups.
    """

    plain: float
    angular: float
    detrended: float
    detrended_angular: float
    d_prime: float

    def least(self, drifts: bool) -> float:
        """Give the score of the projection with the fewest modes; without slow drift only where it `drifts`."""
        return min(self[:4] if drifts else self[:2])


def unimodality(values: ArrayLike) -> Unimodality:
    """Score how far a sample of numbers is from unimodal, and find where to cut it; see :mod:`._unimodal`.

    The score is 0 for fewer than 6 values, and above 2 for 1 to 3 in 100 uniform samples and 1 in 1000 normal ones, of
    any size. Equal values are spread over the space between levels, so that integers are a histogram.
    """
    return Unimodality(*unimodality_of(np.asarray(values, dtype=np.float64).ravel()))


def dip_test(values: ArrayLike) -> Dip:
    """Test by Hartigan's dip (1985, Annals of Statistics 13, 70-84) whether a sample of numbers is unimodal.

    The p-value is 1 for fewer than 4 values, and 0 if smaller than 0.0005. The test is blind to a small mode beside a
    large one; :func:`unimodality` is not.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not len(sample):
        return Dip(0.0, 1.0)
    dip = dip_of(sample)
    return Dip(dip, dip_p_value(dip, len(sample)))


def mixture_1d(values: ArrayLike, max_components: int, least_variance: float = 0.0) -> IntArray:
    """Label numbers by the likeliest component of a normal mixture, from 0 by ascending mean of their values.

    The number of components, at most `max_components`, has the smallest Bayesian information criterion (Schwarz 1978).
    None has less than `least_variance` (about 0.3 for latencies in whole frames), nor less than 1 / 10 000 of the
    variance of all values.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not len(sample):
        return np.empty(0, dtype=np.int64)
    return fit_mixture(sample, max_components, least_variance)


def split(
    features: NDArray[Any], seed: int, min_size: int = 10, threshold: float = THRESHOLD, n_init: int | None = None
) -> IntArray:
    """Split points (points, dimensions) into clusters that are unimodal along the line to each of their neighbours.

    Isosplit (Magland & Barnett 2015, arXiv 1508.04841): k-means makes `n_init` cells, by default one for each 30 points
    and no more than 60, up to 300 points one for each 10 and no more than 10. The nearest pairs are merged where their
    :func:`unimodality` is below `threshold`, else cut anew, until each pair has been compared. Here, cells are fewer,
    small cells are merged less easily, and a cut does not move points that fit better where they are. Clusters below
    `min_size` become part of the nearest one.

    Returns
    -------
    numpy.ndarray of int64, shape (points,)
        Labels from 0, the largest cluster first.
    """
    points = np.ascontiguousarray(features, dtype=np.float64)
    if not len(points):
        return np.empty(0, dtype=np.int64)
    n_cells = max(1, cells_for(len(points)) if n_init is None else min(n_init, len(points)))
    labels = k_means(points, np.random.default_rng(seed).random(n_cells), K_MEANS_ROUNDS)
    for share in (FIRST_THRESHOLD, 1.0):
        merge_unimodal(points, labels, n_cells, share * threshold)
    absorb_small(points, labels, n_cells, min_size)
    return by_size(labels)


def cells_for(n_points: int) -> int:
    """Choose how many cells `split` begins with."""
    few = min(SMALL_CELLS, n_points // POINTS_PER_SMALL_CELL)
    return min(MOST_CELLS, max(few, n_points // POINTS_PER_CELL))


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
    """Compare two groups of spikes, to decide whether they are one unit.

    Features `a` and `b`, shape (spikes, dimensions), have noise of about unit variance. Of the times only their order
    counts: drift is the running mean over `window` spikes. The spikes are projected onto Fisher's discriminant line.
    Spikes of a burst are scaled copies of each other: `of_one_size` makes them the same.
    """
    points = np.concatenate([a, b], axis=0, dtype=np.float64)
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


def step_between(a: NDArray[Any], b: NDArray[Any], times_a: NDArray[Any], times_b: NDArray[Any]) -> float:
    """Find how much of the difference of two groups their spikes show that are close in time.

    About 1 for two units, whether they take turns or one follows the other; about 0 where one unit drifts from the one
    into the other: then they differ at most by what was on either side of the border, as `HALVES`. Arguments are those
    of :func:`compare`.
    """
    points = np.concatenate([a, b], axis=0, dtype=np.float64)
    along = discriminant(points, len(a))
    first, second = along[: len(a)], along[len(a) :]
    border = HALVES * spread_of(along, len(a))
    near = abs(float(first[_beside(times_a, times_b)].mean() - second[_beside(times_b, times_a)].mean()))
    whole = abs(float(first.mean() - second.mean()))
    return max(near - border, 0.0) / max(whole - border, 1e-12)


def _beside(times: NDArray[Any], others: NDArray[Any]) -> IntArray:
    """Find the `N_BESIDE` of `times` that are closest to one of the others."""
    others = np.sort(others)
    after = np.searchsorted(others, times)
    gaps = np.minimum(
        np.abs(others[np.minimum(after, len(others) - 1)] - times), np.abs(others[np.maximum(after - 1, 0)] - times)
    )
    return np.argsort(gaps, kind="stable")[:N_BESIDE]


def of_one_size(points: Doubles) -> Doubles:
    """Scale vectors to the median of their components along the mean of all."""
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
    """Subtract the running mean over `window` values, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low = np.maximum(index - window // 2, 0)
    high = np.minimum(index + (window + 1) // 2, len(values))
    rest: Doubles = values - (sums[high] - sums[low]) / (high - low)
    return rest


def d_prime_of(along: Doubles, n_first: int) -> float:
    """Distance of the means of the first values and of the others, in units of the deviation within them."""
    return abs(float(along[n_first:].mean() - along[:n_first].mean())) / spread_of(along, n_first)


def spread_of(along: Doubles, n_first: int) -> float:
    """Standard deviation within the first values and within the others."""
    return max(float(np.sqrt(0.5 * (along[:n_first].var() + along[n_first:].var()))), 1e-12)
