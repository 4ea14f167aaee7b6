"""The median by counting bits on few values, to the bit; quick also when the loop is not compiled."""

from __future__ import annotations

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.detection.noise import (
    IGNORED_BITS,
    MAD_TO_STD,
    N_PAST,
    SMALLEST_SIGMA,
    TILE,
    SigmaStream,
    block_frames,
    block_sigmas,
    median_bits,
)


def expected_medians(traces: np.ndarray) -> np.ndarray:
    """The upper median of the sizes, the lowest bits of it replaced by half of what they may be."""
    middle = np.sort(np.abs(traces), axis=0)[len(traces) // 2]
    bits = middle.view(np.int32) >> IGNORED_BITS << IGNORED_BITS
    return (bits + (1 << (IGNORED_BITS - 1))).astype(np.int32).view(np.float32)


@pytest.mark.parametrize(("n_frames", "n_channels"), [(1, 1), (2, 3), (5, TILE), (8, TILE + 2)])
def test_medians_to_the_bit(n_frames: int, n_channels: int) -> None:
    rng = np.random.default_rng(n_frames)
    traces = (rng.normal(0, 1, (n_frames, n_channels)) * 10.0 ** rng.integers(-3, 5, n_channels)).astype(np.float32)
    found = np.full(n_channels, np.nan, dtype=np.float32)
    median_bits(traces.view(np.int32), found.view(np.int32))
    np.testing.assert_array_equal(found, expected_medians(traces))


def test_signs_and_ties_do_not_matter() -> None:
    traces = np.array([[1, -8], [-1, 8], [1, 8], [-4, -8]], dtype=np.float32)
    found = np.empty(2, dtype=np.float32)
    median_bits(traces.view(np.int32), found.view(np.int32))
    np.testing.assert_allclose(found, [1, 8], rtol=3e-4)


def test_every_second_frame_of_whole_blocks_counts() -> None:
    block = np.array([[1], [900], [3], [900], [2], [900]], dtype=np.float32)
    traces = np.concatenate([block, 10 * block, np.full((5, 1), 7, dtype=np.float32)])
    np.testing.assert_allclose(block_sigmas(traces, 6)[:, 0], [2 / MAD_TO_STD, 20 / MAD_TO_STD], rtol=3e-4)
    assert block_sigmas(np.zeros((4, 1), dtype=np.float32), 4).tolist() == [[SMALLEST_SIGMA]]


def test_the_median_of_the_nine_blocks_before_applies() -> None:
    size = SigmaStream(1, 2).feed(np.full((2, 1), 1000, dtype=np.float32))[-1, 0] / 1000
    traces = np.repeat(np.arange(1, 13, dtype=np.float32), 2)[:, None] * 1000
    past = [sorted(range(max(1, block - N_PAST + 1), block + 1)) for block in range(1, 13)]
    expected = [np.inf, *(blocks[len(blocks) // 2] for blocks in past)]
    found = SigmaStream(1, 2).feed(traces)[:, 0] / size / 1000
    np.testing.assert_allclose(found, expected, rtol=3e-4)
    assert N_PAST == 9


@pytest.mark.parametrize("size", [1, 3, 4, 50])
def test_a_stream_gains_the_same_rows(size: int) -> None:
    traces = np.random.default_rng(0).normal(0, 20, (50, 2)).astype(np.float32)
    stream = SigmaStream(2, 4)
    rows = [stream.feed(traces[first : first + size]) for first in range(0, 50, size)]
    sigmas = block_sigmas(traces, 4)
    past = [np.sort(sigmas[max(0, block - N_PAST) : block], axis=0) for block in range(1, len(sigmas) + 1)]
    track = np.array([[np.inf, np.inf], *(part[len(part) // 2] for part in past)], dtype=np.float32)
    np.testing.assert_array_equal(np.concatenate(rows), track)
    assert stream.n_frames == 50
    assert stream.feed(traces[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    ("rate", "block_ms", "expected"), [(20_000.0, 50.0, 1000), (19_753.77, 50.0, 988), (10.0, 1.0, 1)]
)
def test_frames_of_a_block(rate: float, block_ms: float, expected: int) -> None:
    assert block_frames(rate, block_ms) == expected


def test_sigma_is_the_median_size_over_0_6745() -> None:
    """Of every block; half a microvolt at least."""
    values = np.tile([[6.745, 0.01], [-6.745, -0.01]], (30, 1)).astype(np.float32)
    np.testing.assert_allclose(block_sigmas(values, 20), [[10, 0.5]] * 3, rtol=1e-3)
