"""Sequences found on a small recording: the same offline, as a stream, from disk, and with any number of threads."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from tests.simulated import simulate_dense

from spikelab.spike_sorting._exceptions import InsufficientActivityError, ModelLoadingError
from spikelab.spike_sorting.rt_sort import RTSort, detect_sequences


@pytest.fixture(scope="module")
def simulated():
    return simulate_dense(duration_s=8.0)


@pytest.fixture(scope="module")
def rt_sort(simulated):
    return detect_sequences(simulated.recording, num_processes=1)


def trains(sorting):
    return [sorting.get_unit_spike_train(unit).tolist() for unit in sorting.unit_ids]


def test_every_neuron_is_found_with_its_spikes(rt_sort, simulated) -> None:
    found = trains(rt_sort.sort_offline(simulated.recording))
    assert len(found) == len(simulated.frames)
    for true in simulated.frames:
        shares = [np.mean([np.min(np.abs(np.array(train) - frame)) <= 8 for frame in true]) for train in found]
        assert max(shares) > 0.95
        best = found[int(np.argmax(shares))]
        assert len(best) < 1.1 * len(true)


def test_more_threads_change_nothing(rt_sort, simulated) -> None:
    again = detect_sequences(simulated.recording, num_processes=4)
    assert trains(again.sort_offline(simulated.recording, n_jobs=4)) == trains(
        rt_sort.sort_offline(simulated.recording)
    )


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_a_stream_gives_the_spikes_of_the_whole_recording(rt_sort, simulated, size: int) -> None:
    traces = simulated.recording.get_traces()[: 20_000 if size > 1 else 3_000]
    stream, whole = rt_sort.stream(), rt_sort.stream()
    pieces = [stream.push(traces[start : start + size]) for start in range(0, len(traces), size)]
    streamed = np.concatenate([*pieces, stream.finish()])
    at_once = np.concatenate([whole.push(traces), whole.finish()])
    assert len(at_once) > 0
    np.testing.assert_array_equal(streamed, at_once)


def test_the_stream_agrees_with_sort_offline(rt_sort, simulated) -> None:
    stream = rt_sort.stream()
    spikes = np.concatenate([stream.push(simulated.recording.get_traces()), stream.finish()])
    offline = trains(rt_sort.sort_offline(simulated.recording))
    assert [np.sort(spikes["frame"][spikes["template"] == unit]).tolist() for unit in range(len(offline))] == offline


def test_saved_and_loaded_it_finds_the_same(rt_sort, simulated, tmp_path) -> None:
    loaded = RTSort.load(rt_sort.save(tmp_path / "saved"))
    assert trains(loaded.sort_offline(simulated.recording)) == trains(rt_sort.sort_offline(simulated.recording))


def test_a_damaged_folder_is_said_to_be_one(rt_sort, tmp_path) -> None:
    folder = rt_sort.save(tmp_path / "saved")
    whole = (folder / "sequences.npz").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:200] + bytes(200) + whole[400:]):
        (folder / "sequences.npz").write_bytes(damaged)
        with pytest.raises(ModelLoadingError, match="cannot be read"):
            RTSort.load(folder)
    (folder / "sequences.npz").write_bytes(b"PK")
    with pytest.raises(ModelLoadingError, match="cannot be read"):
        RTSort.load(folder)
    with pytest.raises(ModelLoadingError, match="is missing"):
        RTSort.load(tmp_path / "nothing")


def test_times_stay_those_of_the_recording(rt_sort, simulated) -> None:
    part = trains(rt_sort.sort_offline(simulated.recording, recording_window_ms=(2000, 4000)))
    fs = simulated.recording.get_sampling_frequency()
    assert all(2 * fs <= frame < 4 * fs for train in part for frame in train)
    assert sum(map(len, part)) > 0


def test_another_array_is_refused(rt_sort, simulated) -> None:
    with pytest.raises(ValueError, match="found on 16 channels, the recording has 8"):
        rt_sort.sort_offline(simulated.recording.select_channels(simulated.recording.channel_ids[:8]))


def test_silence_is_insufficient_activity(simulated) -> None:
    from spikeinterface.core import NumpyRecording

    rng = np.random.default_rng(0)
    silent = NumpyRecording([rng.normal(0, 6, (40_000, 16)).astype(np.float32)], 20_000.0)
    silent.set_dummy_probe_from_locations(simulated.recording.get_channel_locations())
    with pytest.raises(InsufficientActivityError):
        detect_sequences(silent, num_processes=1)


def test_electrodes_far_apart_are_said_to_be(simulated, caplog) -> None:
    apart = simulated.recording.select_channels(simulated.recording.channel_ids[[0, 3, 12, 15]])
    found = detect_sequences(apart, num_processes=1)
    assert found.n_sequences >= 2  # two of the units are largest there
    assert "no two of 4 electrodes are within 50 um" in caplog.text
    with pytest.raises(InsufficientActivityError, match=r"none is seen by 2 electrodes within 50 um"):
        detect_sequences(apart, num_processes=1, min_activity_root_cocs=2)


def test_nothing_reaches_across_a_break(rt_sort, simulated) -> None:
    from dataclasses import replace

    from spikelab.spike_sorting.rt_sort.traces import Traces

    whole = Traces.of(simulated.recording)
    spikes = rt_sort.spikes(whole)
    at = int(spikes["frame"][len(spikes) // 2])
    cut = replace(whole, breaks=(0, at + 3))
    assert cut.pieces() == [(0, at + 3), (at + 3, whole.n_frames)]
    assert cut.pieces(at - 10, at + 10) == [(at - 10, at + 3), (at + 3, at + 10)]
    assert cut.inside(np.array([10, at, at + 3, at + 60, whole.n_frames - 1]), 20, 30).tolist() == [
        False, False, False, True, False,
    ]  # fmt: skip
    first = replace(whole, end=at + 3)
    assert [spike for spike in rt_sort.spikes(cut).tolist() if spike[0] < at + 3] == rt_sort.spikes(first).tolist()


def test_a_window_past_the_end_is_said_to_be_cut(rt_sort, simulated, caplog) -> None:
    rt_sort.sort_offline(simulated.recording, recording_window_ms=(7_900, 60_000))
    assert "recording_window_ms ends at 60000 ms, the recording at 8000 ms" in caplog.text


def test_an_unknown_parameter_is_named(simulated) -> None:
    with pytest.raises(ValueError, match="stringent_thresh"):
        detect_sequences(simulated.recording, stringent_tresh=0.2)


def test_tolerances_leave_out_spikes(rt_sort, simulated) -> None:
    from dataclasses import replace

    strict = replace(rt_sort, parameters=replace(rt_sort.parameters, max_latency_diff_spikes=0.01))
    assert sum(map(len, trains(strict.sort_offline(simulated.recording)))) < sum(
        map(len, trains(rt_sort.sort_offline(simulated.recording)))
    )


def test_what_is_pickled_does_not_depend_on_use(rt_sort, simulated) -> None:
    """Two equal runs have the same bytes, and sorting adds nothing to them."""
    again = detect_sequences(simulated.recording, num_processes=1)
    unused = pickle.dumps(again)
    again.sort_offline(simulated.recording)
    assert pickle.dumps(again) == unused
    assert pickle.dumps(rt_sort) == unused
    loaded = pickle.loads(unused)
    assert pickle.dumps(loaded) == unused
    assert trains(loaded.sort_offline(simulated.recording)) == trains(again.sort_offline(simulated.recording))
