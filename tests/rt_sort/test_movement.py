"""Units that moved: kept with the sequences, on disk, followed offline and in a stream, and how far they went."""

from __future__ import annotations

import json
import pickle
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording
from tests.simulated import Simulated, noise_of, spike_shape

from small import traces_of
from spikelab.spike_sorting.rt_sort import RTSort, detect_sequences
from spikelab.spike_sorting.rt_sort.matching.moving import Versions
from spikelab.spike_sorting.rt_sort.movement import Movement
from spikelab.spike_sorting.rt_sort.traces import Traces

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.rt_sort import RTSortStream

FS, PITCH = 20_000.0, 20.0


def drifting(duration_s: float = 24.0, moved_um: float = 30.0) -> Simulated:
    """Two units along a row of electrodes, which move along it at a steady pace, and a third far away that stays."""
    rng = np.random.default_rng(3)
    n_frames = round(duration_s * FS)
    electrodes = np.arange(12) * PITCH
    traces = noise_of(rng, (n_frames, len(electrodes)), 6.0, 0.0)
    shape = spike_shape(FS)
    peak = int(np.argmin(shape))
    slots = np.arange(1200, n_frames - 1200, 160)
    frames = []
    for place, moves in ((40.0, 1), (100.0, 1), (200.0, 0)):
        chosen = np.sort(rng.choice(slots, size=round(10 * duration_s), replace=False)) + rng.integers(0, 20)
        for frame in chosen:
            here = place + moves * moved_um * frame / n_frames
            sizes = 130 * np.exp(-np.abs(electrodes - here) / 22)
            traces[frame - peak : frame - peak + len(shape)] += shape[:, None] * sizes.astype(np.float32)
        frames.append(chosen)
    recording = NumpyRecording([traces], FS, channel_ids=[f"ch{i}" for i in range(len(electrodes))])
    recording.set_dummy_probe_from_locations(np.column_stack([electrodes, np.zeros(len(electrodes))]))
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    return Simulated(recording, frames)


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    return drifting()


@pytest.fixture(scope="module")
def rt_sort(simulated: Simulated) -> RTSort:
    return detect_sequences(simulated.recording, num_processes=1)


def trains(sorting) -> list[list[int]]:  # type: ignore[no-untyped-def]
    return [sorting.get_unit_spike_train(unit).tolist() for unit in sorting.unit_ids]


def share_found(true: np.ndarray, train: list[int]) -> float:
    found = np.array(train)
    return float(np.mean([np.min(np.abs(found - frame)) <= 8 for frame in true])) if len(found) else 0.0


def test_units_that_move_are_found_whole_and_measured(rt_sort: RTSort, simulated: Simulated) -> None:
    found = trains(rt_sort.sort_offline(simulated.recording))
    assert len(found) == 3
    best = [int(np.argmax([share_found(true, train) for train in found])) for true in simulated.frames]
    assert sorted(best) == [0, 1, 2]
    for true, unit in zip(simulated.frames, best, strict=True):
        assert share_found(true, found[unit]) > 0.97
    sorting = rt_sort.sort_offline(simulated.recording)
    assert sorting.get_property("moved_um").tolist() == rt_sort.moved_um.tolist()
    assert sorting.get_property("size_ratio").tolist() == rt_sort.size_ratio.tolist()
    unmoved = rt_sort.sort_offline(simulated.recording, follow=False)
    assert "moved_um" not in unmoved.get_property_keys()
    for same in (sorting, unmoved):  # it is of the recording that was learnt on, whatever is followed
        np.testing.assert_array_equal(same.get_property("sorter_significance"), rt_sort.sequences.significance)
    moved = rt_sort.moved_um[best]
    np.testing.assert_allclose(moved[:2], 27, atol=8)  # first and last version are means over some seconds
    assert moved[2] == 0
    assert rt_sort.size_ratio[best[2]] == 1
    assert (rt_sort.size_ratio >= 1).all()


def test_the_same_recording_is_followed_and_another_is_not(rt_sort: RTSort, simulated: Simulated) -> None:
    traces = Traces.of(simulated.recording)
    assert rt_sort.movement is not None
    sigma = rt_sort.noise.sigma
    assert rt_sort.movement.is_of(traces, sigma)
    assert rt_sort.movement.is_of(traces.silent_in(np.array([[0, traces.n_frames]]), 10), sigma)
    assert rt_sort.movement.is_of(Traces.of(simulated.recording, (12_000, 24_000)), sigma)
    assert not rt_sort.movement.is_of(Traces.of(simulated.recording, (10, 20)), sigma)  # no mark is within
    other = traces_of(simulated.recording.get_traces()[1:], FS)
    assert not rt_sort.movement.is_of(other, sigma)
    followed = trains(rt_sort.sort_offline(simulated.recording))
    assert followed == trains(rt_sort.sort_offline(simulated.recording, follow=True))
    explained = [rt_sort.spikes(traces, follow=follow)["energy"].sum() for follow in (None, True, False)]
    assert explained[0] == explained[1] > 1.1 * explained[2]


def test_a_part_is_sorted_at_its_place_of_the_recording(rt_sort: RTSort, simulated: Simulated) -> None:
    whole = trains(rt_sort.sort_offline(simulated.recording))
    part = trains(rt_sort.sort_offline(simulated.recording, recording_window_ms=(12_000, 24_000)))
    for one, other in zip(whole, part, strict=True):
        wanted = [frame for frame in one if 241_000 < frame < 479_000]
        assert [frame for frame in other if 241_000 < frame < 479_000] == pytest.approx(wanted, abs=2)


@pytest.mark.parametrize("size", [100, 7_777])
def test_a_stream_of_the_recording_follows_it_too(rt_sort: RTSort, simulated: Simulated, size: int) -> None:
    traces = simulated.recording.get_traces()
    stream = rt_sort.stream(from_frame=0)
    spikes = np.concatenate(
        [*(stream.push(traces[start : start + size]) for start in range(0, len(traces), size)), stream.finish()]
    )
    offline = trains(rt_sort.sort_offline(simulated.recording))
    assert [sorted(spikes["frame"][spikes["template"] == unit].tolist()) for unit in range(3)] == offline
    assert stream.latency_ms < rt_sort.stream().latency_ms + 1


def test_a_stream_that_begins_again_knows_where_in_the_recording_it_is(rt_sort: RTSort, simulated: Simulated) -> None:
    traces = simulated.recording.get_traces()
    early, late = traces[:60_000], traces[-60_000:]
    at_late = len(traces) - len(late)

    def sorted_by(stream: RTSortStream, frames: NDArray[np.float32]) -> NDArray[np.void]:
        return np.sort(np.concatenate([stream.push(frames), stream.finish()]), order=["frame", "template"])

    expected, of_start = (sorted_by(rt_sort.stream(from_frame=at_late), part) for part in (late, early))
    stream = rt_sort.stream(from_frame=at_late)
    np.testing.assert_array_equal(sorted_by(stream, late), expected)
    np.testing.assert_array_equal(sorted_by(stream, late), expected)  # finish() has it begin there again
    stream.push(late[:5_000])
    stream.reset()
    np.testing.assert_array_equal(sorted_by(stream, late), expected)
    stream.reset(0)
    again = sorted_by(stream, early)
    np.testing.assert_array_equal(again, sorted_by(rt_sort.stream(from_frame=0), early))
    assert again.tolist() != of_start.tolist()
    stream.reset(at_late)
    assert stream.n_frames == 0
    np.testing.assert_array_equal(sorted_by(stream, late), expected)
    with pytest.raises(ValueError, match=r"from_frame is 7, but this stream .* where they were last"):
        rt_sort.stream().reset(7)


def test_a_stream_looks_for_units_where_they_were_last(rt_sort: RTSort, simulated: Simulated) -> None:
    last = simulated.recording.get_traces()[-80_000:]
    now, once = (rt_sort.stream(from_frame=frame) for frame in (None, 0))
    found_now, found_once = (np.concatenate([stream.push(last), stream.finish()]) for stream in (now, once))
    true = sum(int(np.sum(frames > 400_000)) for frames in simulated.frames)
    assert abs(len(found_now) - true) < 0.03 * true
    assert len(found_once) != len(found_now)
    end, start = rt_sort.bank(), rt_sort.bank(0)
    np.testing.assert_array_equal(end.dense(), rt_sort.bank(480_000).dense())
    assert np.abs(end.dense() - start.dense()).max() > 10


def test_saved_and_pickled_it_is_the_same(rt_sort: RTSort, simulated: Simulated, tmp_path) -> None:  # type: ignore[no-untyped-def]
    expected = trains(rt_sort.sort_offline(simulated.recording))
    for again in (RTSort.load(rt_sort.save(tmp_path / "saved")), pickle.loads(pickle.dumps(rt_sort))):
        assert again.movement is not None
        for field in fields(Movement):
            np.testing.assert_array_equal(getattr(again.movement, field.name), getattr(rt_sort.movement, field.name))
        assert trains(again.sort_offline(simulated.recording)) == expected


def test_folders_of_the_format_before_are_read_without_what_is_new(
    rt_sort: RTSort, simulated: Simulated, tmp_path: Path
) -> None:
    folder = replace(rt_sort, movement=None).save(tmp_path / "old")
    settings = json.loads((folder / "rt_sort.json").read_text())
    (folder / "rt_sort.json").write_text(json.dumps(settings | {"format": 2}))
    with np.load(folder / "sequences.npz") as data:
        arrays = {name: data[name] for name in data if name != "sequence_significance"}
    np.savez(folder / "sequences.npz", **arrays)
    old = RTSort.load(folder)
    assert np.isnan(old.sequences.significance).all()
    assert "sorter_significance" not in old.sort_offline(simulated.recording).get_property_keys()
    assert old.movement is None
    assert old.moved_um.tolist() == [0] * 3
    assert old.size_ratio.tolist() == [1] * 3
    assert len(old.moving_bank().borders) == 0


def waveform(channels: list[int], sizes: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(channels), np.array(sizes, np.float32)[:, None] * np.array([0, -1, 0.2], np.float32)


def test_only_units_that_change_are_kept() -> None:
    still, first, second, third = (
        waveform(*given)
        for given in (([0], [50.0]), ([0, 1], [40.0, 10.0]), ([1, 0, 2], [30.0, 15, 12]), ([2], [20.0]))
    )
    versions = Versions(np.array([0, 1, 1, 1, 2]), np.array([0, 0, 30, 60, 0]), (still, first, second, third, still))
    whole = traces_of(np.random.default_rng(0).normal(size=(107, 3)), FS)
    traces = replace(whole, start=7)
    movement = Movement.of(versions, traces)
    assert movement.units.tolist() == [1, 1, 1]
    assert movement.starts.tolist() == [7, 37, 67]
    assert movement.mark_frames.min() == 7
    assert movement.mark_frames.max() == 106
    back = movement.versions([still, still, third])
    assert (back.templates.tolist(), back.starts.tolist()) == ([0, 1, 1, 1, 2], [0, 7, 37, 67, 0])
    for (channels, values), (own, expected) in zip(back.waveforms, (still, first, second, third, third), strict=True):
        assert channels.tolist() == own.tolist()
        np.testing.assert_array_equal(values, expected)
    locations = np.array([[0.0, 0], [0, 20], [0, 40]])
    # Centres: weights are what is above 0.3 of the largest peak. 0; 0.7 at 20 um, 0.2 at 0, 0.1 at 40 um; 40.
    np.testing.assert_allclose(movement.distances_um(locations, 3), [0, 40, 0])
    np.testing.assert_allclose(movement.size_ratios(3), [1, 2, 1])
    assert movement.subset(np.array([False, True, False])).units.tolist() == [0, 0, 0]
    assert len(movement.subset(np.array([True, False, True])).units) == 0
    nothing = Movement.of(Versions.of([still, first]), traces)
    assert len(nothing.units) == 0
    assert nothing.is_of(traces, np.ones(3, np.float32))  # known again, although nothing moved
    other = traces_of(np.random.default_rng(1).normal(size=(107, 3)), FS)
    assert not nothing.is_of(replace(other, start=7), np.ones(3, np.float32))
    assert not Movement.none(3).is_of(traces, np.ones(3, np.float32))  # as an earlier version has saved it
    assert nothing.versions([still, first]).n_each.tolist() == [1, 1]
    assert nothing.distances_um(locations, 2).tolist() == [0, 0]
    assert nothing.size_ratios(2).tolist() == [1, 1]
