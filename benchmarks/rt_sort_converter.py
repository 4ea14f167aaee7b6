"""What a Neuropixels probe adds: stripes common to its channels, and converters that serve several channels in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rt_sort_noise import band_pass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.rt_sort_recipes import Recipe

# Neuropixels 1.0: of 384 channels, 12 share a converter that takes 13 turns in a frame; even and odd channels differ.
CHANNELS_PER_CONVERTER, TURNS = 12, 13
TONES_HZ = (600.0, 1_900.0, 4_300.0)  # switched supplies and their like, not quite steady
TONE_SHARE = 0.5  # of the stripes' power; the rest is noise
ALONG = 0.3  # how much larger or smaller stripes are at the ends than in the middle
BETWEEN_COLUMNS = 0.1


def sample_shifts(n_channels: int) -> NDArray[np.float64]:
    """How many frames later than its frame each channel is sampled."""
    channel = np.arange(n_channels)
    return (channel % (2 * CHANNELS_PER_CONVERTER)) // 2 / TURNS


def add_stripes(traces: NDArray[np.float32], recipe: Recipe, rng: np.random.Generator) -> None:
    """Add what is alike on all contacts, ``stripes_uv`` after the filter, larger at one end, in place."""
    times = np.arange(len(traces)) / recipe.fs
    wave = rng.standard_normal(len(traces))
    wave *= np.sqrt(1 - TONE_SHARE) / band_pass(wave, recipe.fs).std()
    for tone in TONES_HZ:
        swell = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 1.0) * times + rng.uniform(0, 2 * np.pi))
        phase = 2 * np.pi * tone * times + rng.uniform(0, 2 * np.pi)
        wave += np.sqrt(2 * TONE_SHARE / len(TONES_HZ)) * swell * np.sin(phase)
    x, y = recipe.contacts.T
    sizes = 1 + ALONG * (2 * y / y.max() - 1) + BETWEEN_COLUMNS * (2 * x / max(x.max(), 1.0) - 1)
    for channel, size in enumerate(sizes):
        traces[:, channel] += (recipe.converter.stripes_uv * size * wave).astype(np.float32)


def sample_in_turn(traces: NDArray[np.float32]) -> None:
    """Sample each channel as late as its converter does, in place."""
    frequencies = np.fft.rfftfreq(len(traces))
    for channel, shift in enumerate(sample_shifts(traces.shape[1])):
        spectrum: NDArray[Any] = np.fft.rfft(traces[:, channel]) * np.exp(2j * np.pi * frequencies * shift)
        traces[:, channel] = np.fft.irfft(spectrum, len(traces))
