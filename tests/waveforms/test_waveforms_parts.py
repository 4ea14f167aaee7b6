"""The parts behind the waveform engine: chunks, shares of work, raw values, and what memory they take."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from spikelab.spike_sorting.config import WaveformConfig
from spikelab.spike_sorting.data import Epoch, SpikeTrains
from spikelab.spike_sorting.waveforms import chunks, engine, windows
from spikelab.spike_sorting.waveforms.alignment import Spikes
from spikelab.spike_sorting.waveforms.chunks import UnitPool, chunk_grid, iterate_chunks
from spikelab.spike_sorting.waveforms.noise import epoch_noise_levels, noise_levels, tally_bytes
from spikelab.spike_sorting.waveforms.templates import Workspace, running_sums
from spikelab.spike_sorting.waveforms.windows import Window, draw, fitting, gather


class Counting:
    """A source of frames (channels all alike) that remembers what was read."""

    def __init__(self, n_samples: int, breaks: tuple[int, ...] = (), n_channels: int = 2) -> None:
        edges = [0, *breaks, n_samples]
        self.epochs = tuple(Epoch(a, b, name=str(a)) for a, b in zip(edges, edges[1:], strict=False))  # noqa: RUF007
        self.n_samples, self.n_channels, self.sampling_frequency = n_samples, n_channels, 1000.0
        self.read: list[tuple[int, int]] = []

    def read_uv(self, start: int, end: int) -> np.ndarray:
        assert 0 <= start < end <= self.n_samples
        self.read.append((start, end))
        return np.repeat(np.arange(start, end, dtype=np.float32)[:, None], self.n_channels, axis=1)


def test_no_chunk_crosses_a_break() -> None:
    starts, epochs = chunk_grid((Epoch(0, 10), Epoch(10, 13), Epoch(13, 21)), 4)
    assert starts.tolist() == [0, 4, 8, 10, 13, 17]
    assert epochs.tolist() == [0, 0, 0, 1, 2, 2]


def test_chunks_hold_the_spikes_of_each_chunk_and_what_is_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 0)
    monkeypatch.setattr(chunks, "MIN_CHUNK_FRAMES", 10)
    trains = [np.array([1, 9, 10, 33]), np.array([11, 24, 39])]
    seen = []
    for chunk in iterate_chunks(Counting(40, (25,)), Spikes(trains), slice(0, 2), Window(3, 4), "test"):  # type: ignore[arg-type]
        rows = chunk.traces[:, 0]
        assert rows[0] == chunk.base
        flat = np.concatenate(trains)
        spikes = [flat[a:b].tolist() for a, b in zip(chunk.first, chunk.last, strict=True)]
        seen.append((chunk.epoch, int(rows[0]), int(rows[-1]), spikes, chunk.n_spikes.tolist()))
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


def test_the_least_memory_is_that_of_results_and_of_what_is_made_on_the_way() -> None:
    """Windows of 5 frames on 2 channels: a unit takes 40 bytes."""
    config = WaveformConfig(ms_before=2.0, ms_after=2.0, max_waveforms_per_unit=20, streaming=True)
    results = 2 * 40 * 2 + 150 * 40  # a template and a deviation of each unit, and every spike
    tallies = tally_bytes(2)
    assert engine.least_bytes([10, 30], 2, 1000.0, config) == results + 2 * 40 * 2 + tallies
    by_epoch = 2 * 40 * 3  # a template of each unit in each epoch
    assert engine.least_bytes([10, 30], 2, 1000.0, config, 3) == results + by_epoch + 2 * 40 * 3 + tallies
    config.streaming = False  # 10 and 20 windows are held
    assert engine.least_bytes([10, 30], 2, 1000.0, config) == results + 40 * 30 + 2 * 40 * 2 + tallies
    many = [0] * 100_000  # what is written takes more than the tallies
    assert engine.least_bytes(many, 2, 1000.0, config) == 100_000 * 40 * (2 + 2)


def test_running_sums_are_of_as_many_units_as_fit_and_of_one_at_least() -> None:
    whole, parted, window = Counting(100), Counting(100, (50,)), Window(3, 4)
    one = 8 * 2  # numbers of a unit
    assert running_sums(whole, 5, window, 10**9).size == 5 * 2 * one  # type: ignore[arg-type]
    assert running_sums(whole, 5, window, 8 * 7 * one).size == 3 * 2 * one  # type: ignore[arg-type]
    assert running_sums(whole, 5, window, 0).size == 2 * one  # type: ignore[arg-type]
    assert running_sums(parted, 5, window, 0).size == 3 * one  # type: ignore[arg-type]


def test_looking_for_main_channels_takes_no_sums_of_squares() -> None:
    """So that the memory of one unit's sums and squares is that of two units' sums: one pass instead of two."""
    source, window, trains = Counting(100), Window(3, 4), SpikeTrains.from_dict({0: [20], 1: [50], 2: [2]})
    with UnitPool(1) as pool:
        main = engine.find_main_channels(
            Workspace(source, window, pool, running_sums(source, 3, window, 0)), trains, WaveformConfig(), 0  # type: ignore[arg-type]
        )  # fmt: skip
    assert source.read == [(17, 55)]
    assert (main.channels.tolist(), main.positive.tolist()) == ([0] * 3, [False] * 3)
    assert main.known.tolist() == [True, True, False]


def test_what_is_read_for_averages_reaches_no_further_than_their_windows() -> None:
    source, window, trains = Counting(100), Window(3, 4), [np.array([20, 30]), np.array([50])]
    with UnitPool(1) as pool:
        work = Workspace(source, window, pool, running_sums(source, 2, window, 10**9))  # type: ignore[arg-type]
        picked = [np.arange(2), np.arange(1)]
        averages = engine.average_windows(work, Spikes(trains), picked, np.zeros(2, dtype=int))
    assert source.read == [(17, 55)]
    assert averages.templates[:, 3, 0].tolist() == [25, 50]
    assert averages.stds[:, 3, 0].tolist() == [5, 0]
    assert averages.epoch_templates is None


def test_windows_fit_up_to_the_edges_of_an_epoch() -> None:
    frames = np.array([2, 3, 45, 46, 52, 53, 95, 96])
    source = SimpleNamespace(epochs=(Epoch(0, 50), Epoch(50, 100)), n_samples=100)
    assert fitting(frames, source, Window(3, 4)).tolist() == [3, 45, 53, 95]


def test_a_draw_is_sorted_without_repeats_and_hangs_on_its_keys() -> None:
    frames = np.arange(10, 30)
    assert draw(frames, 20, 1, 2).tolist() == frames.tolist()
    some = draw(frames, 19, 1, 2)
    assert (len(set(some)), sorted(some)) == (19, some.tolist())
    assert draw(frames, 5, -1, 2).tolist() == draw(frames, 5, -1, 2).tolist() != draw(frames, 5, -1, 3).tolist()


def test_windows_that_are_cut_out_are_in_microvolts_around_their_spikes() -> None:
    cut = gather(Counting(100), np.array([10, 40]), Window(1, 2))  # type: ignore[arg-type]
    assert cut[:, :, 1].tolist() == [[9, 10, 11, 12], [39, 40, 41, 42]]


def test_windows_are_handed_on_in_pieces_in_time_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "CUT_VALUES", 2 * 8 * 2)  # two windows
    handed: list[tuple[int, list[float]]] = []
    source, window, trains = Counting(100), Window(3, 4), [np.array([20, 30, 40]), np.array([50])]
    with UnitPool(1) as pool:
        work = Workspace(source, window, pool, running_sums(source, 2, window, 10**9))  # type: ignore[arg-type]
        sink = SimpleNamespace(add=lambda unit, found: handed.append((unit, found[:, 3, 0].tolist())))
        engine.average_windows(work, Spikes(trains), [np.arange(3), np.arange(1)], np.zeros(2, dtype=int), [sink])
    assert handed == [(0, [20, 30]), (0, [40]), (1, [50])]


def test_waveforms_that_do_not_fit_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        engine._warn_if_large({0: (10, 5, 2), 1: (5, 5, 2)}, 600)
        assert not caplog.text
        engine._warn_if_large({0: (10, 5, 2), 1: (5, 5, 2)}, 599)
    assert "streaming=True" in caplog.text


def test_nothing_is_read_of_an_empty_range(tmp_path: Path) -> None:
    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.data.traces import read_raw

    path = tmp_path / "traces.raw"
    np.arange(20, dtype=np.int16).tofile(path)
    source = BinaryRecording(
        path=path, n_samples=10, n_channels=2, sampling_frequency=1000.0, gain_uv=0.5, channel_ids=("a", "b"),
        locations=np.zeros((2, 2)), electrodes=None, epochs=(Epoch(0, 10),),
    )  # fmt: skip
    assert read_raw(source, 4, 4).shape == (0, 2)
    assert read_raw(source, 4, 4).dtype == np.int16
    assert read_raw(source, 4, 6).tolist() == [[8, 9], [10, 11]]
    path.write_bytes(b"")  # there is nothing to map
    assert read_raw(source, 0, 0).shape == (0, 2)
