"""Noise in blocks: exact medians, no look ahead, any chunk size."""

from __future__ import annotations

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.detection import noise


@pytest.fixture(scope="module")
def traces() -> np.ndarray:
    rng = np.random.default_rng(0)
    scale = np.exp(rng.uniform(0, 3, 70))
    return (rng.normal(0, 1, (12_345, 70)) * scale).astype(np.float32)


def slow_track(sigmas: np.ndarray) -> np.ndarray:
    """Median over up to nine blocks before each, infinite in the first."""
    past = [sigmas[max(0, block - 9) : block] for block in range(1, len(sigmas) + 1)]
    first = np.full((1, sigmas.shape[1]), np.inf, dtype=np.float32)
    return np.concatenate([first, *(np.sort(part, axis=0)[len(part) // 2][None] for part in past)])


def track(traces: np.ndarray) -> np.ndarray:
    return noise.SigmaStream(traces.shape[1], 1000).feed(traces)


def test_medians_are_exact(traces: np.ndarray) -> None:
    for n_frames in (1, 2, 3, 4, 501):
        found = np.empty(traces.shape[1], dtype=np.float32)
        noise.median_bits(traces[:n_frames].view(np.int32), found.view(np.int32))
        np.testing.assert_allclose(found, np.sort(np.abs(traces[:n_frames]), axis=0)[n_frames // 2], rtol=3e-4)


def test_sigma_of_white_noise(traces: np.ndarray) -> None:
    sigma = track(traces)
    assert sigma.shape == (13, 70)
    np.testing.assert_allclose(sigma[-1] / traces.std(axis=0), 1, atol=0.1)


def test_nothing_is_known_in_the_first_block_nor_of_the_future(traces: np.ndarray) -> None:
    sigma = track(traces)
    assert np.isinf(sigma[0]).all()
    changed = traces.copy()
    changed[5000:] *= 10
    other = track(changed)
    np.testing.assert_array_equal(other[:6], sigma[:6])
    assert (other[-1] > sigma[-1]).all()


def test_a_burst_of_artefacts_does_not_raise_it(traces: np.ndarray) -> None:
    changed = traces.copy()
    changed[4000:5000] *= 50
    sigma = track(changed)
    np.testing.assert_allclose(sigma[8] / traces.std(axis=0), 1, atol=0.2)


def test_silence_has_the_smallest_sigma() -> None:
    assert (noise.block_sigmas(np.zeros((100, 3), dtype=np.float32), 50) == noise.SMALLEST_SIGMA).all()


@pytest.mark.parametrize("size", [1, 7, 100, 1000, 5000])
def test_a_stream_computes_the_same(traces: np.ndarray, size: int) -> None:
    rate = 19_753.77
    expected = slow_track(noise.block_sigmas(traces, noise.block_frames(rate)))
    stream = noise.SigmaStream(traces.shape[1], noise.block_frames(rate))
    rows = [stream.feed(traces[i : i + size]) for i in range(0, len(traces), size)]
    np.testing.assert_array_equal(np.concatenate(rows), expected)
