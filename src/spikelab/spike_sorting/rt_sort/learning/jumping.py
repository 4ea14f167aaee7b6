"""Join the pieces of neurons that jump together along a probe.

Where tissue or probe slips, every neuron is learnt anew at another place. A pair of pieces alone does not tell, for its
means may differ more than those of two neurons. All pieces together do: they end or begin at the same time, and those
before it, moved by the same way, are those after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikelab.spike_sorting.rt_sort.learning.following import around, join_following
from spikelab.spike_sorting.rt_sort.learning.means import Mean, compare_means
from spikelab.spike_sorting.rt_sort.learning.merging import join_alike, merge_units
from spikelab.spike_sorting.rt_sort.learning.trains import MIDDLE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.learning.merging import Units

MISPLACED = 0.05  # of a train, on the other side of a jump: overlaps and spikes that were matched wrongly
FEW = 0.25  # the same of a small unit, whose template fits the spikes on the other side, too, once a jump is known
SHARE = 0.6  # of the units, on one side of a jump: units that appear or vanish are fewer, and at times of their own
# Pairs that one way takes to each other: two may be so by chance, and of all there could be, so large a share. A neuron
# is in pieces on either side, of which one finds its like.
LEAST_PAIRS, PAIRED = 3, 0.3
MOST_JUMPS, TIMES = 4, 400  # that are looked for, and at how many times of the recording
# Of the recording: so long before a jump fires what ends at it, and after it what begins. Pieces of slow drift end and
# begin at any time.
NEAR = 0.1
APART = 0.05  # of the recording, at least, between two jumps
FARTHEST_UM, WAY_STEP_UM = 60.0, 2.5
LEAST_WAY_UM = 5.0  # less is no jump: the pieces would be alike as they are
SLIM = 3.0  # times as long as wide: tissue moves along a probe, and in a plane not as one
FIELD_UM = 25.0  # over which the potential of a neuron is much the same; between electrodes it is interpolated so
INTERPOLATION_RIDGE = 0.01
BESIDE = 100  # examples on either side of a jump that are averaged; between jumps little moves
CLEAR = 4.0  # in standard deviations of such a mean: on other channels it is noise, of which there may be hundreds
ALIKE_MOVED = 0.85  # cosine of a mean that was moved, interpolated, and what it has become


class Jump(NamedTuple):
    """All neurons move by `way`, (x, y) in um, at a `frame`."""

    frame: int
    way: NDArray[np.float64]


def merge_all(units: Units, jumps: list[Jump], places: ArrayLike) -> IntArray:
    """Merge units of one neuron, also those that jump or follow each other; return the indices that are left.

    `places` of the electrodes are in um, (channels, 2). Pieces are merged on either side of a jump, then across it.
    """
    where = np.asarray(places, dtype=np.float64)[:, :2]
    units.jumps = tuple(jump.frame for jump in jumps)
    left = merge_units(units)
    for jump in jumps:
        _join_across(units, left, jump, where)
    if jumps:
        left = merge_units(units)
    return join_following(units, left)


def join_pieces(units: Units, jumps: list[Jump], places: ArrayLike) -> None:
    """Merge pieces of few neurons, on either side of the jumps and then across them."""
    units.jumps = tuple(jump.frame for jump in jumps)
    join_alike(units)
    for jump in jumps:
        _join_across(units, np.flatnonzero(units.alive), jump, np.asarray(places, dtype=np.float64)[:, :2])


def find_jumps(units: Units, places: ArrayLike) -> list[Jump]:
    """Find the times at which most units end or begin, and the way from those before to those after."""
    where = np.asarray(places, dtype=np.float64)[:, :2]
    extent = np.ptp(where, axis=0)
    alive = np.flatnonzero(units.alive)
    if extent.max() < SLIM * max(extent.min(), 1.0) or len(alive) < 2 * LEAST_PAIRS:
        return []
    along = np.eye(2)[int(np.argmax(extent))]
    trains = [np.sort(units.frames[k]) for k in alive]
    jumps = []
    for frame in jump_times(trains):
        ended, begun = (alive[side] for side in sides(trains, frame))
        if (way := common_way(units, ended, begun, frame, where, along)) is not None:
            jumps.append(Jump(frame, way))
    return jumps


def sides(
    trains: list[IntArray], frame: int, misplaced: float = MISPLACED
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which trains (each ascending) end before a frame, and which begin after it, but for a share."""
    before = np.array([np.searchsorted(train, frame) / max(len(train), 1) for train in trains])
    return before >= 1 - misplaced, before <= misplaced


def jump_times(trains: list[IntArray]) -> list[int]:
    """Find frames at which most trains (each ascending) end or begin, the clearest first."""
    first, last = min(train[0] for train in trains), max(train[-1] for train in trains)
    times = np.linspace(first, last, TIMES + 2)[1:-1].astype(np.int64)
    near = NEAR * (last - first)
    begins, ends = np.array([np.percentile(train, MIDDLE) for train in trains]).T
    one_sided = np.zeros((len(times), 2))
    for row, time in zip(one_sided, times.tolist(), strict=True):
        ended, begun = sides(trains, time)
        row[:] = np.sum(ended & (ends >= time - near)), np.sum(begun & (begins <= time + near))
    clear = one_sided.min(axis=1) * (one_sided.sum(axis=1) >= SHARE * len(trains))
    found: list[int] = []
    while len(found) < MOST_JUMPS and clear.max() >= LEAST_PAIRS:
        best = np.flatnonzero(clear == clear.max())
        found.append(int(times[best[len(best) // 2]]))
        clear[np.abs(times - found[-1]) < APART * (last - first)] = 0
        clear[best] = 0
    return found


def common_way(
    units: Units, ended: IntArray, begun: IntArray, frame: int, places: NDArray[np.float64], along: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Find the way, in um, that takes most units to others; None where none takes enough of them."""
    before, after = (_features(units, side, frame) for side in (ended, begun))
    ways = [length * along for length in np.arange(-FARTHEST_UM, FARTHEST_UM + 1, WAY_STEP_UM)]
    alike = [_cosines(before @ moving(places, way).T, after) for way in ways]
    scores = [sum(cosines[i, j] - ALIKE_MOVED for i, j in mutual(cosines)) for cosines in alike]
    best = int(np.argmax(scores))
    enough = len(mutual(alike[best])) >= max(LEAST_PAIRS, PAIRED * min(len(ended), len(begun)))
    return ways[best] if enough and np.linalg.norm(ways[best]) >= LEAST_WAY_UM else None


def moving(places: NDArray[np.float64], way: NDArray[np.float64]) -> FloatArray:
    """Make the matrix, (channels, channels), that takes potentials at the electrodes to what they are after a way."""

    def fade(to: NDArray[np.float64]) -> NDArray[np.float64]:
        apart = np.sum((to[:, None] - places[None]) ** 2, axis=2)
        faded: NDArray[np.float64] = np.exp(-apart / (2 * FIELD_UM**2))
        return faded

    between = fade(places) + INTERPOLATION_RIDGE * np.eye(len(places))
    matrix: FloatArray = np.linalg.solve(between, fade(places - way).T).T.astype(np.float32)
    return matrix


def mutual(cosines: FloatArray) -> list[tuple[int, int]]:
    """Pair rows and columns that are each other's most alike, and alike enough; the most alike first."""
    if not cosines.size:
        return []
    rows = np.arange(len(cosines))
    partners = cosines.argmax(axis=1)
    kept = (cosines.argmax(axis=0)[partners] == rows) & (cosines[rows, partners] >= ALIKE_MOVED)
    order = np.argsort(-cosines[rows, partners], kind="stable")
    return [(int(i), int(partners[i])) for i in order if kept[i]]


def _features(units: Units, chosen: IntArray, frame: int) -> FloatArray:
    """Describe means near a frame by their temporal components, shape (units, components, channels); on one clock."""
    n = units.components.shape[1]
    means = [_clear_mean(units, k, frame) for k in chosen.tolist()]
    troughs = np.array([int(np.unravel_index(np.argmax(np.abs(mean)), mean.shape)[0]) for mean in means])
    starts = np.clip(troughs - _usual_trough(units), 0, units.means[0].shape[0] - n)
    features: FloatArray = np.array(
        [units.components @ mean[s : s + n] for mean, s in zip(means, starts.tolist(), strict=True)], dtype=np.float32
    )
    return features


def _clear_mean(units: Units, unit: int, frame: int) -> FloatArray:
    """Average examples on one side of a frame, in units of the noise, on the channels on which that is more than it."""
    mean, count = around(units, unit, frame, BESIDE)
    mean = mean / units.noise.sigma
    sizes = np.abs(mean).max(axis=0)
    mean[:, sizes < min(CLEAR / np.sqrt(max(count, 1)), sizes.max())] = 0
    return mean


def _usual_trough(units: Units) -> int:
    """Find where in the window of the components spikes usually are largest."""
    troughs = [int(np.argmax(np.abs(mean / units.noise.sigma).max(axis=1))) for mean in units.means]
    return int(np.median(troughs)) - units.origin


def _cosines(first: FloatArray, second: FloatArray) -> FloatArray:
    flat = [features.reshape(len(features), -1) for features in (first, second)]
    rows, others = (x / np.maximum(np.linalg.norm(x, axis=1), np.finfo(np.float32).tiny)[:, None] for x in flat)
    cosines: FloatArray = rows @ others.T
    return cosines


def _join_across(units: Units, left: IntArray, jump: Jump, places: NDArray[np.float64]) -> None:
    """Join each unit that ends at a jump to the one that it has become."""
    alive = left[units.alive[left]]
    ended, begun = (alive[side] for side in sides([np.sort(units.frames[k]) for k in alive], jump.frame, FEW))
    matrix = moving(places, jump.way)
    before, after = (_features(units, side, jump.frame) for side in (ended, begun))
    if not len(before) or not len(after):
        return
    for row, column in mutual(_cosines(before @ matrix.T, after)):
        i, j = int(ended[row]), int(begun[column])
        moved, n_moved = around(units, i, jump.frame, BESIDE)
        become, n_become = around(units, j, jump.frame, BESIDE)
        sigma = units.noise.sigma
        means = Mean.of((moved @ matrix.T).astype(np.float32), n_moved, sigma), Mean.of(become, n_become, sigma)
        lag = compare_means(*means, units.noise, units.components, units.origin, units.max_lag).lag
        i, j, lag = (i, j, lag) if units.counts[i] >= units.counts[j] else (j, i, -lag)
        units.join(i, j, lag)
