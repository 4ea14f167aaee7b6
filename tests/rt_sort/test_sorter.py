"""Sequences found on a small recording: the same offline, as a stream, from disk, and with any number of threads."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.simulated import simulate_dense

from spikelab.spike_sorting._exceptions import InsufficientActivityError, ModelLoadingError
from spikelab.spike_sorting.rt_sort import RTSort, StreamBandPass, detect, detect_sequences
from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter
from spikelab.spike_sorting.rt_sort.memory import learning_bytes
from spikelab.spike_sorting.rt_sort.traces import Traces
from spikelab.system.progress import Progress, watched


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
    """Not a bit: of the noise, of what was learnt, and of the spikes."""
    again = detect_sequences(simulated.recording, num_processes=4)
    assert pickle.dumps(again) == pickle.dumps(rt_sort)
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
    half = simulated.recording.select_channels(simulated.recording.channel_ids[:8])
    with pytest.raises(ValueError, match="found on 16 channels, the recording has 8") as caught:
        rt_sort.sort_offline(half)
    for told in ("has ch0, ch1", "and 6 more", "has ch0, ch1, ch2, ch3, ch4, ch5, ch6, ch7.", "bad_channels"):
        assert told in str(caught.value)
    renamed = half.rename_channels([f"other{channel}" for channel in range(8)])
    with pytest.raises(ValueError, match="0 of them are the same"):
        rt_sort.sort_offline(renamed)


@pytest.mark.parametrize("lost", [5, 12])
def test_a_channel_that_became_bad_counts_as_silent(rt_sort, simulated, lost: int, caplog) -> None:
    """The units stay; those that are largest elsewhere keep their spikes, also in another order of channels."""
    ids = list(simulated.recording.channel_ids)
    fewer = simulated.recording.select_channels([channel for channel in reversed(ids) if channel != f"ch{lost}"])
    found, whole = (trains(rt_sort.sort_offline(recording)) for recording in (fewer, simulated.recording))
    assert (
        f"lacks 1 of the 16 channels that the sequences were found on, as bad_channels leaves them out: ch{lost}"
        in (caplog.text)
    )
    for train, expected in zip(found, whole, strict=True):
        assert np.mean([np.min(np.abs(np.array(train) - frame)) <= 2 for frame in expected]) > 0.95
        assert len(train) < 1.05 * len(expected)


def test_a_channel_of_the_same_name_elsewhere_is_another(rt_sort, simulated) -> None:
    """Names alone do not make channels the same: numbers are those of any array."""
    fewer = simulated.recording.select_channels(simulated.recording.channel_ids[1:])
    fewer.set_dummy_probe_from_locations(fewer.get_channel_locations() * 2)
    with pytest.raises(ValueError, match="the recording has 15, and 0 of them are the same"):
        rt_sort.sort_offline(fewer)


def test_as_many_channels_may_be_others(simulated, caplog) -> None:
    """One was bad where the sequences were found, and another one is bad here."""
    ids = list(simulated.recording.channel_ids)
    found = detect_sequences(simulated.recording.select_channels(ids[:5] + ids[6:]), num_processes=1)
    other = simulated.recording.select_channels(ids[:12] + ids[13:])
    assert sum(map(len, trains(found.sort_offline(other)))) > 0
    assert "lacks 1 of the 15 channels" in caplog.text
    assert "left out: ch5" in caplog.text


def test_a_channel_that_was_bad_before_is_left_out(simulated, caplog) -> None:
    ids = list(simulated.recording.channel_ids)
    found = detect_sequences(simulated.recording.select_channels(ids[:5] + ids[6:]), num_processes=1)
    assert sum(map(len, trains(found.sort_offline(simulated.recording)))) > 0
    assert "not found on 1 channels of the recording, which are left out: ch5" in caplog.text


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


def test_after_a_reset_a_stream_is_a_fresh_one(rt_sort, simulated) -> None:
    """In the midst of a recording, filtered or not: what came before leaves no spike and no time behind."""
    traces = simulated.recording.get_traces()
    for band_pass in (None, StreamBandPass()):
        fresh, used = (rt_sort.stream(band_pass=band_pass) for _ in range(2))
        expected = np.concatenate([fresh.push(traces[5000:9000]), fresh.finish()])
        assert len(expected) > 5
        used.push(traces[:4321])
        assert used.n_frames == 4321
        used.reset()
        assert used.n_frames == 0
        found = used.push(traces[5000:9000])
        assert used.n_frames == 4000
        np.testing.assert_array_equal(np.concatenate([found, used.finish()]), expected)
        assert used.n_frames == 0  # the end is a reset too
        np.testing.assert_array_equal(np.concatenate([used.push(traces[5000:9000]), used.finish()]), expected)


def test_a_stream_says_how_late_it_is(rt_sort) -> None:
    """A block of 2.5 ms, a window of 1 ms before and 1.5 ms after the peak, and the filter's look ahead."""
    fs = rt_sort.sampling_frequency
    assert rt_sort.stream().latency_ms == pytest.approx(2.5 + 2.5 + 1.5, abs=1000 / fs)
    waiting = rt_sort.stream(band_pass=StreamBandPass(look_ahead_ms=3.0))
    assert waiting.latency_ms == pytest.approx(rt_sort.stream().latency_ms + 3.0)


def test_a_stream_refuses_what_it_cannot_sort_and_goes_on(rt_sort, simulated) -> None:
    stream = rt_sort.stream()
    for shape in ((10, 3), (16,), (16, 10)):
        with pytest.raises(ValueError, match=r"Expected frames of shape \(n, 16\), got"):
            stream.push(np.zeros(shape))
    broken = np.zeros((10, 16))
    broken[7, 3] = np.inf
    with pytest.raises(ValueError, match=r"not finite; after a gap in the data call reset\(\)"):
        stream.push(broken)
    assert stream.n_frames == 0
    assert len(stream.push(simulated.recording.get_traces()[:0])) == 0


def test_the_callers_buffer_may_be_used_again(rt_sort, simulated) -> None:
    traces = np.ascontiguousarray(simulated.recording.get_traces()[:4000], dtype=np.float32)
    stream, whole = rt_sort.stream(), rt_sort.stream()
    expected = np.concatenate([whole.push(traces), whole.finish()])
    buffer = traces[:2000].copy()
    parts = [stream.push(buffer)]
    buffer[:] = traces[2000:]
    parts.append(stream.push(buffer))
    buffer[:] = 1e3
    np.testing.assert_array_equal(np.concatenate([*parts, stream.finish()]), expected)


def test_a_rate_may_be_off_by_a_thousandth_and_electrodes_by_a_micrometre(rt_sort, simulated) -> None:
    traces = Traces.of(simulated.recording)
    fs, locations = traces.sampling_frequency, traces.locations
    for share in (0.9991, 1.0009):
        rt_sort.check(replace(traces, sampling_frequency=share * fs))
    for share in (0.9989, 1.0011):
        with pytest.raises(ValueError, match="found at 20000 Hz, the recording has .* detect sequences again"):
            rt_sort.check(replace(traces, sampling_frequency=share * fs))
    rt_sort.check(replace(traces, locations=locations + np.array([0.99, -0.99])))
    with pytest.raises(ValueError, match="electrodes of the recording are elsewhere"):
        rt_sort.check(replace(traces, locations=locations + np.array([0, 1.1])))
    with pytest.raises(ValueError, match="the same electrodes, in the same order"):
        rt_sort.check(replace(traces, locations=locations[::-1]))


def test_a_saved_folder_is_of_format_3_and_no_other_is_read(rt_sort, simulated, tmp_path, monkeypatch) -> None:
    """Its name may be a text, it may be deep, and there already."""
    monkeypatch.chdir(tmp_path)
    assert rt_sort.save("some/where") == rt_sort.save("some/where") == Path("some/where")
    assert sorted(path.name for path in Path("some/where").iterdir()) == ["rt_sort.json", "sequences.npz"]
    settings = json.loads(Path("some/where/rt_sort.json").read_text())
    assert settings["format"] == 3
    assert settings["n_sequences"] == rt_sort.n_sequences
    loaded = RTSort.load("some/where")
    assert loaded.channel_ids == rt_sort.channel_ids
    assert loaded.parameters == rt_sort.parameters
    np.testing.assert_array_equal(loaded.locations, rt_sort.locations)
    for number in (1, 4):
        Path("some/where/rt_sort.json").write_text(json.dumps(settings | {"format": number}))
        with pytest.raises(ModelLoadingError, match=f"format {number}, expected 3") as raised:
            RTSort.load("some/where")
        assert raised.value.model_path == Path("some/where")


def test_what_is_not_asked_for_is_not_shown(rt_sort, simulated, monkeypatch) -> None:
    """Progress, offline and while sequences are looked for; where it is asked for, all seconds are counted."""
    shown: dict[str, list[float]] = {}

    def watch(work: Progress) -> None:
        shown.setdefault(work.label, []).append(work.done)

    with watched(watch):
        detect_sequences(simulated.recording, num_processes=1)
        traces = Traces.of(simulated.recording)
        rt_sort.sort_offline(simulated.recording)
        rt_sort.spikes(traces)
        model = ModelSpikeSorter.load_bundled("mea")
        detect.detect_all(traces, model, rt_sort.parameters)
        assert shown == {}
        rt_sort.sort_offline(simulated.recording, verbose=True, chunk_values=50_000)
        detect.detect_all(traces, model, rt_sort.parameters, verbose=True, chunk_values=100_000)
    # 25 000 frames: eight times the values
    assigning, detecting = shown["RT-Sort: assigning spikes"], shown["RT-Sort: detecting spikes"]
    assert assigning == pytest.approx([0, 1.25, 2.5, 3.75, 5.0, 6.25, 7.5, 8.0, 8.0])
    assert detecting == pytest.approx([*np.arange(0, 8, 0.625), 8.0, 8.0])


def test_every_step_of_the_search_is_shown(simulated) -> None:
    """Of the work as a whole, which goes from nothing to all and never back."""
    labels: dict[str, None] = {}
    shares = []

    def watch(work: Progress) -> None:
        labels.setdefault(work.label)
        shares.append(work.whole.share)

    with watched(watch):
        detect_sequences(simulated.recording, num_processes=1, verbose=True)
    assert [label for label in labels if "round" not in label] == [
        "RT-Sort: measuring the noise",
        "RT-Sort: detecting spikes",
        "RT-Sort: grouping spikes that look alike",
        "RT-Sort: matching spikes to neurons",
    ]
    rounds = [label.partition(", ")[2] for label in labels if "round" in label]
    assert rounds[:3] == [
        "round 1: matching spikes to neurons",
        "round 1: learning waveforms",
        "round 1: looking for missed neurons",
    ]
    assert rounds[3] == "round 2: matching spikes to neurons"
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1.0, abs=0.08)  # nothing is looked for after the last round


def test_memory_is_asked_for_before_events_are_grouped(simulated, monkeypatch) -> None:
    asked: list[tuple[int, int | None, str]] = []

    class Enough(Exception):
        pass

    def require(needed: int, allowed: int | None, what: str) -> None:
        asked.append((needed, allowed, what))
        if len(asked) == 2:
            raise Enough

    monkeypatch.setattr(detect, "require", require)
    with pytest.raises(Enough):
        detect_sequences(simulated.recording, num_processes=1, memory_bytes=123, chunk_values=4096)
    (first, *_), (second, *_) = asked
    n_peaks, n_groups = (int(what.split()[0]) for _, _, what in asked)
    size = (160_000, 16, 20_000.0, 4096)
    assert (first, second) == (learning_bytes(*size, 0, n_peaks), learning_bytes(*size, n_groups, n_peaks))
    assert n_groups >= 4
    assert [rest for _, *rest in asked] == [
        [123, f"{n_peaks} spikes on single electrodes"], [123, f"{n_groups} groups of events"],
    ]  # fmt: skip
