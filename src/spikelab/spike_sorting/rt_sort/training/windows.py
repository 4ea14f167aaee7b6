"""Training data of the network: windows of threshold candidates, labelled by whether a true spike is in their middle.

The windows are cut by the code of detection, noise included.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.rt_sort.detection.noise import SigmaStream
from spikelab.spike_sorting.rt_sort.detection.peaks import PeakDetector
from spikelab.spike_sorting.rt_sort.training.simulation import Recipe, draw_recipe, simulate
from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.random import Generator
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter
    from spikelab.spike_sorting.rt_sort.training.simulation import Simulation


# Lower than the thresholds of detection, which can be chosen afterwards.
THRESHOLD_SIGMA, THRESHOLD_SIGMA_POSITIVE = 2.3, 3.0
TOLERANCE_MS = 0.2
CERTAIN_SNR, DOUBTFUL_SNR = 4.0, 3.0  # true from the one on, false below the other, not scored between
VARIED = 0.6  # of the training recordings; the others are plain
N_CHANNELS, DURATION_S = 32, 4.0  # of a recording
WARM_UP_BLOCKS = 2


@dataclass(frozen=True)
class Candidates:
    """Threshold candidates: windows (candidates, samples), labels (1: true spike) and weights (0: doubtful)."""

    windows: NDArray[np.float16]
    labels: FloatArray
    weights: FloatArray


def training_recipe(rng: Generator, nominal_hz: float, fixed: Mapping[str, Any]) -> Recipe:
    """Draw a recipe of every kind, or a plain one; `fixed` are fields that are not drawn."""
    if rng.random() < VARIED:
        recipe = draw_recipe(rng, nominal_hz)
    else:
        recipe = Recipe(nominal_hz, noise_exponent=float(rng.choice([0.0, 0.5])), rates_hz=(5.0, 90.0))
    return replace(recipe, **fixed)


def draw_candidates(
    rng: Generator, model: ModelSpikeSorter, n_recordings: int, fixed: Mapping[str, Any] | None = None
) -> Candidates:
    """Generate recordings and gather their candidates, for a model of this geometry and rate."""
    parts = []
    for _ in range(n_recordings):
        recipe = training_recipe(rng, model.samp_freq, fixed or {})
        simulation = simulate(rng, recipe, N_CHANNELS, DURATION_S)
        parts.append(find_candidates(simulation, model, recipe.sampling_frequency))
    names = ("windows", "labels", "weights")
    return Candidates(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def find_candidates(simulation: Simulation, model: ModelSpikeSorter, sampling_frequency: float) -> Candidates:
    """Gather the candidates of a recording, without its first blocks and its end."""
    detector = PeakDetector(
        model, sampling_frequency, threshold_sigma=THRESHOLD_SIGMA, threshold_sigma_positive=THRESHOLD_SIGMA_POSITIVE
    )
    traces, size = simulation.traces_uv, detector.n_block_frames
    sigma = SigmaStream(traces.shape[1], size).feed(traces)
    frames, channels, windows = [], [], []
    for block in range(WARM_UP_BLOCKS, len(sigma) - 2):
        rows, columns = detector.candidates(traces, block * size, (block + 1) * size, sigma[block])
        frames.append(rows)
        channels.append(columns)
        windows.append(detector.windows(traces, rows, columns, sigma[block]).T.astype(np.float16))
    places, electrodes = np.concatenate(frames), np.concatenate(channels)
    signs = np.sign(traces[places, electrodes]).astype(np.int64)
    tolerance = round(TOLERANCE_MS * sampling_frequency / 1000)
    return Candidates(np.concatenate(windows), *_label(simulation, places, electrodes, signs, tolerance))


def _label(
    simulation: Simulation, frames: IntArray, channels: IntArray, signs: IntArray, tolerance: int
) -> tuple[FloatArray, FloatArray]:
    """Label and weigh the candidate of its sign nearest to each true spike; of several spikes the largest counts."""
    span = len(simulation.traces_uv) + 2 * tolerance + 1
    keys = channels * span + frames
    order = np.argsort(keys)
    nearest = np.full(len(simulation.frames), -1, dtype=np.int64)
    find_nearest(keys[order], signs[order], simulation.channels * span + simulation.frames, simulation.signs,
                 tolerance, nearest)  # fmt: skip
    labels, weights = np.zeros(len(frames), dtype=np.float32), np.ones(len(frames), dtype=np.float32)
    for spike in np.argsort(simulation.snrs):
        if nearest[spike] >= 0:
            at, snr = order[nearest[spike]], simulation.snrs[spike]
            labels[at] = snr >= CERTAIN_SNR
            weights[at] = snr >= CERTAIN_SNR or snr < DOUBTFUL_SNR
    return labels, weights


@compiled
def find_nearest(
    keys: IntArray, signs: IntArray, true_keys: IntArray, true_signs: IntArray, tolerance: int, nearest: IntArray
) -> None:
    """Write for each true spike the index of the nearest of the ascending `keys` within `tolerance`, of its sign."""
    for spike in range(true_keys.size):
        best = tolerance + 1
        at = np.searchsorted(keys, true_keys[spike] - tolerance)
        while at < keys.size and keys[at] <= true_keys[spike] + tolerance:
            distance = abs(keys[at] - true_keys[spike])
            if signs[at] == true_signs[spike] and distance < best:
                best, nearest[spike] = distance, at
            at += 1
