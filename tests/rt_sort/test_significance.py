"""Spikes are told from noise that was chosen for being alike."""

from __future__ import annotations

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.learning.significance import LEAST_SIGNIFICANCE, significance
from spikelab.spike_sorting.rt_sort.parameters import resolve
from spikelab.spike_sorting.rt_sort.whitening import Noise

N_CHANNELS, N_FRAMES = 8, 51
CHANNELS = np.array([2, 0, 1, 3, 4, -1])
COURSE = -np.exp(-0.5 * ((np.arange(N_FRAMES) - 20) / 3) ** 2)
SHAPE = np.outer([1, 0.6, 0.6, 0.3, 0.3, 0], COURSE).astype(np.float32)
NOISE = Noise(
    np.full(N_CHANNELS, 2, dtype=np.float32), np.eye(N_CHANNELS, dtype=np.float32), np.ones(1, dtype=np.float32)
)


def noise_of(n: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(scale=2, size=(n, len(CHANNELS), N_FRAMES)).astype(np.float32)
    values[:, CHANNELS < 0] = 0
    return values


def measured(examples: np.ndarray) -> float:
    return significance(examples, CHANNELS, NOISE, resolve("mea"))


def size_of(energy: float) -> float:
    """Size of a spike of so much energy, in squared deviations of the noise."""
    return float(2 * np.sqrt(energy / np.sum(SHAPE**2)))


@pytest.mark.parametrize("n", [12, 40])
def test_noise_that_was_chosen_for_being_alike_is_not_significant(n: int) -> None:
    """Of many pieces, those that fit a template best; then those that fit the mean of these."""
    pieces = noise_of(20_000)
    template = SHAPE
    for _ in range(2):
        fit = np.einsum("nct,ct->n", pieces, template) / np.sqrt(np.sum(template**2))
        chosen = pieces[np.argsort(-fit)[:n]]
        template = chosen.mean(axis=0)
    assert np.sum(template**2) / 4 > 15  # in squared deviations of the noise
    assert measured(chosen) < LEAST_SIGNIFICANCE


@pytest.mark.parametrize(("energy", "n"), [(60, 10), (40, 20), (30, 100)])
def test_a_few_large_spikes_and_many_small_ones_are_significant(energy: float, n: int) -> None:
    assert measured(noise_of(n) + size_of(energy) * SHAPE) > LEAST_SIGNIFICANCE


def test_significance_grows_with_spikes_and_their_size() -> None:
    few, many, large = (measured(noise_of(n) + size_of(e) * SHAPE) for n, e in ((20, 40), (80, 40), (80, 100)))
    assert few < many < large


def test_spikes_that_vary_by_a_frame_are_alike() -> None:
    examples = noise_of(40) + size_of(60) * SHAPE
    moved = examples.copy()
    moved[::3] = np.roll(moved[::3], 1, axis=2)
    assert measured(moved) > 0.7 * measured(examples)


def test_of_three_spikes_nothing_is_known() -> None:
    assert measured(noise_of(3) + size_of(1000) * SHAPE) == 0
    assert measured(noise_of(4) + size_of(1000) * SHAPE) > LEAST_SIGNIFICANCE
