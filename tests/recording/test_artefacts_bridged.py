"""Artefacts in recordings: found, given, bridged before the filter, and kept as dead time."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from spikeinterface.core import BinaryRecordingExtractor, NumpyRecording

from spikelab.spike_sorting.config import RecordingConfig, SortingPipelineConfig
from spikelab.spike_sorting.data import dead_time_of
from spikelab.spike_sorting.filters.bandpass import BandPassRecording
from spikelab.spike_sorting.recording import open_recording
from spikelab.spike_sorting.recording.artefacts.bridging import BridgedRecording, slow_part
from spikelab.spike_sorting.recording.artefacts.finding import find_artefacts
from spikelab.spike_sorting.recording.artefacts.given import periods_of_seconds
from spikelab.spike_sorting.settings.validation import illegal_settings

FS, RAIL = 20_000.0, 6000
PULSES = np.array([[12_000, 12_060], [29_000, 29_060], [29_400, 29_440], [50_000, 50_100]])


def _quiet(n_frames=80_000, n_channels=16, seed=0):
    """Noise of 6 counts with a slow wave, as int16."""
    rng = np.random.default_rng(seed)
    wave = 40 * np.sin(2 * np.pi * 3 * np.arange(n_frames) / FS)[:, None]
    return rng.normal(0, 6, (n_frames, n_channels)) + wave


def _disturbed(traces, pulses=PULSES, seed=1):
    """Put the amplifiers on the rail during the pulses; each channel recovers with a time constant of its own."""
    taus = np.random.default_rng(seed).uniform(5, 20, traces.shape[1]) * FS / 1000
    traces = traces.copy()
    for number, (start, end) in enumerate(pulses):
        sign = (-1) ** number
        traces[start:end] = np.nan
        traces[end:] += sign * RAIL * np.exp(-np.arange(len(traces) - end)[:, None] / taus)
        traces[start:end] = sign * 2 * RAIL
    return np.clip(traces, -RAIL, RAIL)


def _recording(traces):
    recording = NumpyRecording([np.rint(traces).astype(np.int16)], FS)
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    recording.set_dummy_probe_from_locations(
        np.column_stack([np.arange(traces.shape[1]) * 20.0, np.zeros(traces.shape[1])])
    )
    return recording


def _band_passed(recording):
    return BandPassRecording(recording, 300.0, 6000.0)


@pytest.fixture(scope="module")
def quiet():
    return _quiet()


@pytest.fixture(scope="module")
def disturbed(quiet):
    return _recording(_disturbed(quiet))


@pytest.fixture(scope="module")
def found(disturbed):
    return find_artefacts(disturbed, _band_passed)[0]


def test_periods_on_the_rail_are_found_and_hardly_more(found):
    assert len(found) == len(PULSES)
    assert (found[:, 0] <= PULSES[:, 0]).all()
    assert (found[:, 1] >= PULSES[:, 1]).all()
    assert np.diff(found).sum() <= 1.5 * np.diff(PULSES).sum()


def test_the_filter_does_not_ring_around_bridged_periods(quiet, disturbed, found):
    """Right beside the periods the traces are, to less than the noise, those without the pulses."""
    clean = _band_passed(_recording(quiet)).get_traces()
    bridged = _band_passed(BridgedRecording(disturbed, [found.tolist()])).get_traces()
    as_stored = _band_passed(disturbed).get_traces()
    noise = clean.std()
    for start, end in found:
        for beside in (slice(start - 200, start - 10), slice(end + 10, min(end + 300, start + 380))):
            assert np.sqrt(np.mean((bridged[beside] - clean[beside]) ** 2)) < 0.7 * noise
        assert np.abs(as_stored[end : end + 60]).max() > 10 * noise
    far = slice(60_000, 80_000)
    np.testing.assert_array_equal(bridged[far], as_stored[far])


def test_a_spike_on_the_recovery_stays_what_it_is():
    """A large spike 2 ms after a pulse is not taken for a part of the recovery."""
    frames = np.arange(2000)
    decay = 5000 * np.exp(-frames[:, None] / np.array([100.0, 400.0]))
    noise = np.random.default_rng(0).normal(0, 6, decay.shape)
    spike = -300 * np.exp(-(((frames - 40) / 4) ** 2))[:, None]
    assert np.abs(slow_part(decay + noise + spike, FS) - slow_part(decay + noise, FS)).max() < 20
    assert np.abs(slow_part(decay + noise, FS) - decay)[5:].max() < 6


def test_channels_that_stay_on_the_rail_are_bridged_for_longer(quiet):
    traces = _disturbed(quiet, PULSES[:1])
    traces[12_000:12_300, 3] = RAIL
    bridged = BridgedRecording(_recording(traces), [PULSES[:1].tolist()]).get_traces()
    assert np.ptp(bridged[12_000:12_300, 3]) == 0
    assert np.abs(bridged[12_000:20_000]).max() < 300


@pytest.mark.parametrize("length", [777, 10_000])
def test_any_chunk_gives_the_same(disturbed, found, length):
    bridged = BridgedRecording(disturbed, [found.tolist()])
    parts = [
        bridged.get_traces(start_frame=start, end_frame=min(start + length, 80_000))
        for start in range(0, 80_000, length)
    ]
    whole = bridged.get_traces()
    assert whole.dtype == np.int16
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    few = bridged.get_traces(channel_ids=bridged.channel_ids[[5, 2]], start_frame=28_000, end_frame=31_000)
    np.testing.assert_array_equal(few, whole[28_000:31_000][:, [5, 2]])


def test_a_description_makes_the_same_recording(quiet, tmp_path):
    from spikeinterface import load

    np.rint(_disturbed(quiet[:20_000], PULSES[:1])).astype(np.int16).tofile(tmp_path / "raw.dat")
    saved = BinaryRecordingExtractor([tmp_path / "raw.dat"], FS, "int16", num_channels=16)
    bridged = BridgedRecording(saved, [PULSES[:1].tolist()])
    again = load(bridged.to_dict(recursive=True))
    np.testing.assert_array_equal(again.get_traces(), bridged.get_traces())


def test_nothing_is_found_where_nothing_is(quiet):
    assert len(find_artefacts(_recording(quiet), _band_passed)[0]) == 0


def test_large_spikes_and_one_broken_channel_are_no_artefacts(quiet):
    traces = quiet.copy()
    rng = np.random.default_rng(2)
    for frame in rng.integers(100, 79_000, 300):
        traces[frame : frame + 12, :6] -= 600 * np.hanning(12)[:, None]  # on more than a third of the channels
    traces[:, 15] = rng.choice([-RAIL, RAIL], len(traces))
    traces[20_000:40_000, 14] = RAIL
    assert len(find_artefacts(_recording(traces), _band_passed)[0]) == 0


def test_channels_that_drift_to_the_rail_are_found(quiet):
    """No jump: the amplifiers go to their rail in a second, stay for two, and come back."""
    ramp = np.interp(np.arange(80_000), [5000, 25_000, 60_000, 79_000], [0, 1.2 * RAIL, 1.2 * RAIL, 0])
    traces = np.clip(quiet + ramp[:, None], -RAIL, RAIL)
    on_rail = np.flatnonzero((traces == RAIL).all(axis=1))
    (start, end), *more = find_artefacts(_recording(traces), _band_passed)[0].tolist()
    assert not more
    assert abs(start - on_rail[0]) < 100
    assert abs(end - on_rail[-1]) < 100


def test_a_pulse_that_saturates_nothing_is_found(quiet):
    """1 mV for 0.4 ms, there and back."""
    traces = quiet.copy()
    traces[30_000:30_008] += 1000
    traces[30_008:30_016] -= 1000
    (period,) = find_artefacts(_recording(traces), _band_passed)[0].tolist()
    assert period[0] in range(29_990, 30_001)
    assert period[1] in range(30_016, 30_030)


def test_what_is_on_one_shank_alone_is_found(quiet):
    """Of 64 channels 16 are on the rail, then 48, then all: each period is one."""
    traces = np.hstack([quiet, *(_quiet(seed=seed) for seed in (5, 6, 7))])
    on_one, on_three, on_all = np.array([12_000, 14_000]), np.array([30_000, 32_000]), np.array([50_000, 50_060])
    traces[slice(*on_one), 16:32] = RAIL
    traces[slice(*on_three), 16:] = RAIL
    traces[slice(*on_all)] = RAIL
    recording = _recording(traces)
    shanks = [np.arange(start, start + 16) for start in range(0, 64, 16)]
    found = find_artefacts(recording, _band_passed, shanks)[0]
    for (start, end), true in zip(found, (on_one, on_three, on_all), strict=True):
        assert start <= true[0] <= start + 20
        assert end - 60 <= true[1] <= end
    whole = find_artefacts(recording, _band_passed)[0]
    np.testing.assert_array_equal(whole, found[1:])
    recording.set_dummy_probe_from_locations(
        np.array([[500.0 * (channel // 16), 20.0 * (channel % 16)] for channel in range(64)])
    )
    recording.set_channel_groups(np.arange(64) // 16)
    opened = open_recording(recording, RecordingConfig(artifacts="auto"))
    np.testing.assert_array_equal(dead_time_of(opened), found)


def test_few_channels_are_not_looked_at_alone(quiet):
    """Half of a tetrode may see one large spike, or be broken."""
    traces = quiet.copy()
    traces[20_000:60_000, 12:14] = RAIL
    tetrodes = [np.arange(start, start + 4) for start in range(0, 16, 4)]
    assert len(find_artefacts(_recording(traces), _band_passed, tetrodes)[0]) == 0


def test_auto_and_given_periods_become_dead_time(disturbed, found, caplog):
    with caplog.at_level(logging.INFO):
        opened = open_recording(disturbed, RecordingConfig(artifacts="auto", start_time_s=1.0))
    assert "4 periods" in caplog.text
    assert dead_time_of(opened).tolist() == (found[1:] - 20_000).tolist()
    given = open_recording(disturbed, RecordingConfig(artifacts=[(1.4, 1.5), (0.5, 0.75)], start_time_s=0.6))
    assert dead_time_of(given).tolist() == [[0, 3000], [16_000, 18_000]]
    inside = given.get_traces(start_frame=16_100, end_frame=17_900)
    assert np.abs(inside).max() < 1


def test_without_the_setting_nothing_is_read_or_changed(disturbed):
    opened = open_recording(disturbed, RecordingConfig())
    assert dead_time_of(opened).tolist() == []
    assert "Bridged" not in str(opened.to_dict(recursive=True))


def test_nothing_found_leaves_the_recording_as_it_is(quiet):
    opened = open_recording(_recording(quiet), RecordingConfig(artifacts="auto"))
    assert "Bridged" not in str(opened.to_dict(recursive=True))


@pytest.mark.parametrize(
    ("periods", "words"),
    [
        ([(1500.0, 1600.0)], r"4 s long; expected seconds.*milliseconds, give \(1.5, 1.6\)"),
        ([(3.9, 4.5)], "4 s long"),
        ([(9000.0, 9100.0)], "4 s long"),
        ([(0.0, 4.0)], "leaves nothing"),
    ],
)
def test_periods_that_cannot_be_are_refused(disturbed, periods, words):
    with pytest.raises(ValueError, match=words):
        open_recording(disturbed, RecordingConfig(artifacts=periods))


def test_a_period_that_ends_before_it_starts_is_an_illegal_setting():
    config = SortingPipelineConfig()
    config.recording.artifacts = [(2.0, 1.0)]
    (problem,) = illegal_settings(config)
    assert "artifacts" in problem
    with pytest.raises(ValueError, match="ends before it starts"):
        periods_of_seconds([(2.0, 1.0)], [[100_000]], FS)


def test_given_periods_go_to_their_files_and_segments():
    first, second = periods_of_seconds([(0.9, 1.1), (2.0, 2.5)], [[100, 100], [100]], 100.0)
    assert [own.tolist() for own in first] == [[[90, 100]], [[0, 10]]]
    assert [own.tolist() for own in second] == [[[0, 50]]]


def test_much_dead_time_is_a_warning(disturbed):
    with pytest.warns(UserWarning, match="50 % of the recording"):
        open_recording(disturbed, RecordingConfig(artifacts=[(0.0, 2.0)]))
