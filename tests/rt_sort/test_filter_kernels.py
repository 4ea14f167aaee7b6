"""The loops of the stream's filter against scipy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import sosfilt

from spikelab.spike_sorting.filters._stream_kernels import FADE_EVERY, TILE, run_sections, weigh_ahead

POLES = np.array([[-1.6, 0.7], [-0.5, 0.3]])


def sections(traces: np.ndarray, cuts: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """What comes out of the sections for frames that come in pieces, and their state at the end."""
    n_frames, n_channels = traces.shape
    first, scale = traces[0].copy(), np.linspace(0.5, 2, n_channels)
    state, filtered = np.zeros((4, n_channels)), np.empty_like(traces)
    bounds = [0, *cuts, n_frames]
    for start, end in pairwise(bounds):
        run_sections(traces[start:end], first, scale, POLES, state, start, filtered[start:end])
    return filtered, state


@pytest.mark.parametrize("n_channels", [1, TILE, TILE + 2])
def test_sections_are_those_of_scipy(n_channels: int) -> None:
    traces = np.random.default_rng(0).normal(100, 5, (12, n_channels)).astype(np.float32)
    sos = [[1, 0, -1, 1, a1, a2] for a1, a2 in POLES]
    rest = (traces - traces[0]) * np.linspace(0.5, 2, n_channels)
    np.testing.assert_allclose(sections(traces)[0], sosfilt(sos, rest, axis=0), rtol=1e-4, atol=1e-4)


def test_pieces_give_the_same_bytes() -> None:
    traces = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    whole, state = sections(traces)
    pieces, state_of_pieces = sections(traces, (1, 7, 33))
    np.testing.assert_array_equal(whole, pieces)
    np.testing.assert_array_equal(state, state_of_pieces)


def faded(n_before: int, value: float) -> float:
    state = np.full((4, 1), value)
    still = np.zeros((1, 1), dtype=np.float32)
    run_sections(still, still[0], np.zeros(1), np.zeros((2, 2)), state, n_before, still.copy())
    return float(np.abs(state).max())


def test_what_fades_after_silence_is_taken_for_nothing_now_and_then() -> None:
    assert faded(FADE_EVERY, 1e-31) == faded(0, -1e-31) == 0
    assert faded(1, 1e-31) > 0
    assert faded(FADE_EVERY - 1, 1e-31) > 0
    assert faded(FADE_EVERY, 1e-29) > 0
    assert faded(FADE_EVERY, -1e-29) > 0


@pytest.mark.parametrize("n_channels", [1, TILE, TILE + 2])
@pytest.mark.parametrize("n_taps", [1, 3, 4, 6, 9])
def test_weighing_ahead_is_a_correlation(n_taps: int, n_channels: int) -> None:
    rng = np.random.default_rng(n_taps)
    filtered, taps = rng.normal(size=(5 + n_taps, n_channels)).astype(np.float32), rng.normal(size=n_taps)
    results = np.full((6, n_channels), np.nan, dtype=np.float32)
    weigh_ahead(filtered, taps.astype(np.float32), results)
    expected = [taps @ filtered[frame : frame + n_taps] for frame in range(6)]
    np.testing.assert_allclose(results, expected, rtol=1e-4, atol=1e-5)
