"""Groups of events of one root: which events are looked at, what describes them, and which look alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small import peaks_of, traces_of
from spikelab.spike_sorting.rt_sort import traces as reading
from spikelab.spike_sorting.rt_sort.learning import clustering
from spikelab.spike_sorting.rt_sort.learning.clustering import (
    choose_events,
    event_features,
    events_by_chunk,
    feature_window,
    group_events,
    reduce,
    resample,
    temporal_components,
    windows_of,
)
from spikelab.spike_sorting.rt_sort.parameters import resolve
from spikelab.spike_sorting.rt_sort.whitening import Noise


def white_noise(*sigma: float) -> Noise:
    return Noise(np.array(sigma, dtype=np.float32), np.eye(len(sigma), dtype=np.float32), np.ones(1, dtype=np.float32))


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Traces are read 25 frames at a time."""
    monkeypatch.setattr(reading, "frames_at_a_time", lambda n_channels: 25)
    return 25


# Which events are looked at


def events_on(*counts: int) -> np.ndarray:
    """So many events on electrode 0, 1..., mixed."""
    channels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return peaks_of([(10 * k, int(channel)) for k, channel in enumerate(channels)])


@pytest.mark.parametrize(
    ("most", "left"),
    [(45, [10, 30, 5]), (44, [10, 29, 5]), (25, [10, 10, 5]), (24, [9, 9, 5]), (17, [6, 6, 5]), (15, [5, 5, 5])],
)
def test_busy_roots_are_capped_at_the_largest_number_that_fits(most: int, left: list[int]) -> None:
    chosen = choose_events(events_on(10, 30, 5), most, seed=0)
    assert np.bincount(chosen["channel"], minlength=3).tolist() == left
    assert np.all(np.diff(chosen["frame"]) > 0)


def test_all_events_stay_where_there_are_no_more_than_wanted() -> None:
    events = events_on(10, 30, 5)
    assert choose_events(events, 45, seed=0) is events


def test_at_least_one_event_of_each_root_stays() -> None:
    assert np.bincount(choose_events(events_on(10, 30, 5), 2, seed=0)["channel"]).tolist() == [1, 1, 1]


def test_which_events_stay_depends_on_the_seed_only_and_is_no_stretch() -> None:
    first, again, other = (choose_events(events_on(100), 50, seed)["frame"] for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()
    assert 350 < first.mean() < 650
    assert np.diff(first).max() > 10


# Windows


def test_windows_of_features_are_in_milliseconds() -> None:
    assert feature_window(10_000.0) == (7, 10)
    assert feature_window(30_000.0) == (21, 30)
    assert feature_window(12_500.0) == (9, 12)
    assert feature_window(15_800.0) == (11, 16)


def test_windows_are_the_traces_around_the_peaks(short_chunks: int) -> None:
    values = np.arange(200.0).reshape(100, 2)
    events = peaks_of([(3, 0), (24, 1), (25, 1), (80, 0), (95, 0)])
    channels = np.array([[0, 1], [1, 0], [1, -1], [0, 1], [-1, 0]])
    windows = windows_of(traces_of(values), events, channels, 3, 4)
    assert windows.shape == (5, 2, 8)
    for window, event, row in zip(windows, events, channels, strict=True):
        expected = [values[event["frame"] - 3 : event["frame"] + 5, c] if c >= 0 else np.zeros(8) for c in row]
        np.testing.assert_array_equal(window, expected)


def test_chunks_without_events_are_not_read_and_no_event_is_in_two(short_chunks: int) -> None:
    traces = traces_of(np.arange(110.0)[:, None])
    frames = np.array([10, 24, 25, 80, 99, 100, 105])
    seen, n_chunks = [], 0
    for rows, chunk, places in events_by_chunk(traces, frames, 4, 4):
        np.testing.assert_array_equal(chunk[places, 0], frames[rows])
        assert places.min() >= 4
        assert len(chunk) - places.max() > 4
        assert len(chunk) <= 25 + 8
        seen += list(range(rows.start, rows.stop))
        n_chunks += 1
    assert seen == list(range(7))
    assert n_chunks == 4  # frames 50 to 75 hold none


# What describes them


def test_temporal_components_are_the_shapes_that_events_are_made_of() -> None:
    """Two shapes in other mixtures on electrodes whose noise differs: they span the components."""
    rng = np.random.default_rng(0)
    shapes = np.linalg.qr(rng.normal(size=(18, 2)))[0].T
    values, events = np.zeros((2000, 2)), peaks_of([(20 + 40 * k, k % 2) for k in range(40)])
    for event, sizes in zip(events, rng.normal(size=(40, 2)) * [30, 3], strict=True):
        at = event["frame"]
        values[at - 7 : at + 11, event["channel"]] += sizes @ shapes
    components = temporal_components(traces_of(values), events, white_noise(1.0, 2.0), seed=0)
    assert components.shape == (5, 18)
    assert components.dtype == np.float32
    np.testing.assert_allclose(components @ components.T, np.eye(5), atol=1e-5)
    np.testing.assert_allclose(np.abs(components[0] @ shapes[0]), 1, atol=0.01)
    np.testing.assert_allclose((components[:2] @ shapes.T) @ (components[:2] @ shapes.T).T, np.eye(2), atol=1e-4)


def test_events_count_in_units_of_the_noise_of_their_electrode() -> None:
    values = np.zeros((400, 2))
    values[50:60, 0], values[150:160, 1] = 10, np.linspace(-20, 20, 10)
    components = temporal_components(traces_of(values), peaks_of([(55, 0), (155, 1)]), white_noise(1.0, 100.0), seed=0)
    assert components.shape == (2, 18)
    first = np.zeros(18)
    first[2:12] = 1 / np.sqrt(10)  # without the noise it would be the second
    np.testing.assert_allclose(np.abs(components[0]), first, atol=1e-5)


def test_components_come_from_some_of_many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "N_FOR_COMPONENTS", 3)
    values = np.random.default_rng(0).normal(size=(400, 1))
    assert temporal_components(
        traces_of(values), peaks_of([(k, 0) for k in range(20, 380, 20)]), white_noise(1.0), 0
    ).shape == (3, 18)


def keys_kernel(t: np.ndarray) -> np.ndarray:
    """Cubic convolution of Keys (1981), a = -1/2."""
    t = np.abs(t)
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


@given(st.lists(st.floats(-0.99, 0.99), min_size=1, max_size=5))
@settings(max_examples=25)
def test_resampling_is_cubic_convolution(shifts: list[float]) -> None:
    windows = np.random.default_rng(0).normal(size=(len(shifts), 2, 12)).astype(np.float32)
    found = resample(windows, np.array(shifts, dtype=np.float32))
    assert found.shape == (len(shifts), 2, 8)
    for k, shift in enumerate(shifts):
        weights = keys_kernel(np.arange(2, 10)[:, None] + shift - np.arange(12))
        np.testing.assert_allclose(found[k], windows[k] @ weights.T, atol=1e-5)


def test_resampling_keeps_a_parabola() -> None:
    t = np.arange(12.0)
    for shift in (-0.5, -0.25, 0.0, 0.5):
        found = resample(np.tile(t**2, (1, 1, 1)).astype(np.float32), np.array([shift], dtype=np.float32))
        np.testing.assert_allclose(found[0, 0], (t[2:-2] + shift) ** 2, rtol=1e-5)


def test_features_are_whitened_waveforms_along_the_components(short_chunks: int) -> None:
    """The slow way, event by event, on five electrodes in a row, the last one out of reach."""
    rng = np.random.default_rng(1)
    locations = np.array([[0.0, 0], [40, 0], [60, 0], [100, 0], [500, 0]])
    traces = traces_of(rng.normal(size=(120, 5)) * 10, locations=locations)
    sigma = np.array([1.0, 2, 3, 4, 5], dtype=np.float32)
    distances = np.abs(locations[:, :1] - locations[:, 0])
    noise = Noise(sigma, np.exp(-distances / 50).astype(np.float32), np.ones(1, dtype=np.float32))
    components = np.linalg.qr(rng.normal(size=(18, 3)))[0].T.astype(np.float32)
    events = peaks_of(
        [(12, 0, 0, 0, 0.3), (24, 1, 0, 0, -0.4), (60, 4, 0, 0, 0.0), (61, 3, 0, 0, 0.5), (100, 0, 0, 0, -0.1)]
    )
    features, near = event_features(traces, events, noise, components)
    assert near[0].tolist() == [0, 1, 2, -1]
    assert near[1].tolist() == [1, 2, 0, 3]  # of equals the lower electrode first; 60 um still count
    assert features.shape == (5, 4, 3)
    for feature, event in zip(features, events, strict=True):
        root, at = event["channel"], event["frame"]
        channels = near[root][near[root] >= 0]
        windows = traces.read(at - 9, at + 13)[:, channels].T[None]
        waveforms = resample(windows, event["shift"][None])[0] / sigma[channels][:, None]
        np.testing.assert_allclose(
            feature[: len(channels)], noise.whitening(channels) @ waveforms @ components.T, atol=1e-3
        )
        assert not feature[len(channels) :].any()


# Which look alike


def grouped(
    channels: list[int], values: np.ndarray, branches: list[int] | None = None, min_coc_n: int = 3
) -> list[int]:
    """Group labels of events whose features are two numbers on one electrode."""
    events = peaks_of([(10 * k, channel) for k, channel in enumerate(channels)])
    chosen = np.zeros(len(channels), dtype=np.int64) if branches is None else np.array(branches)
    features = np.asarray(values, dtype=np.float32).reshape(len(channels), 1, -1)
    return group_events(events, features, chosen, resolve("mea", {"min_coc_n": min_coc_n}), seed=0).tolist()


def test_groups_are_of_one_root_and_large_enough() -> None:
    assert grouped([1, 0, 1, 0, 1, 2, 2, 0], np.zeros((8, 2))) == [1, 0, 1, 0, 1, -1, -1, 0]
    assert grouped([0, 0, 1], np.zeros((3, 2)), min_coc_n=0) == [0, 0, -1]  # two at least, whatever is asked for


def test_groups_are_of_one_branch_and_events_without_a_branch_of_none() -> None:
    assert grouped([0] * 8, np.zeros((8, 2)), [1, 0, 0, 1, -1, -1, 0, 1]) == [1, 0, 0, 1, -1, -1, 0, 1]
    assert grouped([0] * 4, np.zeros((4, 2)), [-1] * 4) == [-1] * 4
    assert grouped([0] * 5, np.zeros((5, 2)), [0, 1, 1, 0, 1]) == [-1, 0, 0, -1, 0]  # the first is too small


def test_features_look_at_electrodes_within_60_um() -> None:
    locations = np.array([[0.0, 0], [60, 0], [61, 0], [200, 0]])
    components = np.zeros((1, 18), dtype=np.float32)
    events, noise = peaks_of([(50, 0)]), white_noise(1.0, 1.0, 1.0, 1.0)
    _, near = event_features(traces_of(np.zeros((100, 4)), locations=locations), events, noise, components)
    assert near.tolist() == [[0, 1, -1], [1, 2, 0], [2, 1, -1], [3, -1, -1]]


def two_clouds(n: int) -> np.ndarray:
    """Two tight clouds in turns."""
    return np.random.default_rng(0).normal(size=(n, 2)) + 100.0 * (np.arange(n) % 2)[:, None]


def test_enough_events_of_one_root_are_split_by_their_features() -> None:
    labels = np.array(grouped([0] * 120 + [5] * 3, np.concatenate([two_clouds(120), np.zeros((3, 2))])))
    assert len(set(labels[:120:2])) == len(set(labels[1:120:2])) == 1
    assert sorted({labels[0], labels[1]}) == [0, 1]
    assert labels[120:].tolist() == [2, 2, 2]


def test_few_events_are_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        clustering, "split", lambda points, seed: asked.append(points.shape) or np.arange(len(points)) % 2
    )
    assert grouped([0] * 11, two_clouds(11)) == [0] * 11
    assert asked == []
    assert grouped([0] * 12, two_clouds(12), min_coc_n=6) == [0, 1] * 6
    assert asked == [(12, 2)]


def test_parts_that_are_too_small_are_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "split", lambda points, seed: np.repeat([0, 1, 2], [26, 2, 3])[: len(points)])
    assert grouped([0] * 31, np.zeros((31, 2))) == [0] * 26 + [-1] * 2 + [1] * 3


def test_principal_components_are_those_of_the_largest_variance() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(60, 4)) * [1, 10, 3, 0.1] + 7).astype(np.float32)
    found = reduce(features, 2)
    left, values, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    assert found.flags.c_contiguous
    np.testing.assert_allclose(np.abs(found), np.abs(left * values)[:, :2], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("n", "kept"), [(2, 1), (5, 1), (8, 2), (9, 3), (60, 4)])
def test_few_points_have_few_components(n: int, kept: int) -> None:
    assert reduce(np.random.default_rng(0).normal(size=(n, 6)), 4).shape == (n, kept)
