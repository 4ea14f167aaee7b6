"""Compiled loops behind `splitting.split`: k-means into too many cells, and merging of those unimodal together.

The idea is isosplit's (Magland & Barnett 2015, arXiv 1508.04841): clusters are unimodal along the line that joins
them; neither their number nor their shape is assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort.learning._linear import factorised, inner, solve, squared_length
from spikelab.spike_sorting.rt_sort.learning._unimodal import unimodality_of
from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

    Doubles = NDArray[np.float64]

MOST_COMPARISONS = 5  # of one pair while neither has been merged with a third, so that the loop ends


@compiled
def k_means(points: Doubles, draws: Doubles, n_rounds: int) -> IntArray:
    """Label at most ``draws.size`` cells: rounds of Lloyd's algorithm after a k-means++ start.

    Arthur & Vassilvitskii (2007): each centre is a point drawn with a chance proportional to its squared distance from
    the centres so far, by uniform `draws` in [0, 1).
    """
    n, n_dims = points.shape
    n_cells = draws.size
    centres = np.empty((n_cells, n_dims))
    nearest = np.full(n, np.inf)
    chosen = min(n - 1, int(draws[0] * n))
    for cell in range(n_cells):
        if cell:
            chosen = weighted_draw(nearest, draws[cell])
        for j in range(n_dims):
            centres[cell, j] = points[chosen, j]
        for i in range(n):
            square = 0.0
            for j in range(n_dims):
                step = points[i, j] - centres[cell, j]
                square += step * step
            nearest[i] = min(nearest[i], square)
    labels = np.zeros(n, dtype=np.int64)
    for _ in range(n_rounds):
        assign(points, centres, labels)
        move_centres(points, labels, centres)
    assign(points, centres, labels)
    return labels


@compiled
def weighted_draw(weights: Doubles, draw: float) -> int:
    """Find the index at which the running sum of `weights` passes the share `draw` of the whole."""
    target = draw * weights.sum()
    for i in range(weights.size):
        target -= weights[i]
        if target < 0:
            return i
    return weights.size - 1


@compiled
def assign(points: Doubles, centres: Doubles, labels: IntArray) -> None:
    """Write the nearest centre of each point; the first of equals."""
    n, n_dims = points.shape
    n_cells = centres.shape[0]
    columns = np.empty((n_dims, n_cells))
    halves = np.empty(n_cells)
    for cell in range(n_cells):
        halves[cell] = 0.0
        for j in range(n_dims):
            columns[j, cell] = centres[cell, j]
            halves[cell] += 0.5 * centres[cell, j] * centres[cell, j]
    scores = np.empty(n_cells)
    for i in range(n):
        for cell in range(n_cells):
            scores[cell] = halves[cell]
        for j in range(n_dims):
            value = points[i, j]
            for cell in range(n_cells):
                scores[cell] -= value * columns[j, cell]
        least = 0
        for cell in range(1, n_cells):
            if scores[cell] < scores[least]:
                least = cell
        labels[i] = least


@compiled
def move_centres(points: Doubles, labels: IntArray, centres: Doubles) -> None:
    """Move each centre to the mean of its points; one without points stays."""
    n, n_dims = points.shape
    sums = np.zeros((centres.shape[0], n_dims))
    counts = np.zeros(centres.shape[0], dtype=np.int64)
    for i in range(n):
        counts[labels[i]] += 1
        for j in range(n_dims):
            sums[labels[i], j] += points[i, j]
    for cell in range(counts.size):
        if counts[cell]:
            for j in range(n_dims):
                centres[cell, j] = sums[cell, j] / counts[cell]


@compiled
def merge_unimodal(points: Doubles, labels: IntArray, n_cells: int, threshold: float) -> None:
    """Merge cells in `labels`, or cut pairs of them anew, until every pair has been compared as it is.

    Isosplit (Magland & Barnett 2015, arXiv 1508.04841), which this follows: of the cells a and b that are nearest to
    each other, points are projected onto Fisher's discriminant, ``x . (S_a + S_b)^-1 (m_b - m_a)`` with the means m and
    the scatters S (shrunk towards a sphere). The cells are merged if the projection is unimodal, its score below
    `threshold`; else its cut moves points between them.
    """
    counts, centres, squares = geometry(points, labels, n_cells)
    compared = np.zeros((n_cells, n_cells), dtype=np.int64)
    settled = np.zeros((n_cells, n_cells), dtype=np.bool_)
    nearest = nearest_open(squares, settled)
    busy = True
    while busy:
        busy = False
        for a in range(n_cells):
            b = nearest[a]
            if b <= a or nearest[b] != a:
                continue
            busy = True
            merged, changed = compare_pair(points, labels, a, b, threshold)
            compared[a, b] += 1
            compared[b, a] += 1
            if merged:
                compared[a, :] = 0
                compared[:, a] = 0
            if changed:
                for cell in (a, b):
                    update(points, labels, cell, counts, centres)
                    reopen(settled, compared, cell)
                for cell in (a, b):
                    measure(centres, counts, cell, squares)
            settled[a, b] = settled[b, a] = True
        nearest = nearest_open(squares, settled)


@compiled
def reopen(settled: NDArray[np.bool_], compared: IntArray, cell: int) -> None:
    """Let a cell that changed be compared with every other again, up to `MOST_COMPARISONS` times."""
    for other in range(compared.shape[0]):
        settled[cell, other] = settled[other, cell] = compared[cell, other] >= MOST_COMPARISONS


@compiled
def geometry(points: Doubles, labels: IntArray, n_cells: int) -> tuple[IntArray, Doubles, Doubles]:
    """Sizes and means of all cells, and their squared distances."""
    counts = np.zeros(n_cells, dtype=np.int64)
    centres = np.zeros((n_cells, points.shape[1]))
    squares = np.empty((n_cells, n_cells))  # all written by `measure`
    for cell in range(n_cells):
        update(points, labels, cell, counts, centres)
    for cell in range(n_cells):
        measure(centres, counts, cell, squares)
    return counts, centres, squares


@compiled
def update(points: Doubles, labels: IntArray, cell: int, counts: IntArray, centres: Doubles) -> None:
    """Count the points of one cell and find their mean."""
    counts[cell] = 0
    for j in range(points.shape[1]):
        centres[cell, j] = 0.0
    for i in range(labels.size):
        if labels[i] == cell:
            counts[cell] += 1
            for j in range(points.shape[1]):
                centres[cell, j] += points[i, j]
    for j in range(points.shape[1]):
        centres[cell, j] /= max(1, counts[cell])


@compiled
def measure(centres: Doubles, counts: IntArray, cell: int, squares: Doubles) -> None:
    """Write the squared distances of one cell from all others; infinity if one of the two is empty."""
    for other in range(counts.size):
        square = np.inf
        if other != cell and counts[cell] > 0 and counts[other] > 0:
            square = 0.0
            for j in range(centres.shape[1]):
                step = centres[cell, j] - centres[other, j]
                square += step * step
        squares[cell, other] = square
        squares[other, cell] = square


@compiled
def nearest_open(squares: Doubles, settled: NDArray[np.bool_]) -> IntArray:
    """Find the nearest other cell, the first of equals, of each cell that is not settled yet; -1 if there is none."""
    n = squares.shape[0]
    nearest = np.empty(n, dtype=np.int64)
    for a in range(n):
        nearest[a] = -1
        least = np.inf
        for b in range(n):
            if squares[a, b] < least and not settled[a, b]:
                least = squares[a, b]
                nearest[a] = b
    return nearest


@compiled
def compare_pair(points: Doubles, labels: IntArray, a: int, b: int, threshold: float) -> tuple[bool, bool]:
    """Merge cell `b` into `a` if together they are unimodal, else redraw their border; return merged, changed.

    A point changes sides only if the covariance of the other cell fits better. Isosplit moves all points beyond the
    cut, also those of a bent cluster.
    """
    members = members_of(labels, a, b)
    count_a, mean_a, scatter_a = moments(points, labels, members, a)
    count_b, mean_b, scatter_b = moments(points, labels, members, b)
    axis = solve(factorised(scatter_a + scatter_b, count_a + count_b), mean_b - mean_a)
    along = np.empty(members.size)
    for k in range(members.size):
        along[k] = inner(axis, points[members[k]])
    score, cut = unimodality_of(along)
    if score < threshold:
        for i in members:
            labels[i] = a
        return True, True
    factor_a = factorised(scatter_a, count_a)
    factor_b = factorised(scatter_b, count_b)
    changed = False
    for k in range(members.size):
        i = members[k]
        side = b if along[k] > cut else a
        if side != labels[i]:
            square_a = squared_length(factor_a, points[i] - mean_a)
            square_b = squared_length(factor_b, points[i] - mean_b)
            if (square_b < square_a) == (side == b):
                labels[i] = side
                changed = True
    return False, changed


@compiled
def members_of(labels: IntArray, a: int, b: int) -> IntArray:
    """List the points in one of two cells, in order."""
    members = np.empty(labels.size, dtype=np.int64)
    count = 0
    for i in range(labels.size):
        if labels[i] == a or labels[i] == b:
            members[count] = i
            count += 1
    return members[:count]


@compiled
def moments(points: Doubles, labels: IntArray, members: IntArray, cell: int) -> tuple[int, Doubles, Doubles]:
    """Compute count, mean, and scatter about the mean (lower triangle) of the members in one cell."""
    n_dims = points.shape[1]
    mean = np.zeros(n_dims)
    count = 0
    for i in members:
        if labels[i] == cell:
            count += 1
            for j in range(n_dims):
                mean[j] += points[i, j]
    for j in range(n_dims):
        mean[j] /= count
    scatter = np.zeros((n_dims, n_dims))
    offset = np.empty(n_dims)
    for i in members:
        if labels[i] == cell:
            for j in range(n_dims):
                offset[j] = points[i, j] - mean[j]
                for k in range(j + 1):
                    scatter[j, k] += offset[j] * offset[k]
    return count, mean, scatter


@compiled
def absorb_small(points: Doubles, labels: IntArray, n_cells: int, min_size: int) -> None:
    """Merge cells of fewer than `min_size` points, the smallest first, into the nearest large (else nearest) cell."""
    counts, centres, squares = geometry(points, labels, n_cells)
    while True:
        small = smallest_below(counts, min_size)
        goal = nearest_large(squares[small], counts, min_size) if small >= 0 else -1
        if goal < 0:
            return
        for i in range(labels.size):
            if labels[i] == small:
                labels[i] = goal
        for cell in (small, goal):
            update(points, labels, cell, counts, centres)
        for cell in (small, goal):
            measure(centres, counts, cell, squares)


@compiled
def smallest_below(counts: IntArray, min_size: int) -> int:
    """Find the smallest cell of fewer than `min_size` points, the first of equals; -1 if there is none."""
    small = -1
    for cell in range(counts.size):
        if 0 < counts[cell] < min_size and (small < 0 or counts[cell] < counts[small]):
            small = cell
    return small


@compiled
def nearest_large(squares: Doubles, counts: IntArray, min_size: int) -> int:
    """Find the nearest cell of `min_size` points and more, else the nearest of all; -1 if there is no other."""
    goal = -1
    for cell in range(squares.size):
        if squares[cell] == np.inf:
            continue
        fits = counts[cell] >= min_size
        better = goal < 0 or (fits and counts[goal] < min_size)
        if better or (squares[cell] < squares[goal] and fits == (counts[goal] >= min_size)):
            goal = cell
    return goal
