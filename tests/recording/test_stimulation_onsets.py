"""Onsets of pulses that come together, fast, or at the edge of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording

from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import dead_time_of, pulses_of
from spikelab.spike_sorting.recording import open_recording
from spikelab.spike_sorting.recording.stimulation import without_pulses
from spikelab.spike_sorting.recording.stimulation.matching import matched
from spikelab.spike_sorting.recording.stimulation.onsets import find_onsets, usual_change
from spikelab.spikedata import SpikeData

if TYPE_CHECKING:
    from collections.abc import Sequence

FS, N = 20_000.0, 8


def pulsed(frames: Sequence[int], seconds: float = 1.0) -> NumpyRecording:
    """Microvolts, with pulses of 0.4 ms in two phases."""
    traces = np.random.default_rng(0).normal(0, 8, (round(seconds * FS), N)).astype(np.float32)
    for frame in frames:
        traces[frame : frame + 4] -= 4000
        traces[frame + 4 : frame + 8] += 4000
    recording = NumpyRecording([traces], FS)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(N), 20.0 * np.arange(N)]))
    return recording


def onsets(recording: NumpyRecording, given: Sequence[int] | np.ndarray) -> list[int]:
    segment = recording.segments[0]
    return find_onsets(segment, np.asarray(given), usual_change(segment, FS), FS).tolist()


def train(rate_hz: float, n: int = 10, start: int = 4000) -> np.ndarray:
    return start + np.rint(np.arange(n) * FS / rate_hz).astype(np.int64)


@pytest.mark.parametrize("late", [-40, -7, 0, 7, 40])
@pytest.mark.parametrize("rate_hz", [150.0, 250.0, 333.0, 500.0, 800.0])
def test_fast_trains_are_found_at_times_that_are_off_by_2_ms(rate_hz: float, late: int) -> None:
    both = np.concatenate([train(rate_hz), train(rate_hz, start=12_000)])
    assert onsets(pulsed(both), both + late) == both.tolist()


def test_trains_are_found_at_times_each_of_which_is_off() -> None:
    pulses = train(200.0, n=50)
    given = np.sort(pulses + np.random.default_rng(3).integers(-40, 41, len(pulses)))
    assert onsets(pulsed(pulses), given) == pulses.tolist()


def test_a_time_of_a_train_without_a_pulse_costs_no_other() -> None:
    pulses = train(333.0)
    seen = np.delete(pulses, 4)
    assert onsets(pulsed(seen), pulses + 30) == [-1 if i == 4 else frame for i, frame in enumerate(pulses.tolist())]


def test_frames_that_are_as_good_as_the_same_have_one_onset() -> None:
    recording = pulsed([4000, 9000])
    assert onsets(recording, [4000, 4000, 9000, 9002]) == [4000, 4000, 9000, 9000]


def test_pulses_are_matched_in_order_and_as_many_as_can_be() -> None:
    sizes = np.zeros(400, dtype=np.float32)
    sizes[[100, 160, 220]] = 50
    assert matched(np.array([1130, 1190, 1250]), sizes, 10.0, 1000, 60).tolist() == [1100, 1160, 1220]
    assert matched(np.array([1130, 1190]), sizes, 10.0, 1000, 60).tolist() == [1100, 1160]
    assert matched(np.array([1130, 1300]), sizes, 60.0, 1000, 60).tolist() == [-1, -1]


def test_an_onset_at_the_first_frame_is_found_there() -> None:
    recording = pulsed([0, 5000, 10_000])
    assert onsets(recording, [3, 5003, 10_003]) == [0, 5000, 10_000]
    slow = recording.get_traces() + 300 * np.cos(np.arange(recording.get_num_samples()) / 4000)[:, None]
    slow[:20] = slow[20]  # no pulse there, though the level is unusual
    slow[30:38] += 4000
    assert onsets(NumpyRecording([slow], FS), [3, 5003, 10_003]) == [30, 5000, 10_000]


def test_a_recording_that_begins_within_a_pulse_is_level_after_it() -> None:
    cleaned = open_recording(pulsed([0, 5000, 10_000]), RecordingConfig(stim_times_s=[0.0, 0.25, 0.5]))
    assert np.abs(cleaned.get_traces()[:3000]).max() < 60


def test_two_sites_at_once_are_one_pulse_of_both() -> None:
    pulses = [4000, 8000, 12_000, 16_000]
    times = [(pulse + 5) / FS for pulse in pulses]
    found = open_recording(pulsed(pulses), RecordingConfig(stim_times_s={"A": times, "B": times[:3]}))
    noted = pulses_of(found)
    assert noted.frames.tolist() == [4000, 4000, 8000, 8000, 12_000, 12_000, 16_000]
    assert [noted.names[site] for site in noted.sites] == ["A", "B", "A", "B", "A", "B", "A"]
    assert len(dead_time_of(found)) == len(pulses)
    live = np.ones(found.get_num_samples(), dtype=bool)
    for start, end in dead_time_of(found):
        live[start:end] = False
    assert np.abs(found.get_traces()[live]).max() < 60


def test_a_frame_that_is_noted_twice_counts_once() -> None:
    times = [0.2, 0.2 + 1e-6, 0.6]
    with pytest.warns(UserWarning, match="1 stimulation times lie on the same frame as another of their site"):
        found = open_recording(pulsed([4000, 12_000]), RecordingConfig(stim_times_s=times))
    assert pulses_of(found).frames.tolist() == [4000, 12_000]


def test_stim_times_of_all_sites_has_a_shared_pulse_once() -> None:
    about: dict[str, Any] = {"stim_times_s": [0.1, 0.1, 0.3], "stim_sites": ["A", "B", "A"]}
    data = SpikeData([[110, 309]], length=1000, metadata=about)
    assert data.stim_times().tolist() == [100.0, 300.0]
    assert data.stim_times("A").tolist() == [100.0, 300.0]


def given_by(channels: dict[str, np.ndarray]) -> tuple[list[tuple[np.ndarray, tuple[str, ...]]], list[str]]:
    """Events of channels as they are noted."""
    rows = sorted((int(frame), name) for name, frames in channels.items() for frame in frames)
    return [(np.array([frame for frame, _ in rows]), tuple(name for _, name in rows))], sorted(channels)


@pytest.mark.parametrize(("rate_hz", "camera_hz"), [(20.0, 30.0), (20.0, 200.0), (200.0, 30.0)])
def test_events_of_a_camera_cost_no_pulse(rate_hz: float, camera_hz: float) -> None:
    pulses = train(rate_hz, 100 if rate_hz > 100 else 20, start=1000)
    noted, names = given_by({"line": pulses - 12, "camera": np.arange(7, 23_500, FS / camera_hz).astype(int)})
    with pytest.warns(UserWarning, match="camera.* not taken for pulses"):
        found = without_pulses(pulsed(pulses, 1.2), noted, names, (300.0, 6000.0), "it", only_seen=True)
    assert found.pulses[0][:, 0].tolist() == pulses.tolist()
    assert {names[site] for site in found.pulses[0][:, 1]} == {"line"}


def test_two_lines_of_the_stimulator_are_both_kept() -> None:
    pulses = train(100.0, 40, start=1000)
    noted, names = given_by({"A": pulses[::2] - 30, "B": pulses[1::2] - 30})
    found = without_pulses(pulsed(pulses), noted, names, (300.0, 6000.0), "it", only_seen=True)
    assert found.pulses[0][:, :2].tolist() == [[frame, i % 2] for i, frame in enumerate(pulses.tolist())]
