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
MEDIAN_NOISE = 1.25  # of the median of many values, beside that of their mean
# The largest of 10^6 values of noise, as many as a median spike of 1000 channels may have, reaches 5.
LARGEST_OF_NOISE = 7.0


def without_deflection(trains: SpikeTrains, binary: BinaryRecording, seed: int) -> tuple[list[int], int]:
    """Find units whose median spike is no larger than the median of as many pieces of noise.

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
        middle, n_spikes = _middle_spike(trains.samples[row], binary, around, rng)
        if n_spikes >= FEWEST_SPIKES and _in_noise(middle, MEDIAN_NOISE * noise / np.sqrt(n_spikes)) < LARGEST_OF_NOISE:
            flat.append(int(trains.unit_ids[row]))
    return flat, len(chosen)


def _middle_spike(
    train: IntArray, binary: BinaryRecording, around: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], int]:
    """Return the median of some spikes, shape (samples, channels), in microvolts, and of how many.

    Spikes of other units, which random times meet as well, leave no trace in a median.
    """
    inside = train[(train >= around) & (train < binary.n_samples - around)]
    drawn = np.sort(rng.choice(inside, min(MOST_SPIKES, len(inside)), replace=False))
    if not len(drawn):
        return np.zeros((1, binary.n_channels)), 0
    pieces = np.stack([read_raw(binary, frame - around, frame + around + 1) for frame in drawn.tolist()])
    return np.median(pieces, axis=0) * binary.gain_uv, len(drawn)


def _in_noise(middle: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    """Return the largest deflection of a median spike, in the noise that is left in it."""
    return float((np.abs(middle - np.median(middle, axis=0)) / noise).max(initial=0.0))
