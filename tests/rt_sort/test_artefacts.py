"""Artefacts: where they begin and end, and that nothing else is one."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording
from tests.simulated import spike_shape

from small import row_of_electrodes, traces_of
from spikelab.spike_sorting.data.dead_time import union
from spikelab.spike_sorting.rt_sort import RTSort, artefacts, detect_sequences
from spikelab.spike_sorting.rt_sort.artefacts import (
    Artefacts,
    ArtefactWatch,
    find_artefacts,
    largest_at_half,
    levels_of,
    periods_of,
    silenced,
    watch,
    watch_few,
)
from spikelab.spike_sorting.rt_sort.traces import in_artefact
from spikelab.spike_sorting.rt_sort.whitening import Noise

RATE = 10_000.0


def noise_of(n: int, shared: float = 0.0, sigma: float = 5.0) -> Noise:
    correlation = np.full((n, n), shared, dtype=np.float32)
    np.fill_diagonal(correlation, 1)
    return Noise(np.full(n, sigma, dtype=np.float32), correlation, np.ones(1, dtype=np.float32))


def grid(columns: int, rows: int, pitch_um: float) -> np.ndarray:
    x, y = np.meshgrid(np.arange(columns) * pitch_um, np.arange(rows) * pitch_um)
    return np.column_stack([x.ravel(), y.ravel()])


def shared_noise(n_frames: int, n_channels: int, share: float, seed: int = 0) -> np.ndarray:
    """Of unit variance."""
    rng = np.random.default_rng(seed)
    own, common = rng.normal(size=(n_frames, n_channels)), rng.normal(size=(n_frames, 1))
    return (np.sqrt(1 - share) * own + np.sqrt(share) * common).astype(np.float32)


def artefacts_in(values: np.ndarray, locations: np.ndarray, share: float = 0.0, **kwargs: tuple[int, ...]) -> Artefacts:
    traces = traces_of(values, RATE, locations, **kwargs)
    return find_artefacts(traces, levels_of(noise_of(values.shape[1], share, 1.0), locations))


def periods_in(values: np.ndarray, locations: np.ndarray, share: float = 0.0) -> list:
    found = artefacts_in(values, locations, share)
    return union(found.wide, found.local).tolist()


def watched(
    some: np.ndarray, wait: int = 0, flat: float = np.inf, low: float = 10.0
) -> tuple[list[int], tuple[int, float]]:
    """Silent frames of three channels: beyond 10 to begin with, beyond 2 to go on, two calm frames to end."""
    limits = np.array([[2.0], [low], [10.0]], dtype=np.float32) * np.ones(3, dtype=np.float32)
    silent = np.zeros(len(some), dtype=bool)
    state = watch(some.astype(np.float32), limits, 2, flat, 0.5, 2, (wait, 0.0), silent)
    return np.flatnonzero(silent).tolist(), state


def test_an_artefact_lasts_from_half_of_the_channels_to_calm() -> None:
    some = np.array([[0, size, -size] for size in [0, 9, -11, 3, 1, 3, 1, 1, 3, 12, 1]])
    assert watched(some) == ([2, 3, 4, 5, 6, 9, 10], (1, 6.0))
    assert watched(some[:2], wait=2) == ([0, 1], (2, 9.0))  # 9 is not calm
    some[:, 2] = 0
    assert watched(some)[0] == []


def test_what_is_alike_on_half_of_the_channels_is_an_artefact_from_a_lower_level_on() -> None:
    alike, fading, small = [9, 6, 5], [9, 4, 3], [3, 3, 3]
    assert watched(np.array([fading, small, alike]), flat=0.5, low=3.5)[0] == [2]
    assert watched(np.array([alike]), flat=0.5, low=7.0)[0] == []
    # Half of the size of a frame ago counts too: the peak arrives late on far electrodes.
    assert watched(np.array([[20, 4, 3], [0, 5, 5], [0, 5, 5]]), flat=0.5, low=3.5)[0] == [2]


@pytest.mark.parametrize(
    ("columns", "rows", "pitch_um", "least", "most"),
    [(2, 2, 20, 100, 100), (15, 1, 500, 100, 100), (8, 8, 17.5, 20, 25), (12, 12, 17.5, 9, 12), (32, 32, 35, 0.3, 3)],
)
def test_the_level_is_what_no_neuron_reaches_on_half_of_the_array(
    columns: int, rows: int, pitch_um: float, least: float, most: float
) -> None:
    assert least <= largest_at_half(grid(columns, rows, pitch_um)) <= most


def test_levels_follow_noise_that_is_shared() -> None:
    wide = grid(32, 32, 35)
    alone, shared = levels_of(noise_of(1024), wide), levels_of(noise_of(1024, 0.7), wide)
    assert len(alone.channels) == 64
    assert alone.least == 32
    assert (alone.onset, alone.calm, alone.low, alone.flat) == (3.0, 2.0, 3.0, 0.5)
    assert shared.onset == pytest.approx(0.7 + 6.5 * 0.7**0.5, abs=0.01)
    assert shared.calm == pytest.approx(0.7 + 3.5 * 0.7**0.5, abs=0.01)
    assert (alone.lead_ms, levels_of(noise_of(4), grid(2, 2, 20)).lead_ms) == (pytest.approx(1.87, abs=0.01), 6.0)
    small, few = levels_of(noise_of(64, 0.7), grid(8, 8, 17.5)), levels_of(noise_of(15), grid(5, 3, 17.5))
    assert (small.low, few.flat) == (shared.onset, np.inf)
    assert small.onset > 20
    assert levels_of(noise_of(1), np.zeros((1, 2))).calm == pytest.approx(3.89, abs=0.01)  # 1 in 10 000


def test_dead_channels_are_not_looked_at() -> None:
    sigma = np.array([5, 0.5, 5, 0.5], dtype=np.float32)
    noise = Noise(sigma, np.eye(4, dtype=np.float32), np.ones(1, dtype=np.float32))
    assert levels_of(noise, row_of_electrodes(4)).channels.tolist() == [0, 2]
    assert levels_of(noise_of(3, sigma=0.5), row_of_electrodes(3)).channels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9])
def test_noise_is_no_artefact_however_much_of_it_is_shared(share: float) -> None:
    assert periods_in(shared_noise(200_000, 64, share), grid(8, 8, 60), share) == []


@pytest.mark.parametrize(("pitch_um", "snr"), [(17.5, 90.0), (60.0, 90.0)])
def test_the_largest_neuron_is_no_artefact(pitch_um: float, snr: float) -> None:
    """In the middle of the array, fading as measured footprints do at least."""
    values, shape = shared_noise(20_000, 64, 0.0), spike_shape(RATE)
    locations = grid(8, 8, pitch_um)
    apart = np.linalg.norm(locations - locations[27], axis=1)
    for start in range(100, 19_000, 300):
        values[start : start + len(shape)] += snr / (1 + (apart / 30) ** 2) * shape[:, None]
    assert periods_in(values, locations) == []


def test_a_network_burst_is_no_artefact() -> None:
    """A tenth of 1024 electrodes sees a spike of its own in every millisecond for 50 ms."""
    values, shape, rng = shared_noise(4000, 1024, 0.0), spike_shape(RATE), np.random.default_rng(1)
    for start in range(1000, 1500, 10):
        for channel in rng.permutation(1024)[:102]:
            values[start : start + len(shape), channel] += 20 * shape
    assert periods_in(values, grid(32, 32, 17.5)) == []


def pulse(n_frames: int, n_channels: int, at: int, size: float) -> np.ndarray:
    """What a filter makes of a saturated amplifier: it rings before and after, differently large on each channel."""
    index = np.arange(n_frames) - at
    ringing = np.exp(-np.abs(index) / 17) * np.cos(2 * np.pi * index / 33)
    return (size * ringing[:, None] * np.linspace(0.5, 1.5, n_channels)).astype(np.float32)


@pytest.mark.parametrize("pitch_um", [17.5, 60.0])
@pytest.mark.parametrize("size", [20.0, 60.0, 750.0])
def test_a_pulse_is_silenced_until_it_has_faded(pitch_um: float, size: float) -> None:
    values, locations = shared_noise(6000, 64, 0.0), grid(8, 8, pitch_um)
    values += pulse(6000, 64, 3000, size)
    ((start, end),) = periods_in(values, locations)
    assert 3000 - 17 * np.log(size) <= start <= 3000 - 17 * np.log(size / 8)
    assert 3000 + 17 * np.log(size / 8) <= end <= 3000 + 17 * np.log(size) + 40


def test_an_artefact_of_a_few_lasts_until_those_that_were_large_are_calm() -> None:
    limits = np.array([[2.0], [5.0], [10.0]], dtype=np.float32) * np.ones(4, dtype=np.float32)
    some = np.array(
        [[9, 9, 9, 3], [11, -11, 6, 3], [3, 1, 1, 3], [1, 1, 1, 3], [1, 1, 1, 9], [1, 1, 1, 1], [1, 1, 1, 1]]
    )
    found, taken = np.zeros(len(some), dtype=bool), np.zeros(4, dtype=bool)
    assert watch_few(some.astype(np.float32), limits, 2, 2, 0, taken, found) == 0
    assert np.flatnonzero(found).tolist() == [1, 2, 3, 4, 5]  # the fourth channel was part of it from frame 4 on
    assert not taken.any()
    assert watch_few(some[1:2].astype(np.float32), limits, 3, 2, 0, taken, found) == 0
    assert watch_few(some[1:2].astype(np.float32), limits, 2, 2, 0, taken, found) == 2
    assert taken.tolist() == [True, True, True, False]


@pytest.mark.parametrize("n_electrodes", [1, 2, 3, 9])
def test_a_pulse_beside_a_few_electrodes_is_an_artefact_from_three_on(n_electrodes: int) -> None:
    values, locations = shared_noise(6000, 64, 0.0), grid(8, 8, 60)
    values[:, :n_electrodes] += pulse(6000, n_electrodes, 3000, 700)
    wide, local, huge = artefacts_in(values, locations)
    assert len(wide) == 0
    assert len(huge) == 1
    assert len(local) == (n_electrodes >= 3)
    for start, end in local:
        assert 3000 - 17 * np.log(1050 / 100) - 17 <= start < 3000
        assert 3000 + 17 * np.log(1050 / 6) <= end + 17 <= 3000 + 17 * np.log(1050 / 6) + 60
    traces = silenced(traces_of(values, RATE, locations), noise_of(64, sigma=1.0))
    assert traces.learnable(np.array([1000, 2960, 3000, 3050, 4000])).tolist() == [True, False, False, False, True]
    assert traces.in_artefact(np.array([2930, 3000])).tolist() == [n_electrodes >= 3] * 2
    assert traces.read(2999, 3001).any() == (n_electrodes < 3)


def test_a_spike_is_learnt_from_however_huge_it_is() -> None:
    values, shape = shared_noise(4000, 64, 0.0), spike_shape(RATE)
    for start in range(100, 3000, 300):
        values[start : start + len(shape), :2] += 300 * shape[:, None]
    assert [len(periods) for periods in artefacts_in(values, grid(8, 8, 60))] == [0, 0, 0]


def test_a_recording_that_grows_noisier_is_silent_only_until_that_is_known() -> None:
    values = shared_noise(60_000, 64, 0.0)
    values[20_000:] *= 8
    ((start, end),) = periods_in(values, grid(8, 8, 60))
    assert 20_000 <= start < 20_010
    assert 22_000 < end < 23_100  # five blocks of nine, and what waits
    assert periods_in(values[20_000:], grid(8, 8, 60))[0][1] < 600  # there are no others yet


def test_artefacts_do_not_depend_on_chunks_and_end_at_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    values, locations = shared_noise(6000, 64, 0.0), grid(8, 8, 60)
    values[1000:1900] += pulse(900, 64, 300, 200)
    levels = levels_of(noise_of(64, sigma=1.0), locations)
    whole = np.stack(ArtefactWatch(levels, RATE).push(values))
    for size in (1, 7, 499, 501):
        watcher = ArtefactWatch(levels, RATE)
        parts = [watcher.push(values[start : start + size]) for start in range(0, 6000, size)]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    whole = whole.any(axis=0)
    assert periods_of(whole).tolist() == periods_in(values, locations)
    monkeypatch.setattr(artefacts, "frames_at_a_time", lambda _: 50)
    assert periods_of(whole).tolist() == periods_in(values, locations)
    (_, end), *rest = artefacts_in(values, locations, breaks=(0, 1300)).wide.tolist()
    assert end == 1300
    assert rest[0][0] == 1300


def test_silent_traces_are_zero_in_frames_of_the_recording(caplog: pytest.LogCaptureFixture) -> None:
    values = shared_noise(6000, 64, 0.0)
    values[2900:3200] += pulse(300, 64, 100, 500)
    values[5000:5300] += pulse(300, 64, 100, 500)
    with caplog.at_level(logging.INFO):
        traces = silenced(traces_of(values, RATE, grid(8, 8, 60)), noise_of(64, sigma=1.0))
    assert "periods: 2, 0.0" in caplog.text
    (start, end), _ = traces.silence.tolist()
    expected = values.copy()
    for first, last in traces.silence:
        expected[first:last] = 0
    for low, high in ((0, 6000), (start, end), (start - 5, start), (end, end + 5), (start + 1, end - 1), (2000, 5200)):
        np.testing.assert_array_equal(traces.read(low, high), expected[low:high])
    assert not traces.read(start, end).any()
    assert traces.read(start - 1, start).any()
    assert traces.read(end, end + 1).any()
    np.testing.assert_array_equal(traces.read_some(start, end, np.array([5])), values[start:end, [5]])
    lead = 19  # 1.87 ms
    frames = np.array([0, start - lead - 1, start - lead, start, end - 1, end])
    assert traces.in_artefact(frames).tolist() == [False, False, True, True, True, False]
    quiet = traces_of(values[:2000], RATE, grid(8, 8, 60))
    assert silenced(quiet, noise_of(64, sigma=1.0)) is quiet


def test_much_silence_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    values = shared_noise(3000, 64, 0.0)
    values[1000:1700] += 50
    with caplog.at_level(logging.WARNING):
        silenced(traces_of(values, RATE, grid(8, 8, 60)), noise_of(64, sigma=1.0))
    assert "periods: 1, 0.07" in caplog.text


def test_frames_are_in_an_artefact_or_just_before() -> None:
    periods, frames = np.array([[10, 20], [30, 31]]), np.arange(40)
    assert np.flatnonzero(in_artefact(frames, periods, 3)).tolist() == [*range(7, 20), *range(27, 31)]
    assert not in_artefact(frames, periods[:0], 3).any()


N_FRAMES, FS = 300_000, 20_000.0


def three_neurons(n_pulsed: int) -> tuple[NumpyRecording, list[np.ndarray], np.ndarray]:
    """Three neurons on 5 x 5 electrodes, and 30 pulses on the rail on some of these."""
    locations, rng, shape = grid(5, 5, 17.5), np.random.default_rng(4), spike_shape(FS)
    values = 6 * shared_noise(N_FRAMES, 25, 0.0)
    trains = []
    for electrode in (0, 4, 22):
        apart = np.linalg.norm(locations - locations[electrode], axis=1)
        train = np.sort(rng.choice(np.arange(2000, N_FRAMES - 2000, 80), 150, replace=False)) + rng.integers(0, 40)
        for frame in train:
            values[frame - 30 : frame - 30 + len(shape)] += 130 * np.exp(-apart / 25) * shape[:, None]
        trains.append(train)
    pulses = np.arange(5000, N_FRAMES - 5000, 9700)
    for at in pulses:
        index = np.arange(-500, 500)
        ringing = np.exp(-np.abs(index) / 34) * np.cos(2 * np.pi * index / 66)
        sizes = 4000 * rng.uniform(0.7, 1.3, 25) * (np.arange(25) < n_pulsed)
        values[at - 500 : at + 500] += ringing[:, None] * sizes
    recording = NumpyRecording([values.astype(np.float32)], FS)
    recording.set_dummy_probe_from_locations(locations)
    return recording, trains, pulses


def recalls(recording: NumpyRecording, trains: list[np.ndarray], pulses: np.ndarray, sorter: RTSort) -> list[float]:
    """Of the spikes of each neuron that are 15 ms from pulses, the share that one unit has."""
    sorting = sorter.sort_offline(recording)
    found = [sorting.get_unit_spike_train(unit) for unit in sorting.unit_ids]
    kept = [train[np.abs(train[:, None] - pulses).min(axis=1) > 300] for train in trains]
    return [max(np.isin(train, np.add.outer(other, np.arange(-6, 7))).mean() for other in found) for train in kept]


@pytest.fixture(scope="module")
def stimulated() -> tuple[NumpyRecording, list[np.ndarray], np.ndarray]:
    return three_neurons(25)


@pytest.fixture(scope="module")
def sorter(stimulated) -> RTSort:
    return detect_sequences(stimulated[0], num_processes=1)


def test_a_stimulated_recording_is_sorted_and_no_unit_is_made_of_pulses(stimulated, sorter) -> None:
    recording, trains, pulses = stimulated
    sorting = sorter.sort_offline(recording)
    found = [sorting.get_unit_spike_train(unit) for unit in sorting.unit_ids]
    assert len(found) == 3
    assert min(recalls(recording, trains, pulses, sorter)) > 0.98
    for train in found:
        assert np.abs(train[:, None] - pulses).min() > 60


@pytest.mark.parametrize("n_pulsed", [1, 3])
def test_pulses_beside_a_few_electrodes_cost_no_neuron(n_pulsed: int) -> None:
    recording, trains, pulses = three_neurons(n_pulsed)
    sorter = detect_sequences(recording, num_processes=1)
    assert sorter.n_sequences == 3
    assert min(recalls(recording, trains, pulses, sorter)) > 0.98


@pytest.mark.parametrize("size", [50, 3333])
def test_the_stream_is_silent_in_the_same_frames(stimulated, sorter, size: int) -> None:
    recording, _, _ = stimulated
    values, stream = recording.get_traces()[:100_000], sorter.stream()
    spikes = np.concatenate([*(stream.push(values[a : a + size]) for a in range(0, 100_000, size)), stream.finish()])
    expected = sorter.sort_offline(recording.frame_slice(0, 100_000))
    for unit in expected.unit_ids:
        assert np.sort(spikes["frame"][spikes["template"] == unit]).tolist() == (
            expected.get_unit_spike_train(unit).tolist()
        )
