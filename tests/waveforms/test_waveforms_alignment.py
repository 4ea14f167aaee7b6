from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting.data import Epoch
from spikelab.spike_sorting.waveforms import chunks
from spikelab.spike_sorting.waveforms.alignment import AlignedSpikes, MainChannels, search_windows
from spikelab.spike_sorting.waveforms.chunks import UnitPool, iterate_chunks
from spikelab.spike_sorting.waveforms.windows import Window


@dataclass
class Source:
    traces: np.ndarray
    epochs: tuple[Epoch, ...]
    sampling_frequency: float = 10_000.0  # 0.5 ms are 5 frames

    @property
    def n_samples(self) -> int:
        return len(self.traces)

    @property
    def n_channels(self) -> int:
        return self.traces.shape[1]

    def read_uv(self, start: int, end: int) -> np.ndarray:
        return self.traces[start:end]


ALONE = Window(0, 0)


def spikes_of(source: Source, trains: list[np.ndarray], channels: list[int], positive: list[bool]) -> AlignedSpikes:
    main = MainChannels(np.array(channels), np.array(positive), known=np.ones(len(trains), dtype=bool))
    return AlignedSpikes(source, trains, main)


def align_all(source: Source, spikes: AlignedSpikes, window: Window = ALONE, n_jobs: int = 1):
    n_units = len(spikes.reported)
    with UnitPool(n_jobs) as pool:
        for chunk in iterate_chunks(source, spikes, slice(0, n_units), window, ""):
            pool.run(n_units, lambda rows, chunk=chunk: spikes.align(chunk.of(rows)), chunk.n_spikes)
    return spikes.trains


def align(source: Source, trains: list[np.ndarray], channels: list[int], positive: list[bool], n_jobs: int = 1):
    return align_all(source, spikes_of(source, trains, channels, positive), n_jobs=n_jobs)


def slow_align(
    values: np.ndarray, train: list[int], epochs: tuple[Epoch, ...], positive: bool, radius: int
) -> list[int]:
    """One spike at a time, as the rule reads."""
    result = []
    for spike in train:
        (epoch,) = [e for e in epochs if e.start_frame <= spike < e.end_frame]
        others = [s for s in set(train) if s != spike and epoch.start_frame <= s < epoch.end_frame]
        best = None
        for frame in range(max(spike - radius, epoch.start_frame), min(spike + radius + 1, epoch.end_frame)):
            # A frame belongs to the nearest spike; half-way between two it belongs to the earlier one.
            if any(abs(o - frame) < abs(spike - frame) for o in others):
                continue
            if any(o < spike and abs(o - frame) == abs(spike - frame) for o in others):
                continue
            value = values[frame] if positive else -values[frame]
            if best is None or value > best[0]:
                best = (value, frame)
        assert best is not None
        result.append(best[1])
    return result


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, tuple[Epoch, ...], list[list[int]], list[int], list[bool]]:
    n_samples = draw(st.integers(1, 60))
    # few different values, so that there are ties
    flat = draw(st.lists(st.integers(-3, 3), min_size=2 * n_samples, max_size=2 * n_samples))
    cuts = sorted(draw(st.sets(st.integers(1, n_samples), max_size=3)) - {n_samples})
    edges = [0, *cuts, n_samples]
    epochs = tuple(Epoch(a, b) for a, b in pairwise(edges))
    n_units = draw(st.integers(1, 3))
    trains = [sorted(draw(st.lists(st.integers(0, n_samples - 1), max_size=12))) for _ in range(n_units)]
    channels = [draw(st.integers(0, 1)) for _ in range(n_units)]
    positive = [draw(st.booleans()) for _ in range(n_units)]
    return np.array(flat, dtype=np.float32).reshape(n_samples, 2), epochs, trains, channels, positive


@settings(deadline=None, max_examples=150)
@given(cases(), st.integers(1, 3))
def test_alignment_agrees_with_the_rule_spelled_out(case, n_jobs):
    traces, epochs, trains, channels, positive = case
    arrays = [np.array(train, dtype=np.int64) for train in trains]
    aligned = align(Source(traces, epochs), arrays, channels, positive, n_jobs)
    for unit, train in enumerate(trains):
        expected = slow_align(traces[:, channels[unit]], train, epochs, positive[unit], 5)
        assert aligned[unit].tolist() == expected
        moved = dict(zip(train, expected, strict=True))  # duplicates stay together, the others apart and in order
        assert sorted(set(moved.values())) == list(moved.values())


@settings(deadline=None, max_examples=30)
@given(cases(), st.sampled_from([1, 2, 7]))
def test_alignment_does_not_depend_on_the_chunks(case, frames):
    traces, epochs, trains, channels, positive = case
    arrays = [np.array(train, dtype=np.int64) for train in trains]
    args = Source(traces, epochs), arrays, channels, positive
    with pytest.MonkeyPatch.context() as patch:
        whole = align(*args)
        patch.setattr(chunks, "MIN_CHUNK_FRAMES", frames)
        patch.setattr(chunks, "CHUNK_BYTES", 0)
        pieces = align(*args)
    for a, b in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(deadline=None, max_examples=150)
@given(cases(), st.integers(0, 8), st.integers(0, 8))
def test_which_windows_fit_is_known_before_the_spikes_are_moved(case, n_before, n_after):
    traces, epochs, trains, channels, positive = case
    arrays = [np.array(train, dtype=np.int64) for train in trains]
    source = Source(traces, epochs)
    fits = spikes_of(source, arrays, channels, positive).fitting(Window(n_before, n_after))
    for own, frames in zip(fits, align(source, arrays, channels, positive), strict=True):
        whole = [
            any(e.start_frame <= frame - n_before and frame + n_after < e.end_frame for e in epochs) for frame in frames
        ]
        assert own.tolist() == np.flatnonzero(whole).tolist()


class Fickle(Source):
    """Falls when little of it is read, rises when much is."""

    def read_uv(self, start: int, end: int) -> np.ndarray:
        return self.traces[start:end] * (-1 if end - start < 12 else 1)


def test_a_spike_at_an_edge_stays_where_it_was_found_though_the_traces_read_differently_again():
    source = Fickle(np.arange(100, dtype=np.float32)[:, np.newaxis], (Epoch(0, 100),))
    trains = [np.array([10, 50])]
    spikes = spikes_of(source, trains, [0], [False])
    assert [own.tolist() for own in spikes.fitting(Window(12, 12))] == [[0, 1]]  # 10 is looked up: it goes to 15
    assert align_all(source, spikes, Window(12, 12))[0].tolist() == [15, 45]


def test_spikes_of_a_unit_of_unknown_channel_stay_where_they_are():
    source = Source(np.zeros((100, 1), dtype=np.float32), (Epoch(0, 100),))
    source.traces[[3, 52], 0] = -9
    trains, channels, negative = [np.array([2, 50])] * 2, np.zeros(2, dtype=np.int64), np.zeros(2, dtype=bool)
    spikes = AlignedSpikes(source, trains, MainChannels(channels, negative, known=np.array([True, False])))
    assert [train.tolist() for train in align_all(source, spikes)] == [[3, 52], [2, 50]]


def test_search_windows_are_disjoint_and_hold_their_own_spike():
    low, high = search_windows(np.array([10, 11, 14, 40]), (Epoch(0, 41),), 5)
    assert low.tolist() == [5, 11, 13, 35]
    assert high.tolist() == [10, 12, 19, 40]


def test_a_spike_in_the_next_epoch_is_no_neighbour():
    low, high = search_windows(np.array([99, 101]), (Epoch(0, 100), Epoch(100, 200)), 10)
    assert (low.tolist(), high.tolist()) == ([89, 100], [99, 111])


def test_the_radius_is_half_a_millisecond():
    traces = np.zeros((100, 1), dtype=np.float32)
    traces[[44, 56], 0] = -100  # 6 frames away at 10 kHz
    traces[55, 0] = -1
    (aligned,) = align(Source(traces, (Epoch(0, 100),)), [np.array([50])], [0], [False])
    assert aligned.tolist() == [55]
