"""Do spikes sit on deflections of the traces? Those of another recording, or of another clock, do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data.traces import read_raw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, IntArray, SpikeTrains

MOST_UNITS, MOST_SPIKES, FEWEST_SPIKES = 48, 60, 10
AROUND_MS = 1.0
# The largest of 10^6 values of noise, as many as a mean spike of 1000 channels may have, reaches 5.
LARGEST_OF_NOISE = 7.0


def without_deflection(trains: SpikeTrains, binary: BinaryRecording, seed: int) -> tuple[list[int], int]:
    """Find units whose mean spike is no larger than the mean of as many pieces of noise.

    Returns the ids of those, and how many units were looked at: some, drawn at random, with enough spikes.
    """
    from spikelab.spike_sorting.waveforms.noise import noise_levels

    rng = np.random.default_rng(seed)
    around = max(1, round(AROUND_MS * binary.sampling_frequency / 1000))
    noise = noise_levels(binary, seed=seed).astype(np.float64)
    noise[noise == 0] = np.inf
    candidates = [row for row, train in enumerate(trains.samples) if len(train) >= FEWEST_SPIKES]
    chosen = sorted(rng.choice(candidates, min(MOST_UNITS, len(candidates)), replace=False)) if candidates else []
    flat = []
    for row in chosen:
        mean, n_spikes = _mean_spike(trains.samples[row], binary, around, rng)
        if n_spikes >= FEWEST_SPIKES and _in_noise(mean, noise / np.sqrt(n_spikes)) < LARGEST_OF_NOISE:
            flat.append(int(trains.unit_ids[row]))
    return flat, len(chosen)


def _mean_spike(
    train: IntArray, binary: BinaryRecording, around: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], int]:
    """Return the mean of some spikes, shape (samples, channels), in microvolts, and of how many."""
    inside = train[(train >= around) & (train < binary.n_samples - around)]
    drawn = np.sort(rng.choice(inside, min(MOST_SPIKES, len(inside)), replace=False))
    total = np.zeros((2 * around + 1, binary.n_channels))
    for frame in drawn.tolist():
        total += read_raw(binary, frame - around, frame + around + 1)
    return total * binary.gain_uv / max(1, len(drawn)), len(drawn)


def _in_noise(mean: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    """Return the largest deflection from the first and last samples, in the noise of the mean."""
    return float((np.abs(mean - np.median(mean, axis=0)) / noise).max(initial=0.0))
