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
    ``(1 - z^-2) / (1 + a1 z^-1 + a2 z^-2)``. The section with the pole nearest to the unit circle is the last.

    This is the bilinear transform, ``s = (z - 1) / (z + 1)``, of the analog filter. ``scipy.signal`` has the same, but
    its import takes longer than SpikeInterface's.
    """
    if not 0 < freq_min < freq_max < sampling_frequency / 2:
        raise ValueError(
            f"a band of {freq_min:g} to {freq_max:g} Hz is not between 0 and half of {sampling_frequency:g} Hz"
        )
    low, high = np.tan(np.pi * np.array([freq_min, freq_max]) / sampling_frequency)
    # One of each pair of conjugates of the low-pass, and the real pole, at -1.
    prototype = -np.exp(0.5j * np.pi * np.arange(0, ORDER, 2) / ORDER) * (high - low) / 2
    apart = np.sqrt(prototype**2 - low * high)
    real, *others = zip(prototype + apart, prototype - apart, strict=True)
    pairs = [real, *((pole, pole.conjugate()) for both in others for pole in both)]
    gain = (high - low) ** ORDER / np.prod([(1 - first) * (1 - second) for first, second in pairs]).real
    digital = [((1 + first) / (1 - first), (1 + second) / (1 - second)) for first, second in pairs]
    digital.sort(key=lambda pair: max(map(abs, pair)))
    return float(gain), np.array([[-(first + second).real, (first * second).real] for first, second in digital])


def memory_frames(poles: NDArray[np.float64], remembered: float) -> int:
    """Return after how many frames the slowest pole has faded to `remembered`."""
    slowest = max(np.abs(np.roots([1.0, a1, a2])).max() for a1, a2 in poles)
    return int(np.ceil(np.log(remembered) / np.log(slowest)))
