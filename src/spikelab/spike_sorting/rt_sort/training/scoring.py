"""Score detection on held-out recordings: the best F1 over all thresholds, for the network and other methods."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import maximum_filter1d

from spikelab.spike_sorting.rt_sort.detection.network import Network, dense_logits
from spikelab.spike_sorting.rt_sort.detection.noise import SigmaStream, block_frames
from spikelab.spike_sorting.rt_sort.detection.peaks import (
    THRESHOLD_SIGMA,
    THRESHOLD_SIGMA_POSITIVE,
    PeakDetector,
    detect_peaks,
    inference_scaling,
)
from spikelab.spike_sorting.rt_sort.training.simulation import Recipe, Simulation, draw_recipe, simulate
from spikelab.spike_sorting.rt_sort.training.windows import CERTAIN_SNR, DOUBTFUL_SNR, WARM_UP_BLOCKS
from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter
    from spikelab.spike_sorting.rt_sort.training.windows import Candidates


TOLERANCE_MS = 0.3
SCALINGS = (0.5, 0.4, 0.35, 0.3)  # of the published default, which is too large for filtered noise
MIN_PROBABILITY = 0.002
PEAK_MS = 0.2  # a dense logit is a peak if none is larger within this
END_S = 0.15
HELD_OUT = 1  # seed of these recordings, beside that of training
N_VARIED = 3
BINS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.01)
NUMERATORS = {20_000.0: 12.6, 30_000.0: 15.4}  # of the published models' input


@dataclass(frozen=True)
class Score:
    """Best F1, with recall, precision and threshold there."""

    f1: float
    recall: float
    precision: float
    threshold: float


@dataclass(frozen=True)
class HeldOut:
    """A recording that no model was trained on."""

    name: str
    sampling_frequency: float
    simulation: Simulation

    def first_channels(self, n: int) -> HeldOut:
        """Select the first `n` channels."""
        whole = self.simulation
        kept = whole.channels < n
        traces = np.ascontiguousarray(whole.traces_uv[:, :n])
        spikes = whole.frames[kept], whole.channels[kept], whole.snrs[kept], whole.signs[kept]
        return replace(self, simulation=Simulation(traces, *spikes))


def held_out(
    seed: int, nominal_hz: float, n_channels: int, duration_s: float, fixed: Mapping[str, Any] | None = None
) -> list[HeldOut]:
    """Generate plain recordings in white and coloured noise, one with many overlaps, and some of every kind."""
    rng = np.random.default_rng([seed, HELD_OUT])
    recipes = {
        "white noise": Recipe(nominal_hz, rates_hz=(20.0, 20.0)),
        "coloured noise": Recipe(nominal_hz, rates_hz=(20.0, 20.0), noise_exponent=0.5),
        "crowded": Recipe(nominal_hz),
        **{f"varied {i + 1}": draw_recipe(rng, nominal_hz) for i in range(N_VARIED)},
    }
    return [
        HeldOut(
            name, recipe.sampling_frequency, simulate(rng, replace(recipe, **(fixed or {})), n_channels, duration_s)
        )
        for name, recipe in recipes.items()
    ]


def score_detected(recording: HeldOut, model: ModelSpikeSorter, *thresholds: float) -> Score:
    """Score the model, with its usual thresholds for candidates or with others (negative, positive, in sigma)."""
    negative, positive = thresholds or (THRESHOLD_SIGMA, THRESHOLD_SIGMA_POSITIVE)
    peaks = detect_peaks(
        recording.simulation.traces_uv, model, recording.sampling_frequency, threshold_sigma=negative,
        threshold_sigma_positive=positive, min_probability=MIN_PROBABILITY,
    )  # fmt: skip
    return best_f1(recording, peaks["frame"], peaks["channel"].astype(np.int64), probability(peaks["logit"]))


def probability(logits: FloatArray) -> FloatArray:
    """Compute the logistic function."""
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def score_threshold(recording: HeldOut, model: ModelSpikeSorter, sigmas: float) -> Score:
    """Score a threshold on the size of extremes, in sigma; the model only sets the geometry of candidates."""
    fs = recording.sampling_frequency
    detector = PeakDetector(model, fs, threshold_sigma=sigmas, threshold_sigma_positive=sigmas)
    traces, size = recording.simulation.traces_uv, detector.n_block_frames
    sigma = SigmaStream(traces.shape[1], size).feed(traces)
    found = [
        detector.candidates(traces, block * size, (block + 1) * size, sigma[block])
        for block in range(WARM_UP_BLOCKS, len(sigma) - 2)
    ]
    frames, channels = (np.concatenate([part[i] for part in found]) for i in range(2))
    return best_f1(recording, frames, channels, np.full(len(frames), sigmas, dtype=np.float32))


def score_dense(recording: HeldOut, model: ModelSpikeSorter) -> Score:
    """Score a model that takes microvolts, evaluated at every frame, at its best input scaling."""
    traces = recording.simulation.traces_uv
    scaling = inference_scaling(traces[: block_frames(recording.sampling_frequency)], NUMERATORS[model.samp_freq])
    centred = (traces - np.median(traces, axis=0)).astype(np.float32)
    scores = (
        _score_logits(recording, model, centred * np.float32(model.input_scale * scaling * factor))
        for factor in SCALINGS
    )
    return max(scores, key=lambda score: score.f1)


def _score_logits(recording: HeldOut, model: ModelSpikeSorter, normalised: FloatArray) -> Score:
    logits = dense_logits(model, normalised)
    radius = round(PEAK_MS * recording.sampling_frequency / 1000)
    is_peak = (maximum_filter1d(logits, 2 * radius + 1, axis=0) == logits) & (logits > np.log(MIN_PROBABILITY))
    frames, channels = np.nonzero(is_peak)
    return best_f1(recording, frames + model.buffer_front_sample, channels, probability(logits[frames, channels]))


def best_f1(recording: HeldOut, frames: IntArray, channels: IntArray, scores: FloatArray) -> Score:
    """Match detections to true spikes; return the best score over thresholds.

    From the highest score down, each is matched to the largest true spike nearby that is free. True spikes count from
    `CERTAIN_SNR` on; matches of spikes between that and `DOUBTFUL_SNR` are not scored, of smaller ones they are false.
    """
    truth = recording.simulation
    fs = recording.sampling_frequency
    first = (WARM_UP_BLOCKS + 1) * block_frames(fs)
    last = len(truth.traces_uv) - round(END_S * fs)
    tolerance = round(TOLERANCE_MS * fs / 1000)
    span = len(truth.traces_uv) + 2 * tolerance + 1
    inside = (frames >= first) & (frames < last)
    keys, scores = (channels * span + frames)[inside], scores[inside]
    within = (truth.frames >= first) & (truth.frames < last)
    true_keys, snrs = (truth.channels * span + truth.frames)[within], truth.snrs[within]
    order = np.argsort(true_keys, kind="stable")
    descending = np.argsort(-scores, kind="stable")
    matched = np.zeros(len(keys), dtype=np.float32)
    match(keys[descending], true_keys[order], snrs[order], tolerance, matched)
    n_true = int((snrs >= CERTAIN_SNR).sum())
    hits, false = np.cumsum(matched >= CERTAIN_SNR), np.cumsum(matched < DOUBTFUL_SNR)
    if not len(keys):
        return Score(0.0, 0.0, 0.0, float("nan"))
    ends = np.flatnonzero(np.append(np.diff(scores[descending]) != 0, True))  # equal scores stand or fall together
    f1 = 2 * hits[ends] / (hits[ends] + false[ends] + n_true)
    best = ends[np.argmax(f1)]
    precision = hits[best] / max(1, hits[best] + false[best])
    return Score(float(f1.max()), float(hits[best] / n_true), float(precision), float(scores[descending][best]))


@compiled
def match(keys: IntArray, true_keys: IntArray, snrs: FloatArray, tolerance: int, matched: FloatArray) -> None:
    """Write the SNR of the true spike that each key, in order, is given; 0 for none."""
    taken = np.zeros(true_keys.size, dtype=np.bool_)
    for i in range(keys.size):
        best = -1
        at = np.searchsorted(true_keys, keys[i] - tolerance)
        while at < true_keys.size and true_keys[at] <= keys[i] + tolerance:
            if not taken[at] and (best < 0 or snrs[at] > snrs[best]):
                best = at
            at += 1
        if best >= 0:
            taken[best] = True
            matched[i] = snrs[best]


def calibration(model: ModelSpikeSorter, candidates: Candidates) -> list[tuple[str, int, float]]:
    """Bin candidates by probability: name, number and share of true ones of each bin; doubtful ones are left out."""
    certain = candidates.weights > 0
    logits = Network(model).logits(candidates.windows[certain].astype(np.float32))[:, 0]
    probabilities, labels = probability(logits), candidates.labels[certain]
    rows = []
    for low, high in pairwise(BINS):
        inside = (probabilities >= low) & (probabilities < high)
        rows.append((f"{low:g} to {high:g}", int(inside.sum()), float(labels[inside].mean()) if inside.any() else 0.0))
    return rows
