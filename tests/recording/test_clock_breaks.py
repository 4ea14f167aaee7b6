"""Breaks in times and sample numbers: gaps and overlaps are found, jitter and drift are none, few entries are read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting.recording.clock.breaks import STRIDE, stretches

FS = 20_000.0


def _numbers(lengths: list[int], gaps: list[int], first: int = 0) -> np.ndarray:
    """Sample numbers of stretches of these lengths, with these numbers of samples missing between them."""
    numbers, at = [], first
    for length, gap in zip(lengths, [*gaps, 0], strict=True):
        numbers.append(np.arange(at, at + length))
        at += length + gap
    return np.concatenate(numbers)


def _edges(times: Any, step: float) -> list[int]:
    found = stretches(times, step)
    assert [stretch.start for stretch in found[1:]] == [stretch.end for stretch in found[:-1]]  # they tile
    assert (found[0].start, found[-1].end) == (0, len(times))
    assert all(stretch.first == times[stretch.start] for stretch in found)
    assert all(stretch.last == times[stretch.end - 1] for stretch in found)
    return [stretch.start for stretch in found[1:]]


class Counted:
    """A vector that counts the entries that are read of it."""

    def __init__(self, values: Any) -> None:
        self.values, self.n_read = values, 0

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Any:
        found = self.values[index]
        self.n_read += np.size(found)
        return found


_LENGTHS = st.lists(st.integers(200, 12_000), min_size=1, max_size=6)
# Overlaps, where a device repeats its numbers, are negative gaps.
_GAPS = st.one_of(st.integers(2, 10**7), st.integers(-(10**6), -2))


@settings(deadline=None, max_examples=60)
@given(st.data(), _LENGTHS, st.integers(0, 10**12))
def test_every_gap_and_overlap_of_sample_numbers_is_found(data: st.DataObject, lengths: list[int], first: int) -> None:
    gaps = data.draw(st.lists(_GAPS, min_size=len(lengths) - 1, max_size=len(lengths) - 1))
    if any(a + b == 0 for a, b in pairwise(gaps)):
        return  # what is missing and what is repeated cancel within a few thousand frames
    assert _edges(_numbers(lengths, gaps, first), 1.0) == np.cumsum(lengths)[:-1].tolist()


@settings(deadline=None, max_examples=60)
@given(
    lengths=_LENGTHS,
    frames_missing=st.integers(2, 10**6),
    ppm=st.floats(-100, 100),
    jitter=st.floats(0, 0.05),
    start=st.floats(0, 1e5),
    seed=st.integers(0, 9),
)
def test_gaps_of_two_frames_are_found_in_times_that_jitter_and_drift(
    lengths: list[int], frames_missing: int, ppm: float, jitter: float, start: float, seed: int
) -> None:
    numbers = _numbers(lengths, [frames_missing] * (len(lengths) - 1))
    noise = jitter * np.random.default_rng(seed).standard_normal(len(numbers))
    times = start + (numbers + noise) / (FS * (1 + 1e-6 * ppm))
    assert _edges(times, 1 / FS) == np.cumsum(lengths)[:-1].tolist()


@settings(deadline=None, max_examples=40)
@given(
    n_frames=st.integers(2, 60_000),
    jitter=st.floats(0, 20),
    ppm=st.floats(-2000, 2000),
    seed=st.integers(0, 99),
)
def test_jitter_and_a_wrong_rate_are_no_break(n_frames: int, jitter: float, ppm: float, seed: int) -> None:
    noise = jitter * np.random.default_rng(seed).standard_normal(n_frames)
    times = (np.arange(n_frames) + noise) / (FS * (1 + 1e-6 * ppm))
    assert _edges(times, 1 / FS) == []


@pytest.mark.parametrize("packet", [2, 60, 300, 512])
def test_frames_of_a_packet_may_have_one_time(packet: int) -> None:
    times = np.arange(100_000) // packet * packet / FS
    assert _edges(times, 1 / FS) == []
    times[packet * (50_000 // packet) :] += 10.0
    assert _edges(times, 1 / FS) == [packet * (50_000 // packet)]


@pytest.mark.parametrize("at", [5, STRIDE, 3 * STRIDE + 7, 40_000])
def test_a_single_wrong_time_is_no_break(at: int) -> None:
    times = np.arange(60_000) / FS
    times[at] += 3.0
    assert _edges(times, 1 / FS) == []


@pytest.mark.parametrize("missing", [2, 3, 100, 5000])
def test_a_gap_in_every_block_is_not_taken_for_the_rate(missing: int) -> None:
    lengths = [STRIDE - missing // 2] * 30
    assert _edges(_numbers(lengths, [missing] * 29), 1.0) == np.cumsum(lengths)[:-1].tolist()


def test_many_short_stretches_are_told_apart() -> None:
    lengths = [150] * 400
    assert _edges(_numbers(lengths, [130] * 399) / FS, 1 / FS) == np.cumsum(lengths)[:-1].tolist()


def test_stretches_of_single_frames() -> None:
    assert stretches(np.empty(0), 1.0) == []
    (only,) = stretches(np.array([7.5]), 1.0)
    assert (only.first, only.last, only.step) == (7.5, 7.5, None)
    assert _edges(np.array([0.0, 1.0, 2.0, 3.0]), 1.0) == []


def test_few_entries_are_read_where_there_are_few_gaps() -> None:
    times = Counted(_numbers([3_000_000, 3_000_000], [200]) / FS)
    assert [stretch.start for stretch in stretches(times, 1 / FS)] == [0, 3_000_000]
    assert times.n_read < len(times) / 200


def test_a_rate_that_is_wrong_does_not_make_it_read_everything() -> None:
    # 1300 ppm: what a rate is off by that was guessed from the first hundred of jittering timestamps.
    times = Counted(np.arange(3_000_000) / (FS * 1.0013))
    assert len(stretches(times, 1 / FS)) == 1
    assert times.n_read < len(times) / 200


def test_files_are_read_in_part(tmp_path: Path) -> None:
    numbers = _numbers([1_000_000, 500_000], [90_000], 5000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["numbers"] = numbers
    np.save(tmp_path / "a.npy", numbers)
    with h5py.File(tmp_path / "a.h5") as file:
        for vector in (file["numbers"], np.load(tmp_path / "a.npy", mmap_mode="r")):
            counted = Counted(vector)
            assert [stretch.start for stretch in stretches(counted, 1.0)] == [0, 1_000_000]
            assert counted.n_read < len(numbers) / 50
