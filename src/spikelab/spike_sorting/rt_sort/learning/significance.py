"""Tell units from noise that was chosen for being alike.

The mean of a few pieces of noise that look alike is a template, and these pieces fit it: each is a part of it. So the
template is learnt on one half of the spikes and the energy that it explains is measured on the other fitted. Of noise,
it does not get further than noise gets by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikelab.spike_sorting.rt_sort.matching.templates import denoise, filter_channels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
    from spikelab.spike_sorting.rt_sort.whitening import Noise

# Noise that passes a threshold of energy passes it by 2 on average, and with a deviation of 2: the tail of a squared
# normal variable is exponential.
NOISE_EXCESS, NOISE_DEVIATION = 2.0, 2.0
LEAST_SIGNIFICANCE = 3.0  # noise reaches that once in 700 groups
MAX_SCORED = 100  # spikes: more say no more
FEW, FOLDS_OF_FEW = 40, 5  # half of a few spikes is no template
LAGS = (-1, 0, 1)  # frames that the fit may move


class Filter(NamedTuple):
    """Filter of a mean, shape (channels, frames), on rows of the examples, and its output to the mean."""

    rows: IntArray
    values: FloatArray
    norm: float


def significance(
    examples: FloatArray, channels: IntArray, noise: Noise, parameters: SequenceParameters, seed: int = 0
) -> float:
    """Measure by how many standard errors the energy of spikes is above that of noise; 0 for fewer than 4 spikes.

    `examples` (spikes, channels, frames) are in microvolts, without the spikes of other units; `channels` may be
    padded with -1. The energy is what a template learnt on the other spikes explains.
    """
    if len(examples) < 4:
        return 0.0
    used = channels >= 0
    examples, channels = examples[:, used], channels[used]
    order = np.random.default_rng(seed).permutation(len(examples))[:MAX_SCORED]
    n_folds = FOLDS_OF_FEW if len(order) < FEW else 2
    folds = [order[fold::n_folds] for fold in range(min(n_folds, len(order)))]
    energies = np.concatenate(
        [
            explained_by(_filter(np.delete(examples, fold, axis=0), channels, noise), examples[fold], parameters)
            for fold in folds
        ]
    )
    error = max(float(energies.std()), NOISE_DEVIATION) / np.sqrt(len(energies))
    return float((energies.mean() - parameters.match_threshold - NOISE_EXCESS) / error)


def _filter(examples: FloatArray, channels: IntArray, noise: Noise) -> Filter:
    mean = np.zeros((examples.shape[2], noise.n_channels), dtype=np.float32)
    mean[:, channels] = examples.mean(axis=0).T
    support, waveform = denoise(mean, len(examples), noise)
    some = filter_channels(support, waveform, noise)
    kept = waveform[: len(some)]
    gain = noise.gain(noise.whitening(some) @ (kept / noise.sigma[some][:, None]))
    values = noise.whiten(kept, some) / np.float32(gain)
    place = np.zeros(noise.n_channels, dtype=np.int64)
    place[channels] = np.arange(len(channels))
    return Filter(place[some], values, float(np.sum(values * kept)))


def explained_by(fitted: Filter, examples: FloatArray, parameters: SequenceParameters) -> NDArray[np.float64]:
    """Compute the energy that a template explains of each spike, at its best size and lag, as matching does."""
    windows = examples[:, fitted.rows]
    n = windows.shape[2]
    outputs = []
    for lag in LAGS:
        low, high = max(0, lag), min(n, n + lag)
        outputs.append(np.einsum("nct,ct->n", windows[:, :, low:high], fitted.values[:, low - lag : high - lag]))
    output = np.max(outputs, axis=0).astype(np.float64)
    precision = parameters.scale_std**-2
    scale = np.clip((output + precision) / (fitted.norm + precision), parameters.min_scale, parameters.max_scale)
    return np.asarray(2 * scale * output - scale**2 * fitted.norm - (scale - 1) ** 2 * precision)
