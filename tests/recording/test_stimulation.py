"""Stimulation pulses: their times, their onsets, and the traces without them."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import spikeinterface as si
from spikeinterface.core import NumpyRecording

from spikelab.spike_sorting import config_from_toml, config_to_toml
from spikelab.spike_sorting.config import RecordingConfig, SortingPipelineConfig
from spikelab.spike_sorting.data import BinaryRecording, Pulses, dead_time_of, pulses_of
from spikelab.spike_sorting.pipeline import sort_recording
from spikelab.spike_sorting.recording import open_recording, write_binary, write_maxwell
from spikelab.spike_sorting.recording.stimulation import WithoutPulses, planning, removal, without_pulses
from spikelab.spike_sorting.recording.stimulation.onsets import find_onsets, usual_change
from spikelab.spike_sorting.recording.stimulation.times import as_frames, by_file_clock, given_times
from spikelab.spike_sorting.settings.validation import validate_config

if TYPE_CHECKING:
    from pathlib import Path

FS, N, SECONDS, GAIN = 20_000.0, 8, 6.0, 0.195
PULSES = np.rint(np.arange(0.5, 5.6, 0.25) * FS).astype(np.int64)
ANSWERED = PULSES[::2] + 80  # spikes 4 ms after every other pulse, on channel 3
BAND = (300.0, 6000.0)
SPIKE_UV = 150.0


def noise_with_spikes() -> np.ndarray:
    """Microvolts, (frames, channels)."""
    traces = np.random.default_rng(0).normal(0, 8, (round(SECONDS * FS), N))
    shape = np.exp(-(((np.arange(20) - 8) / 3.0) ** 2))
    for frame in ANSWERED:
        traces[frame - 8 : frame + 12, 3] -= SPIKE_UV * shape
    return traces


def artefact(ringing_uv: float = 0.0) -> np.ndarray:
    """Pulses of 0.4 ms that reach the rail, and decays of 5 to 15 ms; no decay on channel 7."""
    added, rng = np.zeros((round(SECONDS * FS), N)), np.random.default_rng(1)
    after = np.arange(2000)[:, None] / 20
    taus, heights = np.linspace(5, 15, N), np.linspace(3000, 1000, N)
    heights[7] = 0
    for pulse in PULSES:
        decay = rng.normal(1, 0.03) * heights * np.exp(-after / taus)
        ring = ringing_uv * np.sin(2 * np.pi * after) * np.exp(-after / 1.5)
        added[pulse + 8 : pulse + 2008] += (decay + ring)[: len(added) - pulse - 8]
        added[pulse : pulse + 4] -= 20_000
        added[pulse + 4 : pulse + 8] += 20_000
    return added


def as_counts(traces: np.ndarray) -> NumpyRecording:
    counts = np.rint(traces / GAIN).clip(-(2**15), 2**15 - 1).astype(np.int16)
    recording = NumpyRecording([counts], FS)
    recording.set_channel_gains(GAIN)
    recording.set_channel_offsets(0)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(N), 20.0 * np.arange(N)]))
    return recording


@pytest.fixture(scope="module")
def stimulated() -> NumpyRecording:
    return as_counts(noise_with_spikes() + artefact())


@pytest.fixture(scope="module")
def given_s() -> list[float]:
    """Times that are off by up to 2 ms."""
    return (PULSES / FS + np.random.default_rng(2).uniform(-2e-3, 2e-3, len(PULSES))).tolist()


@pytest.fixture(scope="module")
def opened(stimulated: NumpyRecording, given_s: list[float]) -> Any:
    return open_recording(stimulated, RecordingConfig(stim_times_s=given_s))


def test_onsets_are_found_to_the_sample(opened: Any) -> None:
    assert pulses_of(opened).frames.tolist() == PULSES.tolist()


def test_from_3_ms_on_traces_are_what_they_are_without_pulses(opened: Any) -> None:
    cleaned, without = opened.get_traces(), open_recording(as_counts(noise_with_spikes()), RecordingConfig())
    ceiling = without.get_traces()
    noise = np.median(np.abs(ceiling)) / 0.6745
    for frames in (PULSES[:, None] + np.arange(60, 400), PULSES[:, None] - np.arange(60, 400)):
        assert np.abs(cleaned[frames] - ceiling[frames]).std() < 0.3 * noise


def test_spikes_that_answer_to_pulses_stay(opened: Any) -> None:
    troughs = opened.get_traces()[:, 3]
    ceiling = open_recording(as_counts(noise_with_spikes()), RecordingConfig()).get_traces()[:, 3]
    np.testing.assert_allclose(troughs[ANSWERED].mean(), ceiling[ANSWERED].mean(), rtol=0.05)


def test_dead_time_lies_over_each_pulse_and_is_short(opened: Any) -> None:
    periods = dead_time_of(opened)
    assert len(periods) == len(PULSES)
    assert (periods[:, 0] <= PULSES).all()
    assert (periods[:, 0] >= PULSES - 4).all()
    assert (periods[:, 1] >= PULSES + 8).all()
    assert (periods[:, 1] <= PULSES + 60).all()


def test_how_pulses_were_removed_is_logged(stimulated: Any, given_s: list[float], caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        open_recording(stimulated, RecordingConfig(stim_times_s={"E4": given_s}))
    assert "21 pulses of E4 are removed from 8 channels by bridging alone on 1, a fitted decay on 7" in caplog.text
    assert "are dead time" in caplog.text


def test_pulses_and_dead_time_go_through_cuts_into_the_binary(stimulated: Any, given_s: Any, tmp_path: Path) -> None:
    config = RecordingConfig(stim_times_s={"A": given_s[:10], "B": given_s[10:]}, start_time_s=1.9, end_time_s=3.9)
    binary, _ = write_binary(
        open_recording(stimulated, config), tmp_path / "traces.dat", n_jobs=1, total_memory="1G", seed=0
    )
    kept = (PULSES >= 38_000) & (PULSES < 78_000)
    for found in (binary, BinaryRecording.from_dict(binary.path, binary.to_dict())):
        assert found.pulses.frames.tolist() == (PULSES[kept] - 38_000).tolist()
        assert [found.pulses.names[site] for site in found.pulses.sites] == ["A"] * 4 + ["B"] * 4
        assert len(found.dead_time) == kept.sum()
    assert pulses_of(binary.to_spikeinterface()).frames.tolist() == binary.pulses.frames.tolist()


def removed(recording: Any, method: int, first: int = 12) -> Any:
    rails, none = planning.rails_of(recording.segments[0], PULSES, FS), np.zeros(len(PULSES), dtype=np.int64)
    plan = removal.Plan(PULSES, none, np.full((1, N), first), np.full((1, N), method), *rails, held=none)
    return removal.WithoutPulsesRecording(recording, [plan])


@pytest.mark.parametrize("method", [removal.BLANKING, removal.DECAY, removal.TEMPLATE])
def test_traces_are_the_same_in_pieces_and_rebuilt(stimulated: Any, method: int) -> None:
    cleaned = removed(stimulated, method)
    whole = cleaned.get_traces()
    edges = [0, 9_990, 10_005, 10_300, 30_000, 60_011, len(whole)]
    pieces = [cleaned.get_traces(start_frame=a, end_frame=b) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(cleaned.get_traces(channel_ids=cleaned.channel_ids[2:5]), whole[:, 2:5])
    again = removal.WithoutPulsesRecording(stimulated, [plan.to_dict() for plan in cleaned.plans])
    np.testing.assert_array_equal(again.get_traces(), whole)


def left_after(recording: Any, first_ms: float = 1.0, last_ms: float = 3.0) -> float:
    """Largest mean over the pulses, in the band and in microvolts: what they have in common."""
    traces = planning.filtered(recording, BAND).get_traces() * GAIN
    frames = PULSES[:, None] + np.arange(round(first_ms * 20), round(last_ms * 20))
    return float(np.abs(traces[frames].mean(axis=0)).max())


def test_a_template_takes_what_is_no_decay() -> None:
    ringing = as_counts(noise_with_spikes() + artefact(ringing_uv=400))
    decay, template = (left_after(removed(ringing, kind)) for kind in (removal.DECAY, removal.TEMPLATE))
    assert template < 0.25 * decay


def test_bridging_leaves_what_comes_after(stimulated: Any) -> None:
    cleaned = removed(stimulated, removal.BLANKING).get_traces()
    stored = stimulated.get_traces()
    after = PULSES[:, None] + np.arange(14, 2000)
    np.testing.assert_array_equal(cleaned[after], stored[after])
    assert np.abs(np.diff(cleaned[:, 7])).max() < 500


def test_ringing_is_removed_by_a_template_or_bridged(given_s: list[float]) -> None:
    ringing = as_counts(noise_with_spikes() + artefact(ringing_uv=400))
    given = [(np.rint(np.array(given_s) * FS).astype(np.int64), ("",) * len(given_s))]
    found = without_pulses(ringing, given, [""], BAND, "it")
    assert isinstance(found, WithoutPulses)
    end = float(np.diff(found.dead_time[0], axis=1).max()) / 20
    assert left_after(found.recording, end, 3.2) < 20


def test_rails_are_values_at_which_channels_stay(stimulated: Any) -> None:
    low, high = planning.rails_of(stimulated.segments[0], PULSES, FS)
    assert (low == -(2**15)).all()
    assert (high == 2**15 - 1).all()
    quiet = as_counts(noise_with_spikes())
    assert not np.isfinite(planning.rails_of(quiet.segments[0], PULSES, FS)).any()


def test_pulses_that_are_not_there_are_told_and_left_as_given(stimulated: Any, given_s: list[float]) -> None:
    wrong = sorted([*given_s, 0.62, 3.1])
    with pytest.warns(UserWarning, match=r"of 2 of 23 stimulation pulses nothing is seen .* \(0.62 s, 3.1 s\)"):
        found = open_recording(stimulated, RecordingConfig(stim_times_s=wrong))
    assert set(pulses_of(found).frames) - set(PULSES) == {12_400, 62_000}
    assert len(dead_time_of(found)) == len(PULSES)


def test_pulses_say_how_long_some_channel_is_bridged(stimulated: Any, given_s: list[float]) -> None:
    with pytest.warns(UserWarning, match=r"of 1 of 22 stimulation pulses nothing is seen"):
        found = pulses_of(open_recording(stimulated, RecordingConfig(stim_times_s=sorted([*given_s, 0.62]))))
    again = Pulses.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.bridged.tolist() == found.bridged.tolist()
    seen = np.isin(found.frames, PULSES)
    assert (found.bridged[~seen] == 0).all()
    dead = dead_time_of(open_recording(stimulated, RecordingConfig(stim_times_s=given_s)))
    assert (found.bridged[seen] >= np.diff(dead)[:, 0] - 10).all()
    half = open_recording(stimulated, RecordingConfig(stim_times_s=given_s, start_time_s=1.0))
    assert set(pulses_of(half).bridged) <= set(found.bridged)


def test_pulses_of_earlier_versions_can_be_read() -> None:
    assert Pulses.from_dict({"frames": [5], "sites": [0], "names": [""]}).bridged.tolist() == []


def test_where_no_pulse_is_seen_nothing_is_removed() -> None:
    quiet = as_counts(noise_with_spikes())
    with pytest.warns(UserWarning, match="Are the times in seconds"):
        found = open_recording(quiet, RecordingConfig(stim_times_s=[1.0, 2.0, 3.0]))
    assert len(dead_time_of(found)) == 0
    np.testing.assert_array_equal(found.get_traces(), open_recording(quiet, RecordingConfig()).get_traces())


def test_an_onset_is_searched_half_way_to_the_next() -> None:
    traces = np.random.default_rng(0).normal(0, 8, (4000, N)).astype(np.float32)
    for frame in (1000, 1050):
        traces[frame:] += 500
    segment = NumpyRecording([traces], FS).segments[0]
    change = usual_change(segment, FS)
    assert find_onsets(segment, np.array([1004, 1048]), change, FS).tolist() == [1000, 1050]
    assert find_onsets(segment, np.array([3000]), change, FS).tolist() == [-1]


def test_times_outside_are_refused_with_what_would_fit(stimulated: Any) -> None:
    milliseconds = (PULSES / FS * 1000).tolist()
    with pytest.raises(ValueError, match=r"21 of 21 times lie outside of .*, which lasts 6 s.* divide them by 1000"):
        open_recording(stimulated, RecordingConfig(stim_times_s=milliseconds))
    late = stimulated.clone()
    late.shift_times(100.0)
    with pytest.raises(ValueError, match=r"clock of the file, which begins at 100 s: subtract that"):
        open_recording(late, RecordingConfig(stim_times_s=(PULSES / FS + 100).tolist()))
    with pytest.raises(ValueError, match=r"1 of 2 times lie outside"):
        open_recording(stimulated, RecordingConfig(stim_times_s=[1.0, 7000.0]))
    with pytest.raises(ValueError, match="negative or no numbers, the first -1"):
        given_times([-1.0, 2.0])


def test_unsorted_and_doubled_times_are_mended_and_told() -> None:
    with pytest.warns(UserWarning, match="not in order: they are sorted"):
        assert given_times([2.0, 1.0]).seconds.tolist() == [1.0, 2.0]
    with pytest.warns(UserWarning, match="has 1 times twice"):
        assert given_times([1.0, 1.0, 2.0]).seconds.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "content", "sites"),
    [
        ("pulses.csv", "time,site\n1.5,E1\n2.5,E2\n", ("E1", "E2")),
        ("pulses.txt", "# noted by hand\n1.5\n2.5\n", ("", "")),
        ("semicolons.csv", "1.5;E1\n2.5;E2\n", ("E1", "E2")),
        ("spaces.txt", "1.5 7\n2.5 8\n", ("7", "8")),
    ],
)
def test_files_of_times(tmp_path: Path, name: str, content: str, sites: tuple[str, ...]) -> None:
    (tmp_path / name).write_text(content)
    found = given_times(tmp_path / name)
    assert (found.seconds.tolist(), found.sites) == ([1.5, 2.5], sites)


def test_arrays_of_times(tmp_path: Path) -> None:
    np.save(tmp_path / "times.npy", [1.5, 2.5])
    np.save(tmp_path / "sites.npy", [[1.5, 3], [2.5, 4]])
    assert given_times(tmp_path / "times.npy").seconds.tolist() == [1.5, 2.5]
    assert given_times(tmp_path / "sites.npy").sites == ("3", "4")
    np.save(tmp_path / "wrong.npy", np.zeros((2, 3)))
    with pytest.raises(ValueError, match="expected one column of times in seconds"):
        given_times(tmp_path / "wrong.npy")


def test_times_and_periods_may_be_arrays() -> None:
    times = np.array([1.5, 2.5])
    given = {
        "flat": (times, [1.5, 2.5]),
        "by site": ({"E1": times}, {"E1": [1.5, 2.5]}),
        "of each recording": ([times, None], [[1.5, 2.5], None]),
    }
    for what, (setting, expected) in given.items():
        config = SortingPipelineConfig().override(stim_times_s=setting, artifacts=np.array([[0.5, 1.0]]))
        validate_config(config)
        assert (config.recording.stim_times_s, config.recording.artifacts) == (expected, [[0.5, 1.0]]), what
        assert RecordingConfig(stim_times_s=setting).stim_times_s == expected
        assert config_from_toml(config_to_toml(config)) == config


def test_wrong_files_of_times_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        given_times(tmp_path / "none.csv")
    (tmp_path / "words.csv").write_text("time\n1.5\nlater\n")
    with pytest.raises(ValueError, match="line 3 of .*words.csv is 'later'"):
        given_times(tmp_path / "words.csv")
    (tmp_path / "empty.csv").write_text("time\n")
    with pytest.raises(ValueError, match="has no times"):
        given_times(tmp_path / "empty.csv")


def test_times_of_each_recording(stimulated: Any) -> None:
    with pytest.raises(ValueError, match="has 2 entries for 1 recordings"):
        sort_recording([stimulated], sorter="threshold", stim_times_s=[[1.0], None])
    with pytest.raises(ValueError, match="a list for several recordings"):
        open_recording(stimulated, RecordingConfig(stim_times_s=[[1.0], [2.0]]))


@pytest.mark.parametrize("with_probe_file", [False, True])
def test_auto_reads_the_inputs_of_a_maxwell_file(tmp_path: Path, noise_counts: Any, with_probe_file: bool) -> None:
    counts = noise_counts(4, 20_000)
    for pulse in (4000, 8000, 12_000, 16_000):
        counts[:, pulse : pulse + 10] = 1023
    write_maxwell(tmp_path / "dish.raw.h5", counts, FS, np.column_stack([17.5 * np.arange(4), np.zeros(4)]))
    with h5py.File(tmp_path / "dish.raw.h5", "r+") as file:
        file["data_store/data0000/groups/routed/frame_nos"][...] += 700_000
        rows = [(700_000 + p + lag, s) for p in (3980, 7980, 11_980, 15_980) for lag, s in ((0, 1), (100, 0))]
        rows += [(700_000 + p, s) for p, s in ((500, 2), (600, 0), (1500, 2), (1600, 0))]  # of a camera
        file["bits"] = np.array(sorted(rows), dtype=[("frameno", "<i8"), ("bits", "<i4")])
    config = RecordingConfig(stim_times_s="auto")
    if with_probe_file:
        (tmp_path / "probe.csv").write_text("channel,x,y\n0,0,0\n1,17.5,0\n2,35,0\n3,52.5,0\n")
        config = replace(config, probe_path=tmp_path / "probe.csv")
    with pytest.warns(UserWarning, match="at most events of bit 1, which are not taken for pulses"):
        found = open_recording(tmp_path / "dish.raw.h5", config)
    pulses = pulses_of(found)
    assert pulses.frames.tolist() == [4000, 8000, 12_000, 16_000]
    assert {pulses.names[site] for site in pulses.sites} == {"bit 0"}


def test_auto_is_refused_where_a_file_has_no_events(tmp_path: Path, stimulated: Any, noise_counts: Any) -> None:
    with pytest.raises(ValueError, match="no events that are read here"):
        open_recording(stimulated, RecordingConfig(stim_times_s="auto"))
    write_maxwell(
        tmp_path / "dish.raw.h5", noise_counts(4, 2000), FS, np.column_stack([17.5 * np.arange(4), np.zeros(4)])
    )
    with pytest.raises(ValueError, match="dish.raw.h5 holds no events"):
        open_recording(tmp_path / "dish.raw.h5", RecordingConfig(stim_times_s="auto"))


def test_auto_takes_a_folder_with_a_baseline(tmp_path: Path, noise_counts: Any) -> None:
    places = np.column_stack([17.5 * np.arange(4), np.zeros(4)])
    for name in ("day1", "day2"):
        counts = noise_counts(4, 20_000)
        if name == "day2":
            for pulse in (4000, 8000, 12_000, 16_000):
                counts[:, pulse : pulse + 10] = 1023
        write_maxwell(tmp_path / f"{name}.raw.h5", counts, FS, places)
    with h5py.File(tmp_path / "day2.raw.h5", "r+") as file:
        first = int(file["data_store/data0000/groups/routed/frame_nos"][0])
        rows = [(first + p + lag, s) for p in (4000, 8000, 12_000, 16_000) for lag, s in ((0, 1), (100, 0))]
        file["bits"] = np.array(rows, dtype=[("frameno", "<i8"), ("bits", "<i4")])
    with pytest.warns(UserWarning, match="day1.raw.h5 holds no events: no pulses are removed there"):
        found = open_recording(tmp_path, RecordingConfig(stim_times_s="auto"))
    assert pulses_of(found).frames.tolist() == [24_000, 28_000, 32_000, 36_000]


def test_a_prepared_recording_is_rebuilt_with_its_pulses_removed(opened: Any) -> None:
    again = si.load(opened.to_dict())
    np.testing.assert_array_equal(
        again.get_traces(start_frame=9000, end_frame=12_000), opened.get_traces(start_frame=9000, end_frame=12_000)
    )


def test_one_row_of_two_numbers_and_files_without_times_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "row.npy", [[1.0, 2.0]])
    (tmp_path / "row.csv").write_text("1.0, 2.0\n")
    for name in ("row.npy", "row.csv"):
        with pytest.raises(ValueError, match="may be two times, or a time and a site"):
            given_times(tmp_path / name)
    (tmp_path / "named.csv").write_text("time,site\n1.0,2\n")
    assert given_times(tmp_path / "named.csv").sites == ("2",)
    (tmp_path / "word.csv").write_text("1.0,E2\n")
    assert given_times(tmp_path / "word.csv").sites == ("E2",)
    for shape in (0, (0, 2), (3, 0)):
        np.save(tmp_path / "empty.npy", np.zeros(shape))
        with pytest.raises(ValueError, match=r"empty.npy has no times; expected one column"):
            given_times(tmp_path / "empty.npy")


def test_times_in_the_last_half_frame_are_of_the_last_frame() -> None:
    ((frames, sites),) = as_frames(given_times([0.5, 0.99999]), [20_000], FS, "it", None)
    assert (frames.tolist(), sites) == ([10_000, 19_999], ("", ""))
    early, late = as_frames(given_times([0.49999, 0.99999]), [10_000, 10_000], FS, "it", None)
    assert (early[0].tolist(), late[0].tolist()) == ([], [0, 9_999])


def test_events_in_the_last_half_frame_of_a_stretch_are_of_it_alone() -> None:
    events = {"line": np.array([9.99998, 10.49999, 10.99999, 12.0, 12.99999, 13.1])}
    stretches = [(10.0, 1.0, 10_000), (10.5, 1.0, 10_000), (12.5, 1.0, 10_000)]
    found = [frames.tolist() for frames, _ in by_file_clock(events, stretches, FS)]
    assert found == [[0, 9_999], [9_999], [9_999]]
