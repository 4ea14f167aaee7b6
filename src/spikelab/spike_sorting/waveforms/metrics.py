"""Amplitude, peak, SNR and normalised standard deviation: pure functions on templates, microvolts and samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.waveforms.windows import Window


def polarity_and_channel(template: NDArray[np.floating], pos_peak_thresh: float) -> tuple[bool, int]:
    """Return whether the main peak of a template (samples, channels) is positive, and the channel of that peak.

    Positive if ``max >= pos_peak_thresh * |min|``.
    """
    positive = float(template.max()) >= pos_peak_thresh * abs(float(template.min()))
    extreme = template.argmax() if positive else template.argmin()
    return positive, int(extreme) % template.shape[1]


def peaks(template: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return ``max |template|`` of each channel and its (earliest) sample, both of shape (channels,)."""
    magnitude = np.abs(template)
    samples = magnitude.argmax(axis=0)
    return np.take_along_axis(magnitude, samples[None], axis=0)[0], samples


def std_norms(std: FloatArray, amplitudes: FloatArray, peak_inds: IntArray, spread: Window | None) -> FloatArray:
    """Divide standard deviation, (samples, channels), by amplitude, channel by channel; infinite for amplitude 0.

    The standard deviation is that at each channel's peak or, with `spread`, the mean over that window around the peak,
    as far as the template goes.
    """
    if spread is None:
        deviation = np.take_along_axis(std, peak_inds[None], axis=0)[0]
    else:
        low = np.maximum(peak_inds - spread.n_before, 0)
        high = np.minimum(peak_inds + spread.n_after + 1, len(std))
        running = np.concatenate([np.zeros((1, std.shape[1])), np.cumsum(std, axis=0, dtype=np.float64)])
        channels = np.arange(std.shape[1])
        deviation = (running[high, channels] - running[low, channels]) / (high - low)
    result = np.full(amplitudes.shape, np.inf, dtype=np.float32)
    np.divide(deviation, amplitudes, out=result, where=amplitudes > 0, casting="same_kind")
    return result


def signal_to_noise(amplitudes: NDArray[np.float32], noise: NDArray[np.float32]) -> FloatArray:
    """Divide amplitude by noise, element by element; 0 where the noise is 0."""
    result = np.zeros(amplitudes.shape, dtype=np.float32)
    np.divide(amplitudes, noise, out=result, where=noise > 0)
    return result
