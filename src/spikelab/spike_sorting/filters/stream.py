"""The band-pass of a stream: spikes keep the shape that they have in a filtered recording, a few milliseconds late.

A recording is filtered forwards and backwards. A stream is filtered forwards by the same filter; instead of backwards,
which would need the future, the next few frames are weighted so that the result comes nearest to filtering backwards,
in the mean square of white noise. So sequences that were found in a recording apply without being learnt again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.filters._stream_kernels import run_sections, weigh_ahead
from spikelab.spike_sorting.filters.design import design, memory_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

LOOK_AHEAD_MS = 2.0
FADED = 1e-6  # share of the impulse response that remains where the response is cut off
# Share of the mean square of the filtered traces; values this small carry no information about the next frames.
RIDGE = 1e-4


@dataclass(frozen=True)
class StreamBandPass:
    """Band-pass for a stream whose frames come as the amplifier sends them.

    Attributes
    ----------
    freq_min, freq_max : float
        Band in Hz of the recording in which the sequences were found.
    gain_to_uv : float or numpy.ndarray, shape (channels,)
        Microvolts per unit of the frames. Offsets are not needed: the filter removes them.
    look_ahead_ms : float
        Milliseconds of the future that the filter waits for. With less, spikes are less certain.

    Examples
    --------
    >>> from spikelab.spike_sorting.rt_sort import StreamBandPass
    >>> band_pass = StreamBandPass(gain_to_uv=0.195, look_ahead_ms=1.0)  # for RTSort.stream(band_pass=band_pass)
    >>> band_pass.look_ahead_frames(20_000.0)
    20
    """

    freq_min: float = 300.0
    freq_max: float = 6000.0
    gain_to_uv: Any = 1.0
    look_ahead_ms: float = LOOK_AHEAD_MS

    def __post_init__(self) -> None:
        if not 0 < self.freq_min < self.freq_max:
            raise ValueError(f"Expected 0 < freq_min < freq_max, got {self.freq_min!r} and {self.freq_max!r}")
        if not 0 <= self.look_ahead_ms < np.inf:
            raise ValueError(f"look_ahead_ms must be a time in milliseconds, got {self.look_ahead_ms!r}")
        gains = np.asarray(self.gain_to_uv, dtype=np.float64)
        if not np.isfinite(gains).all() or (gains == 0).any():
            raise ValueError("gain_to_uv must be finite and not zero")

    def look_ahead_frames(self, sampling_frequency: float) -> int:
        """Return the frames that the filter waits for."""
        return round(self.look_ahead_ms * sampling_frequency / 1000)


class FilterStream:
    """Filters frames that come in pieces of any size; the result is late by `delay` frames."""

    def __init__(self, band_pass: StreamBandPass, sampling_frequency: float, n_channels: int) -> None:
        if band_pass.freq_max >= sampling_frequency / 2:
            raise ValueError(
                f"freq_max ({band_pass.freq_max:g} Hz) must be below half the sampling rate ({sampling_frequency:g} Hz)"
            )
        gains = np.asarray(band_pass.gain_to_uv, dtype=np.float64)
        if gains.ndim > 1 or gains.size not in (1, n_channels):
            raise ValueError(f"gain_to_uv must be one number or one per channel ({n_channels}), got {gains.shape}")
        self.delay = band_pass.look_ahead_frames(sampling_frequency)
        self._taps, _ = weights(band_pass.freq_min, band_pass.freq_max, sampling_frequency, self.delay)
        gain, self._poles = design(band_pass.freq_min, band_pass.freq_max, sampling_frequency)
        self._scale = np.broadcast_to(gain * gains, (n_channels,)).astype(np.float64)
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        n_channels = len(self._scale)
        self._state = np.zeros((2 * len(self._poles), n_channels))
        self._first: Floats | None = None
        self._n_frames = 0
        self._waiting = np.empty((0, n_channels), dtype=np.float32)

    def push(self, frames: NDArray[Any]) -> Floats:
        """Filter the next frames, of any number type, shape (frames, channels); return complete ones, in microvolts."""
        stored = np.ascontiguousarray(frames, dtype=np.float32)
        if self._first is None:
            if not len(stored):
                return stored
            self._first = stored[0].copy()
        n_waiting = len(self._waiting)
        passed = np.empty((n_waiting + len(stored), stored.shape[1]), dtype=np.float32)
        passed[:n_waiting] = self._waiting
        run_sections(stored, self._first, self._scale, self._poles, self._state, self._n_frames, passed[n_waiting:])
        self._n_frames += len(stored)
        return self._complete(passed)

    def finish(self) -> Floats:
        """Return the last frames, as if nothing followed them, and forget all."""
        silence = np.zeros((self.delay, len(self._scale)), dtype=np.float32)
        last = self._complete(np.concatenate([self._waiting, silence]))
        self.reset()
        return last

    def _complete(self, passed: Floats) -> Floats:
        n_complete = max(0, len(passed) - self.delay)
        results = np.empty((n_complete, passed.shape[1]), dtype=np.float32)
        weigh_ahead(passed, self._taps, results)
        self._waiting = passed[n_complete:].copy()
        return results


@lru_cache(maxsize=16)
def weights(freq_min: float, freq_max: float, sampling_frequency: float, n_ahead: int) -> tuple[Floats, float]:
    """Compute the weights of a frame and of the `n_ahead` after it that come nearest to filtering backwards.

    Filtering backwards weighs the future with the filter's response to an impulse. The future beyond `n_ahead` is
    replaced by its prediction from the frames before: the normal equations of linear regression, with the covariance of
    white noise that has passed the filter once. The second result is the root mean square of the difference from
    filtering backwards, relative to that of the result, for white noise.
    """
    from scipy.linalg import solve_toeplitz
    from scipy.signal import lfilter

    gain, poles = design(freq_min, freq_max, sampling_frequency)
    response = np.zeros(memory_frames(poles, FADED) + n_ahead + 1)
    response[0] = gain
    for a1, a2 in poles:
        response = lfilter([1, 0, -1], [1, a1, a2], response)
    n = len(response)
    spectrum = np.abs(np.fft.rfft(response, 4 * n)) ** 2
    covariance = np.fft.irfft(spectrum)[: 2 * n]  # of noise filtered once, by lag
    power = np.fft.irfft(spectrum**2)[0]  # of noise filtered twice
    lags = np.abs(np.arange(n) - np.arange(n_ahead + 1)[:, None])
    wanted = covariance[lags] @ response
    column = covariance[: n_ahead + 1].copy()
    column[0] *= 1 + RIDGE
    taps = solve_toeplitz(column, wanted)
    square = power - 2 * taps @ wanted + taps @ covariance[lags[:, : n_ahead + 1]] @ taps
    return taps.astype(np.float32), float(np.sqrt(max(0.0, square / power)))
