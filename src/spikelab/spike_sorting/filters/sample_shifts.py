"""Bring channels that one converter samples one after the other to the same time.

A windowed sinc moves a channel by a fraction of a sample; it is short, as nothing above the band-pass need be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Error below the upper edge of the band, as the attenuation in decibels that the window is designed for.
ATTENUATION_DB = 80.0
# Multiple of the upper edge up to which the moved signal is right: the band-pass lets some pass above its edge.
BEYOND_EDGE = 1.5
UNROLLED = 4  # frames that the kernel adds up in one pass
MOST_TAPS = 64


def shift_taps(shifts: NDArray[np.float64], freq_max: float, sampling_frequency: float) -> NDArray[np.float32]:
    """Design the weights of the frames around a frame, shape (taps, channels); tap ``taps // 2`` is the frame itself.

    Parameters
    ----------
    shifts : numpy.ndarray of float64, shape (channels,)
        How much later than its frame each channel was sampled, in samples, between -1 and 1.
    freq_max : float
        Upper edge of the band-pass that follows, in Hz.
    sampling_frequency : float
        In Hz.
    """
    edge = min(BEYOND_EDGE * freq_max, (freq_max + sampling_frequency / 2) / 2) / sampling_frequency
    # Kaiser's rule; the response may be anything from the edge to its image beyond half the sampling rate.
    wanted = min((ATTENUATION_DB - 7.95) / (14.36 * (1 - 2 * edge)) + 1, MOST_TAPS)
    shorter = 1 + max(0.0, -float(shifts.min(initial=0.0)))  # on the side away from which the window moves
    half = UNROLLED // 2 * int(np.ceil((wanted / 2 + shorter) / (UNROLLED // 2)))
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    distance = np.arange(-half, half)[:, None] + shifts
    window = np.i0(beta * np.sqrt(np.clip(1 - (distance / (half - shorter)) ** 2, 0, None)))
    taps = np.sinc(distance) * window * (np.abs(distance) <= half - shorter)
    return np.ascontiguousarray(taps / taps.sum(axis=0), dtype=np.float32)
