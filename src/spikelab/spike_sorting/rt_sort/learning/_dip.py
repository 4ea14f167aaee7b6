"""Hartigan's dip, compiled, and its quantiles under the uniform null."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

    Doubles = NDArray[np.float64]

# Quantiles of root(n) x dip of uniform samples: 100 000 draws of each size with numpy's default_rng(1985), the sizes in
# this order, each in 100 blocks of ``random((1000, n))``. A row per size; P_VALUES are the shares of draws above.
N_VALUES = (4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000)
P_VALUES = (0.99, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001, 0.0005)
QUANTILES = (
    (0.2500, 0.2500, 0.2500, 0.2500, 0.2883, 0.3749, 0.4137, 0.4406, 0.4629, 0.4740, 0.4883, 0.4910),
    (0.2236, 0.2236, 0.2236, 0.2728, 0.3448, 0.3953, 0.4171, 0.4300, 0.4395, 0.4433, 0.4464, 0.4468),
    (0.2041, 0.2041, 0.2402, 0.3016, 0.3550, 0.3901, 0.4039, 0.4288, 0.4697, 0.4964, 0.5364, 0.5520),
    (0.1768, 0.2313, 0.2719, 0.3134, 0.3472, 0.4004, 0.4348, 0.4617, 0.4893, 0.5056, 0.5425, 0.5658),
    (0.1937, 0.2471, 0.2784, 0.3091, 0.3604, 0.4122, 0.4410, 0.4664, 0.5048, 0.5258, 0.5728, 0.5885),
    (0.2116, 0.2488, 0.2788, 0.3237, 0.3713, 0.4260, 0.4588, 0.4890, 0.5247, 0.5510, 0.6016, 0.6236),
    (0.2124, 0.2539, 0.2867, 0.3282, 0.3816, 0.4352, 0.4697, 0.5017, 0.5383, 0.5625, 0.6124, 0.6323),
    (0.2163, 0.2598, 0.2931, 0.3369, 0.3906, 0.4466, 0.4823, 0.5165, 0.5585, 0.5879, 0.6485, 0.6733),
    (0.2217, 0.2669, 0.3005, 0.3457, 0.4017, 0.4601, 0.4985, 0.5341, 0.5758, 0.6031, 0.6616, 0.6831),
    (0.2279, 0.2738, 0.3082, 0.3547, 0.4112, 0.4714, 0.5108, 0.5475, 0.5919, 0.6217, 0.6854, 0.7095),
    (0.2331, 0.2795, 0.3145, 0.3615, 0.4194, 0.4804, 0.5220, 0.5585, 0.6021, 0.6330, 0.6946, 0.7233),
    (0.2379, 0.2850, 0.3197, 0.3678, 0.4267, 0.4889, 0.5297, 0.5675, 0.6126, 0.6444, 0.7132, 0.7437),
    (0.2404, 0.2876, 0.3232, 0.3719, 0.4304, 0.4940, 0.5353, 0.5732, 0.6201, 0.6533, 0.7248, 0.7522),
    (0.2414, 0.2887, 0.3244, 0.3729, 0.4332, 0.4968, 0.5387, 0.5771, 0.6253, 0.6582, 0.7295, 0.7540),
    (0.2430, 0.2913, 0.3272, 0.3756, 0.4353, 0.4992, 0.5413, 0.5798, 0.6264, 0.6587, 0.7323, 0.7612),
)


@compiled
def dip_of(values: Doubles) -> float:
    """Compute the dip: the largest distance of the sample's distribution from the nearest unimodal one.

    Hartigan & Hartigan (1985), The dip test of unimodality, Annals of Statistics 13, section 5. In counts of points,
    twice the dip is the width of the narrowest band around the staircase that holds a curve which is convex up to some
    interval and concave after it. The interval, at first the whole range, shrinks to where the greatest convex minorant
    and the least concave majorant are furthest apart, until they are no further apart than the band is wide.
    """
    x = np.sort(values)
    n = x.size
    lower = np.arange(n).astype(np.float64)
    upper = lower + 1.0
    minorant = np.empty(n)
    majorant = np.empty(n)
    minorant_knots = np.empty(n, dtype=np.int64)
    majorant_knots = np.empty(n, dtype=np.int64)
    width = 1.0
    low = 0
    high = n - 1
    while True:
        n_minorant = convex_minorant(x, lower, 1.0, low, high, minorant_knots, minorant)
        n_majorant = convex_minorant(x, upper, -1.0, low, high, majorant_knots, majorant)
        knots = (minorant_knots[:n_minorant], majorant_knots[:n_majorant])
        gap, start, stop = widest_gap(lower, upper, minorant, majorant, knots)
        if gap <= width:
            break
        for i in range(low, start + 1):
            width = max(width, upper[i] - minorant[i])
        for i in range(stop, high + 1):
            width = max(width, majorant[i] - lower[i])
        if start == low and stop == high:
            break
        low = start
        high = stop
    return width / (2 * n)


@compiled
def convex_minorant(x: Doubles, y: Doubles, sign: float, low: int, high: int, knots: IntArray, curve: Doubles) -> int:
    """Write the greatest convex minorant of points `low` to `high` and its knots; return their number.

    With a `sign` of -1 the least concave majorant. Where points share an x the curve is vertical.
    """
    n_knots = 0
    for i in range(low, high + 1):
        while n_knots >= 2:
            a = knots[n_knots - 2]
            b = knots[n_knots - 1]
            if sign * ((y[b] - y[a]) * (x[i] - x[a]) - (y[i] - y[a]) * (x[b] - x[a])) < 0:
                break
            n_knots -= 1
        knots[n_knots] = i
        n_knots += 1
    for k in range(n_knots - 1):
        a = knots[k]
        b = knots[k + 1]
        run = x[b] - x[a]
        for i in range(a, b):
            share = (x[i] - x[a]) / run if run > 0 else (i - a) / (b - a)
            curve[i] = y[a] + (y[b] - y[a]) * share
    curve[high] = y[high]
    return n_knots


@compiled
def widest_gap(
    lower: Doubles, upper: Doubles, minorant: Doubles, majorant: Doubles, knots: tuple[IntArray, IntArray]
) -> tuple[float, int, int]:
    """Find the widest gap between minorant and majorant at a knot of either, and the two knots that enclose it."""
    below, above = knots
    gap = -1.0
    start = 0
    stop = 0
    k = 0
    for knot in below:
        while above[k] < knot:
            k += 1
        if majorant[knot] - lower[knot] > gap:
            gap = majorant[knot] - lower[knot]
            start = knot
            stop = above[k]
    k = 0
    for knot in above:
        while k + 1 < below.size and below[k + 1] <= knot:
            k += 1
        if upper[knot] - minorant[knot] > gap:
            gap = upper[knot] - minorant[knot]
            start = below[k]
            stop = knot
    return gap, start, stop


def dip_p_value(dip: float, n: int) -> float:
    """Interpolate the share of uniform samples of `n` values with a larger dip; 0 beyond the table.

    Between two tabulated sizes the quantiles of root(n) x dip are nearly linear in the logarithm of n.
    """
    if n < N_VALUES[0]:
        return 1.0
    quantiles = [np.interp(np.log(n), np.log(N_VALUES), column) for column in zip(*QUANTILES, strict=True)]
    return float(np.interp(np.sqrt(n) * dip, [0.0, *quantiles], [1.0, *P_VALUES], right=0.0))
