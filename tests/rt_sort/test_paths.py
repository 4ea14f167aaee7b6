"""Paths of units from examples: what noise cannot make, how often a template is replaced, and what it looks like."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.learning import paths
from spikelab.spike_sorting.rt_sort.learning.paths import (
    Course,
    Examples,
    bins_of,
    course_of,
    find_paths,
    joined_steps,
    n_bins,
    noise_edge,
    path_of,
    weigh_size,
)
from spikelab.spike_sorting.rt_sort.parameters import resolve
from spikelab.spike_sorting.rt_sort.whitening import Noise

FS, N_FRAMES, N_CHANNELS, SECONDS = 20_000.0, 51, 6, 60
DURATION = round(SECONDS * FS)
NOISE = Noise(
    np.full(N_CHANNELS + 2, 2.0, np.float32), np.eye(N_CHANNELS + 2, dtype=np.float32), np.array([1, 0], np.float32)
)
T = np.arange(N_FRAMES) - 20
SPIKE = -np.exp(-((T / 3) ** 2)) + 0.3 * np.exp(-(((T - 8) / 5) ** 2))
# The time courses that features are made of: a spike's, its slope and its tail, without a common part.
COMPONENTS = np.linalg.qr(np.stack([SPIKE, np.gradient(SPIKE), np.exp(-(((T - 8) / 5) ** 2))]).T)[0].T.astype(
    np.float32
)


def footprint(place: np.ndarray, size: float = 20.0) -> np.ndarray:
    """Sizes in microvolts on electrodes in a row for neurons at some places, in electrodes: (places, channels)."""
    return size * np.exp(-((np.arange(N_CHANNELS) - np.asarray(place)[:, None]) ** 2) / 2)


def examples_of(place: np.ndarray, size: np.ndarray | float = 1.0, seed: int = 0) -> Examples:
    """Spikes at random times of a neuron whose place is given for each, in the order of time."""
    rng = np.random.default_rng(seed)
    frames = np.sort(rng.integers(0, DURATION, len(place)))
    sizes = footprint(place) * np.broadcast_to(size, len(place))[:, None]
    windows = sizes[:, :, None] * SPIKE + rng.normal(0, 2, (len(place), N_CHANNELS, N_FRAMES))
    return Examples(windows.astype(np.float32), frames, np.arange(N_CHANNELS))


def course(examples: Examples) -> Course | None:
    features = examples.features(NOISE, COMPONENTS, 0)
    return course_of(examples, features, bins_of(examples.frames, DURATION, n_bins(SECONDS)), 20.0, 0.2)


def test_a_recording_has_a_bin_in_two_seconds_and_no_more_than_32() -> None:
    assert [n_bins(seconds) for seconds in (0.1, 2, 5.9, 20, 64, 3600)] == [1, 1, 2, 10, 32, 32]


def test_bins_with_few_examples_are_joined() -> None:
    frames = np.repeat([5, 15, 25, 35, 95], [4, 3, 1, 9, 2])
    assert bins_of(frames, 100, 10).tolist() == np.repeat([0, 1, 2, 2], [4, 4, 9, 2]).tolist()
    assert bins_of(frames[:3], 100, 10).tolist() == [0, 0, 0]
    assert bins_of(frames[:0], 100, 10).tolist() == []
    assert bins_of(np.array([99] * 4), 100, 10).tolist() == [0] * 4


def test_a_unit_stands_still_where_only_noise_changes() -> None:
    for seed in range(20):
        assert course(examples_of(np.full(200, 2.3), seed=seed)) is None
    assert course(examples_of(np.linspace(1, 4, 8))) is None  # too few to tell


def test_spikes_that_differ_in_size_within_a_short_time_do_not_move() -> None:
    """Every third is half as large, as in a burst; so it is at any time."""
    for seed in range(10):
        sizes = np.tile([1.0, 0.75, 0.5], 80)
        assert course(examples_of(np.full(240, 2.0), sizes, seed=seed)) is None


def test_a_step_is_one_change_at_its_time() -> None:
    place = np.repeat([2.0, 3.0], [90, 110])
    examples = examples_of(place)
    found = course(examples)
    assert found is not None
    assert len(found.starts) == 2
    assert abs(found.starts[1] - examples.frames[90]) < 2 * paths.BIN_S * FS
    assert found.places.shape[1] in (1, 2)


def test_a_drift_is_a_staircase_in_the_order_of_time() -> None:
    place = np.linspace(1.5, 3.5, 300)
    examples = examples_of(place)
    found = course(examples)
    assert found is not None
    assert len(found.starts) > 5
    assert (np.diff(found.starts) > 0).all()
    along = found.places[:, 0] * np.sign(found.places[-1, 0])
    assert (np.diff(along) > 0).all()
    mean = np.zeros((N_FRAMES, N_CHANNELS + 2), np.float32)
    mean[:, :N_CHANNELS] = examples.windows.mean(axis=0).T
    ends = np.append(found.starts[1:], DURATION)
    for (start, (channels, waveform)), end in zip(path_of(mean, 300, examples, found, NOISE), ends, strict=True):
        here = place[(examples.frames >= start) & (examples.frames < end)]
        true = np.zeros((N_CHANNELS + 2, N_FRAMES))
        true[:N_CHANNELS] = footprint([here.mean()])[0][:, None] * SPIKE
        made = np.zeros_like(true)
        made[channels] = waveform
        whitened = np.sum((made - true) ** 2) / 4
        assert whitened < 0.03 * np.sum(true**2) / 4


def test_a_change_of_size_is_followed_in_steps_of_what_a_template_allows() -> None:
    sizes = np.linspace(1, 2, 300)
    found = course(examples_of(np.full(300, 2.5), sizes))
    assert found is not None
    assert 3 <= len(found.starts) <= 8  # from 1 to 2 in steps of a fifth of the mean
    assert found.places.shape[1] == 1


def test_size_counts_by_the_spread_that_templates_allow_for() -> None:
    places = np.array([[0.0, 0], [3, 0], [0, 4]])
    np.testing.assert_array_equal(weigh_size(places, np.zeros(2), 0.25), places)
    np.testing.assert_allclose(weigh_size(places, np.array([1.0, 0]), 0.25), [[0, 0], [1.5, 0], [0, 4]])
    # A direction that is half along the mean: 1 + (0.25 - 1) * 0.5 of the squared distance.
    half = weigh_size(places, np.array([np.sqrt(0.5), 0]), 0.25)
    np.testing.assert_allclose(half, [[0, 0], [3 * np.sqrt(0.625), 0], [0, 4]])


def test_steps_are_joined_up_to_a_distance() -> None:
    places, counts = np.array([[0.0], [1], [10], [10.5], [12.2]]), np.array([1.0, 3, 1, 1, 1])
    assert joined_steps(places, counts, 0.1).tolist() == [0, 1, 2, 3, 4]
    assert joined_steps(places, counts, 1.5).tolist() == [0, 0, 1, 1, 2]
    assert joined_steps(places, counts, 4.0).tolist() == [0, 0, 1, 1, 1]
    assert joined_steps(places, counts, 110.0).tolist() == [0] * 5
    assert joined_steps(places, counts, 100.0).tolist() == [0, 0, 1, 1, 1]  # means of 0.75 and 10.9
    assert places.tolist() == [[0], [1], [10], [10.5], [12.2]]


def test_noise_reaches_the_edge_seldom() -> None:
    rng = np.random.default_rng(1)
    bins = np.repeat(np.arange(20), 10)
    averaging = np.zeros((20, 200))
    averaging[bins, np.arange(200)] = 1 / np.sqrt(10)
    above = 0
    for _ in range(40):
        features = rng.normal(size=(200, 30))
        largest = np.linalg.norm(averaging @ (features - features.mean(axis=0)), 2)
        edge = noise_edge(features, averaging)
        above += largest > edge
        # A slow change leaves the edge where it is.
        moving = features + np.linspace(0, 20, 200)[:, None]
        assert noise_edge(moving, averaging) == pytest.approx(edge, rel=0.05)
    assert above <= 2


def test_examples_are_put_in_order_and_channels_that_are_none_left_out() -> None:
    windows = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    made = Examples.of(windows, np.array([30, 10, 20]), np.array([4, -1]))
    assert made.frames.tolist() == [10, 20, 30]
    assert made.windows.tolist() == windows[[1, 2, 0]][:, :1].tolist()
    assert made.channels.tolist() == [4]


def test_features_are_in_units_of_the_noise() -> None:
    features = examples_of(np.full(2000, 50.0)).features(NOISE, COMPONENTS, 0)  # far from all electrodes
    assert features.shape == (2000, N_CHANNELS * len(COMPONENTS))
    np.testing.assert_allclose(features.std(axis=0), 1 / np.sqrt(1.02), atol=0.05)  # a ridge of 0.02


def test_paths_are_those_of_the_units_that_are_left() -> None:
    still, moved = examples_of(np.full(200, 2.0)), examples_of(np.repeat([2.0, 3.0], 100))
    channels = np.append(np.arange(N_CHANNELS), -1)
    shuffled = np.random.default_rng(0).permutation(200)
    pad = np.zeros((200, 1, N_FRAMES), np.float32)
    means = np.zeros((3, N_FRAMES, N_CHANNELS + 2), np.float32)
    means[:, :, :N_CHANNELS] = [one.windows.mean(axis=0).T for one in (still, still, moved)]
    units = SimpleNamespace(
        noise=NOISE, components=COMPONENTS, origin=0, sampling_frequency=FS,
        examples=[np.concatenate([one.windows, pad], axis=1)[shuffled] for one in (still, still, moved)],
        example_frames=[one.frames[shuffled] for one in (still, still, moved)],
        channels=[channels] * 3, means=means, counts=[200.0] * 3,
    )  # fmt: skip
    found = find_paths(units, np.array([1, 2]), DURATION, resolve("mea"))  # type: ignore[arg-type]
    assert set(found.templates.tolist()) == {0, 1}
    assert found.n_each[0] == 1
    assert found.n_each[1] in (2, 3)  # the step may fall into a bin
    assert found.starts[:2].tolist() == [0, 0]
    sizes = [np.abs(waveform).max(axis=1) for _, waveform in found.waveforms]
    places = [np.average(own, weights=size**2) for (own, _), size in zip(found.waveforms, sizes, strict=True)]
    assert places[0] == pytest.approx(2, abs=0.1)
    assert places[-1] - places[1] == pytest.approx(1, abs=0.15)
    nobody = find_paths(units, np.array([], dtype=int), DURATION, resolve("mea"))  # type: ignore[arg-type]
    assert nobody.n_templates == 0
