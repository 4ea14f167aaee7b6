"""Score how far a sample of numbers is from unimodal, and find where to cut it. Compiled loops behind `splitting`.

The score generalises isocut (Magland & Barnett 2015, arXiv 1508.04841) and Kolmogorov and Smirnov's statistic. A sample
of n points has spacings s_1 ... s_N, N = n - 1, each of which holds the share 1 / N of the sample. With a mode k, the
unimodal density f of largest likelihood pools spacings until they shrink towards k from both sides (Grenander 1956).
On a tail T of L spacings, within which shares are counted anew, the distance is
``D(T) = max_j |L F_T(j) - j| / sqrt(L)``, where F_T(j) is the share of the fit's mass on T in its first j spacings. The
score is ``2 min_k max_T D(T) / (LEVEL + LEVEL_SLOPE ln n)`` over 16 modes k and over the first and the last N, N/2,
N/4... spacings T: a small cluster beside a large one is a large part of a short tail, and the sample may choose the
mode that suits it best, as in the dip test (Hartigan & Hartigan 1985). With k given and T the whole, D is that of
Kolmogorov and Smirnov. The constants were found by simulation, see below.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

FEWEST = 6  # points; fewer are unimodal whatever they are
SHORTEST_TAIL = 4  # spacings
N_MODES = 16
# A score of 2, a distance of LEVEL + LEVEL_SLOPE ln(n), is exceeded by one to three uniform samples in a hundred, for n
# of 20 to 5000 (simulated), and by 1 in 1000 normal samples: the uniform is the worst unimodal distribution.
LEVEL = 0.8
LEVEL_SLOPE = 0.1


@compiled
def unimodality_of(values: Doubles) -> tuple[float, float]:
    """Score a sample in any order, and find its cut; see `splitting.unimodality`."""
    n = values.size
    if n == 0:
        return 0.0, 0.0
    ordered = np.sort(values)
    if n < FEWEST or not ordered[n - 1] > ordered[0]:
        return 0.0, 0.5 * (ordered[0] + ordered[n - 1])
    x = spread_ties(ordered)
    spacings = np.empty(n - 1)
    tiny = 1e-12 * (x[n - 1] - x[0])
    for i in range(n - 1):
        spacings[i] = max(x[i + 1] - x[i], tiny)
    modes = candidate_modes(n - 1)
    fits = unimodal_fits(spacings, modes)
    shares = np.zeros(n)
    best = np.inf
    chosen = 0
    for step in range(N_MODES):
        k = N_MODES // 2 + (step // 2 if step % 2 == 0 else -1 - step // 2)  # the middle first: it often suits best
        distance = tail_distance(spacings, fits[k], shares, best)[0]
        if distance < best:
            best = distance
            chosen = k
    distance, first, last = tail_distance(spacings, fits[chosen], shares, np.inf)
    low, high = deepest_valley(spacings, shares, first, last)
    return 2.0 * distance / (LEVEL + LEVEL_SLOPE * math.log(n)), 0.5 * (ordered[low] + ordered[high])


@compiled
def spread_ties(ordered: Doubles) -> Doubles:
    """Spread equal values evenly over the cell of their level, so that a histogram becomes a density.

    Cells reach half way to the next level, but no further than half a lower quartile of the gaps between levels.
    """
    n = ordered.size
    gaps = np.diff(ordered)
    gaps = gaps[gaps > 0]
    if gaps.size in (0, n - 1):
        return ordered
    reach = 0.5 * np.sort(gaps)[gaps.size // 4]
    x = ordered.copy()
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and ordered[stop] == ordered[start]:
            stop += 1
        if stop - start > 1:
            below = min(reach, 0.5 * (ordered[start] - ordered[start - 1])) if start > 0 else reach
            above = min(reach, 0.5 * (ordered[stop] - ordered[start])) if stop < n else reach
            for i in range(start, stop):
                x[i] = ordered[start] - below + (below + above) * (i - start + 0.5) / (stop - start)
        start = stop
    return x


@compiled
def candidate_modes(n_spacings: int) -> NDArray[np.int64]:
    """Choose the spacings at which the mode may be, in order; closer to each other towards the ends."""
    modes = np.empty(N_MODES, dtype=np.int64)
    for k in range(N_MODES // 2):
        modes[k] = int(2 * ((k + 0.5) / N_MODES) ** 2 * n_spacings)
        modes[N_MODES - 1 - k] = n_spacings - 1 - modes[k]
    return modes


@compiled
def unimodal_fits(spacings: Doubles, modes: NDArray[np.int64]) -> Doubles:
    """Fit the likeliest unimodal density with each of the `modes`, shape (modes, spacings)."""
    fits = np.empty((modes.size, spacings.size))
    rising_densities(spacings, modes + 1, fits)
    rising_densities(spacings[::-1], spacings.size - 1 - modes[::-1], fits[::-1, ::-1])
    return fits


@compiled
def rising_densities(spacings: Doubles, lengths: NDArray[np.int64], fits: Doubles) -> None:
    """Write the likeliest rising density of the first ``lengths[k]`` spacings to row k; the lengths do not fall.

    Neighbours are pooled until mean spacings shrink; the next length goes on from there.
    """
    sums = np.empty(spacings.size)
    counts = np.empty(spacings.size)
    top = 0
    k = 0
    for i in range(spacings.size + 1):
        while k < lengths.size and lengths[k] == i:
            at = 0
            for block in range(top):
                density = counts[block] / sums[block]
                for _ in range(int(counts[block])):
                    fits[k, at] = density
                    at += 1
            k += 1
        if k == lengths.size:
            return
        total = spacings[i]
        count = 1.0
        while top and sums[top - 1] * count <= total * counts[top - 1]:
            top -= 1
            total += sums[top]
            count += counts[top]
        sums[top] = total
        counts[top] = count
        top += 1


@compiled
def tail_distance(spacings: Doubles, fit: Doubles, shares: Doubles, limit: float) -> tuple[float, int, int]:
    """Find the largest root(length) x distance over nested tails, and the tail; stop once it is over `limit`.

    The tails are the first and the last n, n/2, n/4... spacings. `shares` becomes the running sum of the fit.
    """
    n = spacings.size
    for i in range(n):
        shares[i + 1] = shares[i] + spacings[i] * fit[i]
    worst = 0.0
    worst_first = 0
    worst_last = n
    length = n
    while length >= SHORTEST_TAIL:
        for first in (0, n - length):
            base = shares[first]
            slope = length / (shares[first + length] - base)
            largest = 0.0
            for j in range(1, length):
                largest = max(largest, abs((shares[first + j] - base) * slope - j))
            distance = largest / math.sqrt(length)
            if distance > worst:
                worst = distance
                worst_first = first
                worst_last = first + length
                if worst >= limit:
                    return worst, worst_first, worst_last
            if length == n:
                break
        length //= 2
    return worst, worst_first, worst_last


@compiled
def deepest_valley(spacings: Doubles, shares: Doubles, first: int, last: int) -> tuple[int, int]:
    """Find the ends of the emptiest third of that segment of a tail which lacks most points against the fit."""
    slope = (last - first) / (shares[last] - shares[first])
    peak = 0.0
    peak_at = first
    lack = -1.0
    start = first
    stop = last
    for i in range(first, last):
        height = i + 1 - first - slope * (shares[i + 1] - shares[first])
        if peak - height > lack:
            lack = peak - height
            start = peak_at
            stop = i + 1
        if height > peak:
            peak = height
            peak_at = i + 1
    width = (stop - start + 2) // 3
    longest = -1.0
    low = start
    total = 0.0
    for i in range(start, stop):
        total += spacings[i]
        if i - start >= width:
            total -= spacings[i - width]
        if i - start >= width - 1 and total > longest:
            longest = total
            low = i - width + 1
    return low, low + width
