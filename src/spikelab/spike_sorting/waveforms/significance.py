"""Significance of a unit: by how much its spikes are more than noise makes of their size.

Noise that was picked for being alike has a mean, and each of its pieces fits it, as it is a part of it. Therefore a
spike is measured on the mean of the others. The noise is that of the very projection: what the mean of the others gives
at random times, so that noise that is shared by channels or lasts for milliseconds is counted as it is. Gaussian noise
comes above u standard deviations ``f exp(-u^2 / 2)`` times a second (Rice 1945), with f from how fast the projection
changes. The larger half of the unit's spikes is compared with what noise makes of that size in the length of the
recording.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data.dead_time import live_frames, windows_in_dead_time
from spikelab.spike_sorting.data.traces import dead_time_in, read_raw, scale_uv
from spikelab.spike_sorting.waveforms.chunks import UnitPool
from spikelab.spike_sorting.waveforms.windows import Window, draw, fitting
from spikelab.spikedata._windows import MAD_TO_STD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray, TraceSource

MOST_SPIKES = 100  # that are measured: more move the median by less than a tenth of the noise
MOST_CHANNELS = 8  # with the largest peaks in units of their noise; further ones add noise and little signal
AROUND_MS = 1.0  # before and after the spike: where the spike is; a longer window adds noise
NOISE_WINDOWS = 500  # at random: their deviation is known to 5 per cent
_SIGNIFICANCE = 2  # purpose of a unit's random numbers, part of their seed


def significances(
    source: TraceSource,
    spikes: tuple[IntArray, ...],
    amplitudes: FloatArray,
    noise: FloatArray,
    *,
    unit_ids: IntArray,
    seed: int,
    n_jobs: int = 1,
) -> FloatArray:
    """Measure the significance of each unit in standard deviations, shape (units,), float32; 0 for fewer than 2 spikes.

    `spikes` are aligned frames, `amplitudes` (units, channels) and `noise` (channels,) are in microvolts.
    """
    window = Window.from_ms(AROUND_MS, AROUND_MS, source.sampling_frequency)
    result = np.zeros(len(spikes), dtype=np.float32)
    background = _background(source, window, seed)
    seconds = live_frames(dead_time_in(source), 0, source.n_samples) / source.sampling_frequency

    def measure_units(part: slice) -> None:
        for unit in range(part.start, part.stop):
            frames = fitting(spikes[unit], source, window)
            frames = draw(frames, MOST_SPIKES, seed, int(unit_ids[unit]), _SIGNIFICANCE)
            channels = _channels(amplitudes[unit], noise)
            if len(frames) < 2 or not len(channels) or not len(background):
                continue
            scale = abs(scale_uv(source)) / noise[channels]
            examples = _windows(source, frames - window.n_before, window.n_samples, channels) * scale
            size, hertz = _size(examples, background[:, :, channels] * scale, source.sampling_frequency)
            result[unit] = excess((len(spikes[unit]) + 1) // 2, size, hertz * seconds)

    with UnitPool(n_jobs) as pool:
        pool.run(len(spikes), measure_units)
    return result


def excess(n_spikes: int, size: float, n_chances: float) -> float:
    """Compute by how many standard deviations `n_spikes` are more than noise makes of at least this size.

    Of Poisson counts: the root of twice the log-likelihood ratio, 0 where noise makes as many.
    """
    if n_spikes == 0 or n_chances <= 0:
        return 0.0
    log_expected = math.log(n_chances) - max(size, 0.0) ** 2 / 2
    log_ratio = math.log(n_spikes) - log_expected
    return math.sqrt(2 * (n_spikes * (log_ratio - 1) + math.exp(log_expected))) if log_ratio > 0 else 0.0


def _channels(amplitudes: FloatArray, noise: FloatArray) -> IntArray:
    """Choose the channels with the largest peaks, in units of their noise, ascending."""
    ratio = np.divide(amplitudes, noise, out=np.zeros(len(noise), dtype=np.float32), where=noise > 0)
    largest = np.argsort(-ratio, kind="stable")[:MOST_CHANNELS]
    chosen: IntArray = np.sort(largest[ratio[largest] > 0])
    return chosen


def _background(source: TraceSource, window: Window, seed: int) -> FloatArray:
    """Read windows at random times, one frame longer than those of spikes, shape (windows, samples, channels)."""
    n_samples = window.n_samples + 1
    starts = np.sort(np.random.default_rng([seed, _SIGNIFICANCE]).integers(0, source.n_samples, NOISE_WINDOWS))
    starts = starts[starts + n_samples <= source.n_samples]
    starts = starts[~windows_in_dead_time(starts, 0, n_samples, dead_time_in(source))]
    return _windows(source, starts, n_samples, np.arange(source.n_channels))


def _windows(source: TraceSource, starts: IntArray, n_samples: int, channels: IntArray) -> FloatArray:
    windows = np.empty((len(starts), n_samples, len(channels)), dtype=np.float32)
    for row, start in enumerate(starts.tolist()):
        windows[row] = read_raw(source, start, start + n_samples)[:, channels]
    return windows


def _size(examples: FloatArray, background: FloatArray, fs: float) -> tuple[float, float]:
    """Measure the median size of spikes on the mean of the others, in deviations of the noise, and Rice's rate (Hz)."""
    n = len(examples)
    flat = examples.reshape(n, -1).astype(np.float64)
    mean = flat.mean(axis=0)
    norms, onto_mean = np.einsum("ij,ij->i", flat, flat), flat @ mean
    onto_others = (n * onto_mean - norms) / (n - 1)
    lengths = np.sqrt(np.maximum(n**2 * (mean @ mean) - 2 * n * onto_mean + norms, 1e-12)) / (n - 1)
    template = mean.reshape(examples.shape[1:])
    now = np.einsum("nsc,sc->n", background[:, :-1], template)
    change = np.einsum("nsc,sc->n", background[:, 1:], template) - now
    deviation = max(_deviation(now), 1e-12)
    sizes = onto_others / (lengths * deviation / max(math.sqrt(mean @ mean), 1e-12))
    return float(np.median(sizes)), fs * _deviation(change) / (2 * math.pi * deviation)


def _deviation(values: NDArray[np.floating]) -> float:
    return float(np.median(np.abs(values - np.median(values)))) / MAD_TO_STD
