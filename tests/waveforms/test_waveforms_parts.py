"""The parts behind the waveform engine: chunks, shares of work, raw values, and what memory they take."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from spikelab.spike_sorting._types import Epoch
from spikelab.spike_sorting.waveforms import chunks, engine
from spikelab.spike_sorting.waveforms.chunks import UnitPool, chunk_grid, visit_spikes
from spikelab.spike_sorting.waveforms.noise import epoch_noise_levels, noise_levels, tally_bytes
from spikelab.spike_sorting.waveforms.templates import Window


class Counting:
    """A source of frames (channels all alike) that remembers what was read."""

    def __init__(self, n_samples: int, breaks: tuple[int, ...] = (), n_channels: int = 2) -> None:
        edges = [0, *breaks, n_samples]
        self.epochs = tuple(Epoch(a, b, name=str(a)) for a, b in zip(edges, edges[1:], strict=False))  # noqa: RUF007
        self.n_samples, self.n_channels, self.sampling_frequency = n_samples, n_channels, 1000.0

    def read_uv(self, start: int, end: int) -> np.ndarray:
        assert 0 <= start < end <= self.n_samples
        return np.repeat(np.arange(start, end, dtype=np.float32)[:, None], self.n_channels, axis=1)


def test_no_chunk_crosses_a_break() -> None:
    starts, epochs = chunk_grid((Epoch(0, 10), Epoch(10, 13), Epoch(13, 21)), 4)
    assert starts.tolist() == [0, 4, 8, 10, 13, 17]
    assert epochs.tolist() == [0, 0, 0, 1, 2, 2]


def test_visits_hold_the_spikes_of_each_chunk_and_what_is_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 0)
    monkeypatch.setattr(chunks, "MIN_CHUNK_FRAMES", 10)
    trains = [np.array([1, 9, 10, 33]), np.array([11, 24, 39])]
    seen = []
    for visit in visit_spikes(Counting(40, (25,)), trains, 3, 4, "test"):  # type: ignore[arg-type]
        rows = visit.traces[:, 0]
        assert rows[0] == visit.base
        flat = np.concatenate(trains)
        spikes = [flat[a:b].tolist() for a, b in zip(visit.first, visit.last, strict=True)]
        seen.append((visit.epoch, int(rows[0]), int(rows[-1]), spikes, visit.n_spikes.tolist()))
    assert seen == [
        (0, 0, 13, [[1, 9], []], [2, 0]),
        (0, 7, 15, [[10], [11]], [1, 1]),
        (0, 21, 24, [[], [24]], [0, 1]),  # the epoch ends at 25
        (1, 30, 37, [[33], []], [1, 0]),
        (1, 36, 39, [[], [39]], [0, 1]),
    ]


def slices(n_jobs: int, n_units: int, weights: list[int] | None = None) -> list[tuple[int, int]]:
    """What each thread works on."""
    done: list[tuple[int, int]] = []
    with UnitPool(n_jobs) as pool:
        pool.run(
            n_units, lambda part: done.append((part.start, part.stop)), None if weights is None else np.array(weights)
        )
    return sorted(done)


def test_threads_share_units_evenly_or_by_weight() -> None:
    assert slices(1, 7) == slices(0, 7) == [(0, 7)]
    assert slices(2, 7) == [(0, 3), (3, 7)]
    assert slices(3, 7) == [(0, 2), (2, 4), (4, 7)]
    assert slices(5, 2) == [(0, 1), (1, 2)]
    assert slices(2, 4, [1, 1, 1, 9]) == [(0, 3), (3, 4)]
    assert slices(2, 4, [9, 1, 1, 1]) == [(0, 0), (0, 4)]
    assert slices(3, 6, [1, 1, 1, 1, 1, 1]) == [(0, 1), (1, 3), (3, 6)]


def test_an_error_in_a_thread_is_raised() -> None:
    def fail(part: slice) -> None:
        raise ZeroDivisionError

    with UnitPool(2) as pool, pytest.raises(ZeroDivisionError):
        pool.run(4, fail)


def test_one_epoch_has_no_noise_of_its_own() -> None:
    whole = Counting(100)
    assert epoch_noise_levels(whole, 0) is None  # type: ignore[arg-type]
    by_epoch = epoch_noise_levels(Counting(100, (60,)), 0)  # type: ignore[arg-type]
    assert by_epoch is not None
    np.testing.assert_allclose(by_epoch, [[15 / 0.6745] * 2, [10 / 0.6745] * 2], rtol=1e-6)
    np.testing.assert_allclose(noise_levels(whole, 0), [25 / 0.6745] * 2, rtol=1e-6)  # type: ignore[arg-type]


def test_tallies_take_all_values_of_a_few_channels_or_the_nearest_of_many() -> None:
    every, few = 4 * 2**16, 4 * 2 * 1024
    assert tally_bytes(1) == every
    assert tally_bytes(256) == 256 * every == 64 * 2**20
    assert tally_bytes(300) == 64 * 2**20
    assert tally_bytes(10_000) == 10_000 * few


@pytest.mark.parametrize(("breaks", "arrays"), [((), 2), ((50,), 4)])
def test_running_sums_get_what_results_and_a_chunk_leave(breaks: tuple[int, ...], arrays: int) -> None:
    """Of each unit a template and its deviation are kept, and one for each epoch where there are several."""
    source, window = Counting(100, breaks), Window(3, 4)
    results = 4 * 5 * window.n_samples * 2 * arrays
    left = engine._running_sums_bytes(source, 5, window, results + engine.CHUNK_BYTES + 1000)  # type: ignore[arg-type]
    assert left == 1000
    assert engine._running_sums_bytes(source, 5, window, 10) == 0  # type: ignore[arg-type]
    assert engine._running_sums_bytes(source, 5, window, 2**40) == 128 * 2**20  # type: ignore[arg-type]


def test_waveforms_that_do_not_fit_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        engine._warn_if_large({0: (10, 5, 2), 1: (5, 5, 2)}, 600)
        assert not caplog.text
        engine._warn_if_large({0: (10, 5, 2), 1: (5, 5, 2)}, 599)
    assert "streaming=True" in caplog.text


def test_nothing_is_read_of_an_empty_range(tmp_path: Path) -> None:
    from spikelab.spike_sorting._types import BinaryRecording
    from spikelab.spike_sorting.waveforms.traces import read_raw

    path = tmp_path / "traces.raw"
    np.arange(20, dtype=np.int16).tofile(path)
    source = BinaryRecording(
        path=path, n_samples=10, n_channels=2, sampling_frequency=1000.0, gain_uv=0.5, channel_ids=("a", "b"),
        locations=np.zeros((2, 2)), electrodes=None, epochs=(Epoch(0, 10),),
    )  # fmt: skip
    assert read_raw(source, 4, 4).shape == (0, 2)
    assert read_raw(source, 4, 4).dtype == np.int16
    assert read_raw(source, 4, 6).tolist() == [[8, 9], [10, 11]]
