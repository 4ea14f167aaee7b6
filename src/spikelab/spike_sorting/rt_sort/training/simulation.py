"""Simulate recordings with known spikes, channel by channel, as varied as those that a detection model will meet.

Waveforms are SpikeInterface's generated ones, made at a multiple of the sampling rate so that spikes fall between
frames, and band-passed like a recording.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import butter, freqz_sos, sosfilt, sosfiltfilt
from spikeinterface.core.generate import default_unit_params_range, generate_single_fake_waveform

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray


OVERSAMPLING = 8
MS_BEFORE, MS_AFTER = 2.0, 5.0
LARGEST_SNR = 40.0
SMALLEST_SNR = 2.5
N_UNITS = 4  # of a channel
BACKGROUND_HZ = 150.0


@dataclass(frozen=True)
class Recipe:
    """Parameters of a simulated recording.

    Attributes
    ----------
    sampling_frequency, low_hz, high_hz : float
        Rate and pass-band, in Hz.
    causal : bool
        False for a zero-phase filter.
    noise_exponent : float
        The noise has power ``1 / f ** noise_exponent`` before the filter.
    shared_noise : float
        Part of the noise's power that a channel shares with its neighbours.
    sigma_uv : float
        Noise, in microvolts.
    rates_hz, snrs : tuple of float
        Log-uniform ranges of the spikes per second and channel, and of amplitudes in units of the noise.
    variety : bool
        Also positive spikes, axons, bursts, background spikes and artefacts; otherwise Poisson trains.
    """

    sampling_frequency: float
    low_hz: float = 300.0
    high_hz: float = 6000.0
    causal: bool = False
    noise_exponent: float = 0.0
    shared_noise: float = 0.0
    sigma_uv: float = 8.0
    rates_hz: tuple[float, float] = (77.0, 77.0)
    snrs: tuple[float, float] = (SMALLEST_SNR, LARGEST_SNR)
    variety: bool = False


@dataclass(frozen=True)
class Simulation:
    """Traces in microvolts, shape (frames, channels), and the true spikes in the order of frames.

    `frames`, `snrs` (units of the noise) and `signs` are those of the largest extreme of a spike.
    """

    traces_uv: FloatArray
    frames: IntArray
    channels: IntArray
    snrs: FloatArray
    signs: IntArray


@dataclass(frozen=True)
class Shapes:
    """Waveforms (shapes, samples) at `OVERSAMPLING` times the rate; place and sign of their extremes of +/-1."""

    values: FloatArray
    peaks: IntArray
    signs: IntArray


def draw_recipe(rng: Generator, nominal_hz: float) -> Recipe:
    """Draw a recipe like the recordings of labs, within 15 % of the nominal rate."""
    fs = nominal_hz * rng.uniform(0.85, 1.15)
    return Recipe(
        sampling_frequency=fs,
        low_hz=float(rng.choice([200.0, 300.0, 300.0, 300.0, 500.0])),
        high_hz=float(rng.choice([3000.0, 5000.0, 6000.0, 6000.0, 0.45 * fs])),
        causal=bool(rng.random() < 0.2),
        noise_exponent=float(rng.choice([0.0, rng.uniform(0, 1.5)])),
        shared_noise=float(rng.choice([0.0, rng.uniform(0, 0.6)])),
        sigma_uv=float(np.exp(rng.uniform(np.log(2), np.log(20)))),
        rates_hz=(3.0, 90.0),
        variety=True,
    )


def simulate(rng: Generator, recipe: Recipe, n_channels: int, duration_s: float) -> Simulation:
    """Simulate a recording."""
    n_frames = round(duration_s * recipe.sampling_frequency)
    traces = make_noise(rng, recipe, n_channels, n_frames)
    shapes = make_shapes(rng, recipe, 8 * n_channels if recipe.variety else 4 * n_channels)
    parts = []
    for channel in range(n_channels):
        times, units, sizes = make_trains(rng, recipe, duration_s)
        chosen = rng.choice(len(shapes.values), N_UNITS)[units]
        parts.append(add_spikes(traces[channel], shapes, times * recipe.sampling_frequency, chosen, sizes))
    if recipe.variety:
        traces += make_artefacts(rng, recipe, n_channels, n_frames)
    peaks = [part[0] for part in parts]
    channels = np.repeat(np.arange(n_channels), [len(part) for part in peaks])
    frames, snrs, signs = (np.concatenate([part[i] for part in parts]) for i in range(3))
    order = np.lexsort((channels, frames))
    order = order[(frames[order] >= 0) & (frames[order] < n_frames)]
    uv = np.ascontiguousarray(traces.T, dtype=np.float32) * np.float32(recipe.sigma_uv)
    if recipe.variety:
        lsb = np.float32(recipe.sigma_uv * rng.choice([0.005, 0.02, 0.1]))
        uv = np.rint(uv / lsb) * lsb
    return Simulation(uv, frames[order], channels[order], snrs[order], signs[order])


def make_noise(rng: Generator, recipe: Recipe, n_channels: int, n_frames: int) -> FloatArray:
    """Generate band-passed noise of unit variance, shape (channels, frames)."""
    frequencies = np.fft.rfftfreq(n_frames, 1 / recipe.sampling_frequency)
    _, response = freqz_sos(_band_pass(recipe, 1), worN=frequencies, fs=recipe.sampling_frequency)
    gain = np.abs(response) ** (1 if recipe.causal else 2) * np.maximum(frequencies, 1) ** (-recipe.noise_exponent / 2)
    gain /= np.sqrt(np.mean(gain**2))
    noise = np.empty((n_channels, n_frames), dtype=np.float32)
    for channel in range(n_channels):
        white = np.fft.rfft(rng.standard_normal(n_frames, dtype=np.float32))
        noise[channel] = np.fft.irfft(white * gain, n_frames)
    if recipe.shared_noise:
        shared = (noise + np.roll(noise, 1, axis=0) + np.roll(noise, 2, axis=0)) / np.sqrt(3)
        own = make_noise(rng, replace(recipe, shared_noise=0.0), n_channels, n_frames)
        noise = np.sqrt(1 - recipe.shared_noise) * own + np.sqrt(recipe.shared_noise) * shared
    return noise.astype(np.float32)


def make_shapes(rng: Generator, recipe: Recipe, n_shapes: int) -> Shapes:
    """Generate waveforms of `n_shapes` neurons."""
    fs = recipe.sampling_frequency * OVERSAMPLING
    raw = np.stack([_one_shape(rng, fs, recipe.variety) for _ in range(n_shapes)])
    filtered = _filter(recipe, OVERSAMPLING, raw)
    peaks = np.argmax(np.abs(filtered), axis=1)
    largest = np.take_along_axis(filtered, peaks[:, None], axis=1)
    return Shapes((filtered / np.abs(largest)).astype(np.float32), peaks, np.sign(largest[:, 0]).astype(np.int64))


def _one_shape(rng: Generator, fs: float, variety: bool) -> NDArray[np.float64]:
    names = ("depolarization_ms", "repolarization_ms", "recovery_ms", "positive_amplitude", "smooth_ms")
    drawn = {name: rng.uniform(*default_unit_params_range[name]) for name in names}
    if variety:  # also the narrow and the broad
        dilation = rng.uniform(0.7, 1.6)
        drawn = {name: value * (dilation if name.endswith("_ms") else 1) for name, value in drawn.items()}
    shape: NDArray[np.float64] = generate_single_fake_waveform(
        fs, ms_before=MS_BEFORE, ms_after=MS_AFTER, **drawn
    ).astype(np.float64)
    kind = rng.random() if variety else 1.0
    delay = max(1, round(rng.uniform(0.1, 0.4) * fs / 1000))
    if kind < 0.15:  # an axon passing by: the current flows out before and after it flows in
        return shape - rng.uniform(0.3, 0.7) * np.roll(shape, -delay) - rng.uniform(0, 0.5) * np.roll(shape, delay)
    if kind < 0.3:  # the other pole of the dipole
        return -shape
    return shape


def make_trains(rng: Generator, recipe: Recipe, duration_s: float) -> tuple[NDArray[np.float64], IntArray, FloatArray]:
    """Draw the spikes of one channel: times in seconds, units, and amplitudes in units of the noise."""
    rate = float(_log_uniform(rng, recipe.rates_hz, 1)[0])
    times = rng.uniform(0, duration_s, rng.poisson(rate * duration_s))
    units = rng.integers(0, N_UNITS, len(times))
    amplitudes = _log_uniform(rng, recipe.snrs, N_UNITS)
    if not recipe.variety:
        return times, units, _log_uniform(rng, recipe.snrs, len(times)).astype(np.float32)
    sizes = amplitudes[units] * rng.normal(1, 0.07, len(times))
    times, units, sizes = _add_bursts(rng, times, units, sizes)
    n_background = rng.poisson(rng.uniform(0, BACKGROUND_HZ) * duration_s)
    times = np.concatenate([times, rng.uniform(0, duration_s, n_background)])
    units = np.concatenate([units, rng.integers(0, N_UNITS, n_background)])
    sizes = np.concatenate([sizes, rng.uniform(0.3, 2.0, n_background)])
    return times, units, sizes.astype(np.float32)


def _add_bursts(
    rng: Generator, times: NDArray[np.float64], units: IntArray, sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], IntArray, NDArray[np.float64]]:
    """Add bursts of up to six spikes to some units, each spike smaller than the one before."""
    bursting = rng.random(N_UNITS) < 0.3
    extra = np.where(bursting[units], rng.integers(0, 6, len(times)), 0)
    source = np.repeat(np.arange(len(times)), extra)
    place = np.arange(len(source)) - np.repeat(np.cumsum(extra) - extra, extra) + 1
    interval = rng.uniform(0.003, 0.008, len(times))[source]
    decay = rng.uniform(0.75, 0.95, N_UNITS)[units[source]]
    return (
        np.concatenate([times, times[source] + place * interval]),
        np.concatenate([units, units[source]]),
        np.concatenate([sizes, sizes[source] * np.maximum(decay**place, 0.4)]),
    )


def add_spikes(
    trace: FloatArray, shapes: Shapes, places: NDArray[np.float64], chosen: IntArray, sizes: FloatArray
) -> tuple[IntArray, FloatArray, IntArray]:
    """Add spikes to the trace of a channel, with extremes at `places` (fractional frames).

    Returns frame, size and sign of those above `SMALLEST_SNR`.
    """
    fine = np.rint(places * OVERSAMPLING).astype(np.int64)
    frames = np.rint(places).astype(np.int64)
    n_samples = shapes.values.shape[1]
    for place, shape, size in zip(fine.tolist(), chosen.tolist(), sizes.tolist(), strict=True):
        # The first fine sample of the shape that falls on a frame, and that frame.
        begin = place - int(shapes.peaks[shape])
        first = -(-begin // OVERSAMPLING)
        samples = shapes.values[shape, first * OVERSAMPLING - begin : n_samples : OVERSAMPLING]
        low, high = max(0, -first), min(len(samples), len(trace) - first)
        if low < high:
            trace[first + low : first + high] += np.float32(size) * samples[low:high]
    true = sizes >= SMALLEST_SNR
    return frames[true], sizes[true], shapes.signs[chosen[true]]


def make_artefacts(rng: Generator, recipe: Recipe, n_channels: int, n_frames: int) -> FloatArray:
    """Generate artefacts: stimulation, movement, glitches of the converter; shape (channels, frames)."""
    fs = recipe.sampling_frequency
    raw = np.zeros((n_channels, n_frames))
    late = np.zeros(raw.shape)
    for _ in range(rng.poisson(1.5 * n_frames / fs)):
        frame = int(rng.integers(0, n_frames))
        size = rng.choice([-1, 1]) * np.exp(rng.uniform(np.log(5), np.log(300))) * rng.uniform(0.5, 1.5, n_channels)
        kind = rng.integers(0, 3)
        if kind == 0:  # a step that decays
            raw[:, frame:] += size[:, None] * np.exp(-np.arange(n_frames - frame) / (fs * rng.uniform(5e-4, 2e-2)))
        elif kind == 1:  # a wave of a few milliseconds
            length = min(round(fs * rng.uniform(0.003, 0.03)), n_frames - frame)
            raw[:, frame : frame + length] += size[:, None] * np.sin(np.linspace(0, np.pi * rng.integers(1, 4), length))
        else:  # single samples, on some channels
            late[rng.random(n_channels) < 0.3, frame] += 0.2 * size[0]
    return (_filter(recipe, 1, raw) + late).astype(np.float32)


def _log_uniform(rng: Generator, limits: tuple[float, float], n: int) -> NDArray[np.float64]:
    return np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]), n))


def _band_pass(recipe: Recipe, oversampling: int) -> NDArray[np.float64]:
    high = min(recipe.high_hz, 0.49 * recipe.sampling_frequency)
    return np.asarray(
        butter(3, (recipe.low_hz, high), "bandpass", fs=recipe.sampling_frequency * oversampling, output="sos")
    )


def _filter(recipe: Recipe, oversampling: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    apply = sosfilt if recipe.causal else sosfiltfilt
    return np.asarray(apply(_band_pass(recipe, oversampling), values, axis=1))
