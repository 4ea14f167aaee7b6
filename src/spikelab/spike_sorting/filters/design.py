"""The band-pass of the package: of whole recordings forwards and backwards, of a stream forwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORDER = 5


def design(freq_min: float, freq_max: float, sampling_frequency: float) -> tuple[float, NDArray[np.float64]]:
    """Design the Butterworth band-pass; return its gain, and ``a1, a2`` of its sections, shape (order, 2).

    The zeros are at plus and minus one, as many as there are pairs of poles, so that each section has one of each:
    ``(1 - z^-2) / (1 + a1 z^-1 + a2 z^-2)``.
    """
    from scipy.signal import butter

    sections = butter(ORDER, [freq_min, freq_max], btype="bandpass", fs=sampling_frequency, output="sos")
    return float(sections[:, 0].prod()), np.ascontiguousarray(sections[:, 4:])


def memory_frames(poles: NDArray[np.float64], remembered: float) -> int:
    """Return after how many frames the slowest pole has faded to `remembered`."""
    slowest = max(np.abs(np.roots([1.0, a1, a2])).max() for a1, a2 in poles)
    return int(np.ceil(np.log(remembered) / np.log(slowest)))
