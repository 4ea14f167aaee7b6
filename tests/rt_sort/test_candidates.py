"""Which frames are worth a look: the loops against a slow way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting.rt_sort.detection._candidates import (
    TILE,
    find_extremes,
    gather,
    is_lone_maximum,
    is_minimum,
)


def found(
    traces: np.ndarray, lowest: float, highest: float, first: int, last: int, radius: int, reach: int, room: int = 100
) -> list[tuple[int, int]]:
    """(frame, channel) of what is found."""
    values = np.asarray(traces, dtype=np.float32)
    frames, channels = np.full(room, -1), np.full(room, -1)
    limits = [np.full(values.shape[1], limit, dtype=np.float32) for limit in (lowest, highest)]
    n = find_extremes(values, *limits, (first, last), radius, reach, frames, channels)
    assert np.all(frames[n:] == -1)
    return list(zip(frames[:n].tolist(), channels[:n].tolist(), strict=False)) + [(-1, -1)] * max(0, n - room)


def slow(
    traces: np.ndarray, lowest: float, highest: float, first: int, last: int, radius: int, reach: int
) -> list[tuple[int, int]]:
    """Look at every value on its own."""
    places = []
    for frame in range(first, last):
        for channel in range(traces.shape[1]):
            value, column = traces[frame, channel], traces[:, channel]
            before, after = column[frame - radius : frame], column[frame + 1 : frame + radius + 1]
            trough = value <= lowest and before.min() > value and after.min() >= value
            crest = value >= highest and before.max() < value and after.max() <= value
            lone = column[frame - reach : frame + reach + 1].min() >= -value
            if trough or (crest and lone):
                places.append((frame, channel))
    return places


@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 4), st.sampled_from([2, TILE, TILE + 1, 2 * TILE + 3]))
@settings(max_examples=20)
def test_extremes_are_those_of_the_slow_way(seed: int, radius: int, reach: int, n_channels: int) -> None:
    traces = np.random.default_rng(seed).integers(-4, 5, (14, n_channels)).astype(np.float32)
    arguments = (-2.0, 3.0, 4, 10, radius, reach)
    expected = slow(traces, *arguments)
    assert found(traces, *arguments, room=len(expected) + 5) == expected


def test_what_has_no_room_is_counted() -> None:
    traces = np.zeros((5, 6))
    traces[2] = -3
    assert found(traces, -2, 9, 1, 4, 1, 1, room=2) == [(2, 0), (2, 1)] + [(-1, -1)] * 4
    assert found(traces, -2, 9, 1, 4, 1, 1, room=6) == [(2, k) for k in range(6)]


def test_limits_are_those_of_each_channel_and_count_themselves() -> None:
    traces = np.zeros((5, 3), dtype=np.float32)
    traces[2] = [-3, -3, 4]
    frames, channels = np.zeros(5, dtype=int), np.zeros(5, dtype=int)
    lowest, highest = np.array([-3, -3.5, -9], dtype=np.float32), np.array([9, 9, 4], dtype=np.float32)
    assert find_extremes(traces, lowest, highest, (1, 4), 1, 1, frames, channels) == 2
    assert (frames[:2].tolist(), channels[:2].tolist()) == ([2, 2], [0, 2])


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


@pytest.mark.parametrize(
    ("values", "radius", "expected"),
    [
        ((0, 0, -5, 0, 0), 2, True),
        ((0, 0, -5, -5, 0), 2, True),  # the earliest of equals
        ((0, -5, -5, 0, 0), 2, False),
        ((-6, 0, -5, 0, 0), 1, True),  # beyond the radius
        ((-6, 0, -5, 0, 0), 2, False),
        ((0, 0, -5, 0, -6), 1, True),
        ((0, 0, -5, 0, -6), 2, False),
    ],
)
def test_minima(values: tuple[float, ...], radius: int, expected: bool) -> None:
    assert is_minimum(column(*values), 2, 0, radius) == expected
    assert is_lone_maximum(-column(*values), 2, 0, radius, 0) == expected


@pytest.mark.parametrize(("reach", "expected"), [(2, True), (3, False)])
@pytest.mark.parametrize("side", [-3, 3])
def test_a_crest_beside_a_deeper_trough_is_none(reach: int, expected: bool, side: int) -> None:
    traces = np.zeros((9, 1), dtype=np.float32)
    traces[4], traces[4 + side] = 5, -5.5
    assert is_lone_maximum(traces, 4, 0, 1, reach) == expected
    traces[4 + side] = -5
    assert is_lone_maximum(traces, 4, 0, 1, reach)  # as deep as it is high


def test_windows_are_weighted_sums_times_the_scale() -> None:
    traces = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    frames, channels, scale = np.array([5, 9]), np.array([2, 0]), np.array([2.0, -0.5], dtype=np.float32)
    offsets, taps = np.array([-3, 0, 4]), np.array([[1, 2], [0, 1], [-1, 0.5]], dtype=np.float32)
    windows = np.zeros((3, 2), dtype=np.float32)
    gather(traces, frames, channels, scale, offsets, taps, windows)
    for s in range(3):
        for c in range(2):
            at = frames[c] + offsets[s]
            expected = scale[c] * (taps[s] @ traces[at : at + 2, channels[c]])
            assert windows[s, c] == pytest.approx(expected, rel=1e-5)
