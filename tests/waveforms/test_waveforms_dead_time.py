"""Templates, noise and alignment leave dead time out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.waveforms.conftest import culture

from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.waveforms import compute_waveforms
from spikelab.spike_sorting.waveforms.noise import live_segments, noise_levels
from spikelab.spike_sorting.waveforms.windows import Window, fitting, stretches
from spikelab.spikedata._windows import noise_segments

DEAD = np.array([[10_000, 10_400], [20_000, 25_000]])


def _computed(binary, trains, config):
    return compute_waveforms(binary, trains, config, seed=3, n_jobs=1, total_memory="1G")


def test_windows_that_reach_into_dead_time_are_not_averaged(make_binary, config):
    """What lies in dead time may be anything: templates are those of the spikes outside of it."""
    counts, trains = culture(n_units=2)
    clear = replace(make_binary(counts), dead_time=DEAD)
    counts = counts.copy()
    for start, end in DEAD:
        counts[start:end] = 20_000
    loud = replace(make_binary(counts), dead_time=DEAD)
    outside = trains.outside(DEAD)
    one, other = (_computed(binary, outside, config) for binary in (clear, loud))
    np.testing.assert_array_equal(one.templates, other.templates)
    np.testing.assert_array_equal(one.noise, other.noise)
    np.testing.assert_array_equal(one.significance, other.significance)
    for spikes, reported in zip(one.spikes, outside.samples, strict=True):
        assert len(spikes) == len(reported)
        assert not ((spikes[:, None] >= DEAD[:, 0]) & (spikes[:, None] < DEAD[:, 1])).any()
    assert (one.n_averaged < [len(frames) for frames in trains.samples]).all()


def test_windows_fit_between_edges(make_binary):
    binary = replace(make_binary(np.zeros((100, 1)), (50,)), dead_time=np.array([[20, 30], [50, 55]]))
    assert [(part.start_frame, part.end_frame) for part in stretches(binary)] == [
        (0, 20), (20, 30), (30, 50), (50, 55), (55, 100)
    ]  # fmt: skip
    frames = np.arange(100)
    fits = fitting(frames, binary, Window(2, 3)).tolist()
    assert fits == [*range(2, 17), *range(32, 47), *range(57, 97)]


def test_noise_is_measured_on_live_frames(make_binary):
    counts = np.random.default_rng(0).normal(0, 50, (300_000, 2))
    quiet = noise_levels(make_binary(counts), 1)
    counts[100_000:200_000] = 0
    dead = np.array([[100_000, 200_000]])
    silent = replace(make_binary(counts), dead_time=dead)
    np.testing.assert_allclose(noise_levels(silent, 1), quiet, rtol=0.02)
    segments = live_segments(dead, 0, 300_000, 1)
    assert sum(end - start for start, end in segments) == 200_000
    assert all(end <= 100_000 or start >= 200_000 for start, end in segments)
    assert live_segments(dead[:0], 5, 300_000, 1) == [(5 + a, 5 + b) for a, b in noise_segments(299_995, 1)]


def test_spikes_in_dead_time_are_no_spikes():
    trains = SpikeTrains.from_dict({3: [5, 10_001, 30_000], 4: [10_200, 20_100], 5: []})
    trains = replace(
        trains, groups=np.array([0, 1, 2]), sorter_ids=("a", "b", "c"), measures={"moved_um": np.arange(3.0)}
    )
    outside = trains.outside(DEAD)
    assert outside.unit_ids.tolist() == [3, 5]  # all of unit 4 was made of the artefact
    assert [frames.tolist() for frames in outside.samples] == [[5, 30_000], []]
    assert (outside.groups.tolist(), outside.sorter_ids) == ([0, 2], ("a", "c"))
    assert outside.measures["moved_um"].tolist() == [0, 2]
    assert trains.outside(DEAD[:0]) is trains
