"""How alike two mean waveforms are, and whether spikes that two units share look like the other spikes of either."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

ALIKE = 0.8  # cosine of two templates; pieces of one neuron that moved by 15 um or changed its size by half have more
SMALLER = 0.5  # size of spikes over that of others: bursts and drift leave more
LOUD = 0.5  # of the largest peak of a template: electrodes below that have the noise of a mean of few spikes in them
LAGS = 4  # samples by which spikes that are shared may be aligned otherwise than others


def cosine_over_lags(a: FloatArray, b: FloatArray, max_lag: int) -> float:
    """Compute the highest cosine similarity of two templates (samples, channels) over lags of up to `max_lag` samples.

    Samples that a lag moves out of the window count as zero. NaN where a template is zero or NaN.
    """
    return best_lag(a, b, max_lag)[0]


def best_lag(a: FloatArray, b: FloatArray, max_lag: int) -> tuple[float, int]:
    """Return also the lag: by how many samples the same waveform comes later in `a` than in `b`."""
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    if not norm > 0:
        return float("nan"), 0
    products = a @ b.T  # one matrix product instead of one per lag: each lag is a diagonal
    reach = min(max_lag, len(a) - 1)
    sums = [float(np.trace(products, offset=-lag)) for lag in range(-reach, reach + 1)]
    best = int(np.argmax(sums))
    return sums[best] / float(norm), best - reach


def without(mean: FloatArray, other: FloatArray, share: float, lag: int) -> tuple[FloatArray, FloatArray]:
    """Take spikes with another mean out of a mean, both (samples, channels).

    `share` of the spikes of `mean`, below 1, are those that `other` is the mean of, `lag` samples later. Returns the
    mean of the others, and `other` where it lies in `mean`.
    """
    moved = np.zeros_like(other)
    n = len(other)
    moved[max(0, lag) : n + min(0, lag)] = other[max(0, -lag) : n - max(0, lag)]
    return (mean - share * moved) / (1 - share), moved


def are_others(rest: FloatArray, shared: FloatArray) -> bool:
    """Tell whether spikes with the mean `rest` are not those of the unit whose spikes have the mean `shared`.

    They have another shape, or are much smaller; that they are larger is no sign, as a neuron's small spikes may be
    found twice. Electrodes on which neither is large are left out.
    """
    peaks = [np.abs(mean).max(axis=0) for mean in (rest, shared)]
    loud = (peaks[0] >= LOUD * peaks[0].max()) | (peaks[1] >= LOUD * peaks[1].max())
    rest, shared = rest[:, loud], shared[:, loud]
    cosine, _ = best_lag(rest, shared, LAGS)
    size = cosine * float(np.linalg.norm(rest)) / float(np.linalg.norm(shared))
    return not (cosine >= ALIKE and size >= SMALLER)
