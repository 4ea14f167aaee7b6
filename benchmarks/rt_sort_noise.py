"""Noise of the generated recordings, and the filter that it is measured behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import butter, oaconvolve, sosfiltfilt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from benchmarks.rt_sort_recipes import Recipe

BAND_HZ = (300.0, 6000.0)
NOISE_TAPS = 1024
NOISE_LENGTH_UM = 30.0
NOISE_BLOCK_S = 5.0
LARGE = 500_000_000  # values: above, noise is mixed of pieces of TAPE values, for a minute of 1000 contacts ...
TAPE = 120_000_000  # ... takes five minutes to draw and to filter
MIXED = 6  # pieces at a time: of one alone, what is large by chance comes again and again, as the spikes of a neuron do


def band_pass(traces: NDArray[Any], fs: float) -> NDArray[np.float64]:
    """300 to 6000 Hz along the first axis, order 5, forward and backward."""
    sos = butter(5, BAND_HZ, "bandpass", fs=fs, output="sos")
    filtered: NDArray[np.float64] = sosfiltfilt(sos, traces, axis=0)
    return filtered


def band_pass_templates(templates: NDArray[Any], fs: float) -> NDArray[np.float64]:
    """Band-pass (units, samples, channels) with silence around them."""
    margin = round(0.02 * fs)
    padded = np.pad(templates.transpose(1, 0, 2), ((margin, margin), (0, 0), (0, 0)))
    return band_pass(padded, fs)[margin:-margin].transpose(1, 0, 2)


def add_noise(traces: NDArray[np.float32], recipe: Recipe, rng: np.random.Generator) -> None:
    """White, independent or common to all, and coloured, shared by near contacts; ``noise_uv`` after the filter."""
    if traces.size <= LARGE:
        _draw(traces, recipe, rng)
        return
    tape = np.zeros((TAPE // traces.shape[1], traces.shape[1]), dtype=np.float32)
    _draw(tape, recipe, rng)
    tape /= np.float32(np.sqrt(MIXED))
    mirrored = tape.reshape(len(tape), recipe.rows, recipe.columns)
    for part in _blocks(traces, len(tape) // 2):
        for _ in range(MIXED):
            start, across, along, negative = rng.integers((len(tape) - len(part), 2, 2, 2))
            piece = mirrored[start : start + len(part), :: 1 - 2 * along, :: 1 - 2 * across].reshape(len(part), -1)
            part[:] += -piece if negative else piece


def _blocks(traces: NDArray[np.float32], length: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(traces), length):
        yield traces[start : start + length]


def _draw(traces: NDArray[np.float32], recipe: Recipe, rng: np.random.Generator) -> None:
    pulse = np.zeros(2 * NOISE_TAPS * 8)
    pulse[len(pulse) // 2] = 1
    pass_white = np.linalg.norm(band_pass(pulse, recipe.fs))
    block = round(NOISE_BLOCK_S * recipe.fs)
    for part in _blocks(traces, block):
        white = rng.standard_normal(part.shape, dtype=np.float32)
        part[:] += white * np.float32(recipe.noise_uv * np.sqrt(1 - recipe.coloured) / pass_white)
    if recipe.coloured:
        taps = _fractional_taps()
        pass_coloured = np.linalg.norm(band_pass(np.convolve(pulse, taps, "same"), recipe.fs))
        taps = (taps * recipe.noise_uv * np.sqrt(recipe.coloured) / pass_coloured).astype(np.float32)
        _add_coloured(traces, recipe, taps, rng)
    if recipe.common:
        level = recipe.noise_uv * np.sqrt(recipe.common) / pass_white
        for part in _blocks(traces, block):
            part[:] *= np.float32(np.sqrt(1 - recipe.common))
            part[:] += np.float32(level) * rng.standard_normal((len(part), 1), dtype=np.float32)


def _fractional_taps() -> NDArray[np.float64]:
    """Filter whose gain falls as 1/f^0.5: the binomial series of (1 - z)^(-1/2), with a soft end."""
    k = np.arange(1, NOISE_TAPS)
    soft = np.cos(np.arange(NOISE_TAPS) * np.pi / 2 / NOISE_TAPS) ** 2
    taps: NDArray[np.float64] = np.concatenate([[1.0], np.cumprod((k - 0.5) / k)]) * soft
    return taps


def _add_coloured(
    traces: NDArray[np.float32], recipe: Recipe, taps: NDArray[np.float32], rng: np.random.Generator
) -> None:
    distance = np.linalg.norm(recipe.contacts[:, None] - recipe.contacts, axis=2)
    mix = np.linalg.cholesky(np.exp(-distance / NOISE_LENGTH_UM)).T.astype(np.float32)
    past = rng.standard_normal((len(taps) - 1, len(mix)), dtype=np.float32)
    for part in _blocks(traces, round(NOISE_BLOCK_S * recipe.fs)):
        source = np.concatenate([past, rng.standard_normal((len(part), len(mix)), dtype=np.float32)])
        part[:] += oaconvolve(source, taps[:, None], mode="valid", axes=0) @ mix
        past = source[-len(past) :]
