"""Counting spikes in bins of equal width."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def number_of_bins(length: float, bin_size: float) -> int:
    """Bins of `bin_size` that cover `length`: at least one; a remainder that is rounding error gets none."""
    if not bin_size > 0:
        raise ValueError(f"'bin_size' must be a positive number of ms, got {bin_size}")
    nearest = round(length / bin_size)
    return max(1, nearest if abs(length - nearest * bin_size) < 1e-6 else math.ceil(length / bin_size))


def bin_counts(times: NDArray[np.float64], start: float, bin_size: float, n_bins: int) -> NDArray[np.int64]:
    """Spikes per half-open bin; the end of the last bin belongs to it."""
    index = np.minimum((times - start) / bin_size, n_bins - 1).astype(np.int64)
    return np.bincount(index, minlength=n_bins)
