"""Find the troughs of spikes in filtered traces, and where along the contacts each was, in compiled code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Traces = NDArray[Any]  # counts, or microvolts
    Limits = NDArray[np.float32]
    Integers = NDArray[np.int64]

FARTHEST_UM = 60.0  # a spike lies nearer to the contact that is largest
PER_UM = 0.02  # positions relative to the contact are divided by 50 um: sums of like size


@compiled
def find_troughs(
    traces: Traces, limits: Limits, near: Integers, n_near: Integers, apart: int, margin: int, found: Integers
) -> int:
    """Write frame and channel of samples below `limits` that are lowest within `apart` frames on their near channels.

    `near` (channels, most) lists the near channels of each. `margin` frames at either end are only looked at. Returns
    how many there are, which may be more than `found` (most, 2) holds.
    """
    count = 0
    for frame in range(margin, traces.shape[0] - margin):
        for channel in range(traces.shape[1]):
            if traces[frame, channel] < limits[channel] and _is_lowest(traces, frame, channel, near, n_near, apart):
                if count < found.shape[0]:
                    found[count, 0], found[count, 1] = frame, channel
                count += 1
    return count


@compiled
def _is_lowest(traces: Traces, frame: int, channel: int, near: Integers, n_near: Integers, apart: int) -> bool:
    """Tell whether no sample around is lower; of equal ones, the first is taken."""
    value = traces[frame, channel]
    if value > traces[frame - 1, channel] or value > traces[frame + 1, channel]:
        return False
    for index in range(n_near[channel]):
        other = near[channel, index]
        for at in range(frame - apart, frame + apart + 1):
            rival = traces[at, other]
            if rival < value or (rival == value and (at < frame or (at == frame and other < channel))):
                return False
    return True


@compiled
def locate_troughs(
    traces: Traces,
    troughs: Integers,
    near: Integers,
    n_near: Integers,
    places: NDArray[np.float64],
    floors: Limits,
    reach: tuple[int, int],
    located: NDArray[np.float64],
) -> None:
    """Write place along the contacts and size (peaks, 2): those of the round hill that fits the sizes around.

    The size on a contact is the range of its trace from `reach` frames before to after the trough, less what noise
    alone has (`floors`). Its logarithm is fitted by a parabola of the distance, weighted by the size squared.
    `places` are along the contacts and across. The place is NaN where there is no hill.
    """
    terms, sums = np.empty(4), np.empty((4, 5))
    for peak in range(troughs.shape[0]):
        frame, channel = troughs[peak, 0], troughs[peak, 1]
        for row in range(4):
            for column in range(5):
                sums[row, column] = 0.0
        for index in range(n_near[channel]):
            other = near[channel, index]
            low = high = float(traces[frame, other])
            for at in range(frame - reach[0], frame + reach[1] + 1):
                low, high = min(low, float(traces[at, other])), max(high, float(traces[at, other]))
            size = high - low - floors[other]
            if other == channel:
                located[peak, 1] = high - low
            if size <= 0:
                continue
            along = PER_UM * (places[other, 0] - places[channel, 0])
            across = PER_UM * (places[other, 1] - places[channel, 1])
            terms[0], terms[1], terms[2], terms[3] = 1.0, along, across, along * along + across * across
            weight, value = size * size, np.log(size)
            for row in range(4):
                for column in range(4):
                    sums[row, column] += weight * terms[row] * terms[column]
                sums[row, 4] += weight * terms[row] * value
        located[peak, 0] = places[channel, 0] + _top_of_hill(sums)


@compiled
def _top_of_hill(sums: NDArray[np.float64]) -> float:
    """Solve the normal equations (4, 5) and return where the parabola is largest, in micrometres; NaN: nowhere near."""
    ridge = 1e-9 * sums[0, 0]  # contacts in one line say nothing of the direction across
    for row in range(4):
        sums[row, row] += ridge
    for pivot in range(4):
        for row in range(pivot + 1, 4):
            share = sums[row, pivot] / sums[pivot, pivot]
            for column in range(pivot, 5):
                sums[row, column] -= share * sums[pivot, column]
    for row in range(3, -1, -1):
        for column in range(row + 1, 4):
            sums[row, 4] -= sums[row, column] * sums[column, 4]
        sums[row, 4] /= sums[row, row]
    top = -sums[1, 4] / (2 * sums[3, 4]) / PER_UM
    return top if sums[3, 4] < 0 and abs(top) <= FARTHEST_UM else np.nan
