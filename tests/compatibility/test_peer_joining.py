"""What scripts rely on that were written for the peer of the same name: recordings joined, in time and side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelab import SpikeData

ZERO = "2026-03-01T12:00:00+00:00"
FS = 20_000.0
PAUSE = [{"ms": 0.0, "clock_s": 5.0, "zero": ZERO}, {"ms": 600.0, "clock_s": 36.0, "zero": ZERO, "scale": 1.0}]


def with_a_pause(frames: list[list[int]]) -> SpikeData:
    """One second with a pause of the file's clock at 600 ms, all that goes with the spikes, and traces."""
    return SpikeData(
        [np.array(unit) / 20.0 for unit in frames],
        length=1000.0,
        neuron_attributes=[
            {
                "unit_id": i,
                "spike_train_samples": np.array(unit, dtype=np.int64),
                "epoch_templates": np.arange(2.0)[:, None, None] + i,
                "epoch_snr": np.array([5.0, 6.0]),
            }
            for i, unit in enumerate(frames)
        ],
        metadata={
            "fs_Hz": FS,
            "n_samples": 20_000,
            "rec_chunks_ms": [[0.0, 600.0], [600.0, 1000.0]],
            "rec_chunks_frames": [[0, 12_000], [12_000, 20_000]],
            "rec_chunk_names": ["a_0", "a_1"],
            "rec_chunk_source_files": ["a.h5", "a.h5"],
            "clock": PAUSE,
        },
        raw_data=np.arange(40_000, dtype=np.float32).reshape(2, 20_000),
        raw_time=20.0,
    )


frames = st.lists(st.lists(st.integers(0, 19_999), max_size=20, unique=True).map(sorted), min_size=1, max_size=3)


@given(frames, st.integers(1, 19_999), st.one_of(st.none(), st.just(0.0), st.integers(-500, 500).map(float)))
def test_what_was_cut_in_two_and_joined_is_what_it_was(frames: Any, cut: int, shift_to: float | None) -> None:
    sd = with_a_pause(frames)
    first, second = sd.subtime(None, cut / 20, shift_to), sd.subtime(cut / 20, None, shift_to)
    joined = first.append(second)
    start = 0.0 if shift_to is None else -shift_to
    assert (joined.start_time, joined.length) == (start, pytest.approx(1000))
    for mine, whole in zip(joined.train, sd.train, strict=True):
        np.testing.assert_allclose(mine, whole + start, atol=1e-9)
    back = joined.subtime(None, None)
    for mine, whole in zip(back.unit_attributes, sd.unit_attributes, strict=True):
        assert mine.keys() == whole.keys()
        for key, value in whole.items():
            np.testing.assert_array_equal(mine[key], value)
    for unit in range(sd.N):
        np.testing.assert_allclose(joined.times(unit, "file"), sd.times(unit, "file"), atol=1e-6)
        np.testing.assert_array_equal(joined.times(unit, "wall"), sd.times(unit, "wall"))
    np.testing.assert_array_equal(back.raw_data, sd.raw_data)
    np.testing.assert_allclose(back.raw_time, sd.raw_time, atol=1e-9)
    np.testing.assert_allclose(back.metadata["rec_chunks_ms"], sd.metadata["rec_chunks_ms"])
    same = ("fs_Hz", "n_samples", "rec_chunks_frames", "rec_chunk_names", "rec_chunk_source_files")
    assert {key: back.metadata[key] for key in same} == {key: sd.metadata[key] for key in same}
    assert len(back.metadata["clock"]) == 2


@given(st.lists(st.integers(0, 6400), max_size=30), st.integers(1, 6399))
def test_spikes_alone_come_back_exactly(ticks: list[int], cut: int) -> None:
    sd = SpikeData([np.array(ticks) / 64], length=100)
    joined = sd[: cut / 64].append(sd[cut / 64 :])
    assert joined.replace(metadata={}) == sd
    # Nobody knows whether the second begins where the first ends: no interval is counted across the joint.
    assert joined.metadata == {"rec_chunks_ms": [[0, cut / 64], [cut / 64, 100]]}


def test_the_offset_is_a_time_in_which_nothing_is_known() -> None:
    first = SpikeData([[10, 90], []], length=100, start_time=5, metadata={"source_file": "a.h5", "note": "first"})
    about = {"source_file": "b.h5", "drug": "TTX", "note": "second"}
    second = SpikeData([[30], [40]], start_time=20, length=50, metadata=about)
    both = first.append(second, offset=200)
    assert [train.tolist() for train in both.train] == [[10, 90, 315], [325]]
    assert (both.start_time, both.length) == (5, 350)
    assert both.interspike_intervals()[0].tolist() == [80]
    assert both.metadata["note"] == "first"
    assert both.metadata["drug"] == "TTX"
    before, after = both.split_epochs()
    assert before.train[0].tolist() == [5, 85]
    assert after.train[0].tolist() == [10]
    assert [part.metadata["source_file"] for part in (before, after)] == ["a.h5", "b.h5"]
    for offset in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="'offset' must be a time in ms"):
            first.append(second, offset)


def test_epochs_that_were_split_are_joined_again() -> None:
    sd = with_a_pause([[100, 15_000]])
    first, second = sd.split_epochs()
    both = first.append(second)
    assert both.train[0].tolist() == sd.train[0].tolist()
    assert both.metadata == sd.metadata | {"source_file": "a.h5"}
    assert both.unit_attributes[0]["spike_train_samples"].tolist() == [100, 15_000]


def test_only_the_same_units_are_joined_in_time() -> None:
    with pytest.raises(ValueError, match="different N: 1 and 2 units"):
        SpikeData([[1]]).append(SpikeData([[1], [2]]))


def test_appending_changes_neither() -> None:
    sd = with_a_pause([[100], [200]])
    before = with_a_pause([[100], [200]])
    sd.append(sd)
    sd.concatenate_spike_data(sd.replace(neuron_attributes=None))
    assert sd == before


def test_each_part_keeps_the_clock_of_its_file() -> None:
    day1, day2 = with_a_pause([[100, 19_999]]), with_a_pause([[100, 19_999]])
    day2.metadata["clock"] = [{**entry, "zero": "2026-03-02T08:00:00+00:00"} for entry in PAUSE]
    both = day1.append(day2.subtime(300, None), offset=50)
    np.testing.assert_allclose(both.times(0, "file"), [5005, 36_399.95, 36_399.95])
    assert both.metadata["n_samples"] == 20_000 + 1_000 + 14_000
    assert [str(moment)[:13] for moment in both.times(0, "wall")] == ["2026-03-01T12", "2026-03-01T12", "2026-03-02T08"]
    later = day1.append(day2)
    np.testing.assert_allclose(later.times(0, "file"), [*day1.times(0, "file"), *day2.times(0, "file")])
    assert later.metadata["rec_chunks_ms"] == [[0, 600], [600, 1000], [1000, 1600], [1600, 2000]]
    assert later.unit_attributes[0]["epoch_snr"].tolist() == [5, 6, 5, 6]


def test_the_joint_is_no_boundary_only_where_the_clock_goes_on() -> None:
    def minute(clock_s: float, zero: str = ZERO, scale: float = 1.0) -> SpikeData:
        clock = [{"ms": 0.0, "clock_s": clock_s, "zero": zero, "scale": scale}]
        return SpikeData([[10, 90]], length=100, metadata={"clock": clock})

    first = minute(5.0)
    on = first.append(minute(5.1))
    assert "rec_chunks_ms" not in on.metadata
    assert on.interspike_intervals()[0].tolist() == [80, 20, 80]
    np.testing.assert_allclose(on.times(0, "file"), [5010, 5090, 5110, 5190])
    for later in (first, minute(5.102), minute(5.1, "2026-03-02T12:00:00+00:00"), minute(5.1, scale=1.01)):
        both = first.append(later)
        assert both.metadata["rec_chunks_ms"] == [[0, 100], [100, 200]]
        np.testing.assert_allclose(both.times(0, "file"), [*first.times(0, "file"), *later.times(0, "file")])
        assert both.times(0, "wall")[2:].tolist() == later.times(0, "wall").tolist()
    apart = first.append(minute(5.3), offset=200)  # the clock goes on, but not all of the time was recorded
    assert apart.metadata["rec_chunks_ms"] == [[0, 100], [300, 400]]
    assert [entry["ms"] for entry in apart.metadata["clock"]] == [0, 300]


@pytest.mark.parametrize("known_first", [True, False])
def test_a_part_without_a_clock_has_none_afterwards(known_first: bool) -> None:
    known, unknown = with_a_pause([[100]]), SpikeData([[10]], length=50, neuron_attributes=[{}])
    parts = (known, unknown) if known_first else (unknown, known)
    with pytest.warns(UserWarning, match="only one of the two has the neuron attributes"):
        both = parts[0].append(parts[1])
    with pytest.raises(ValueError, match="in 1 of 3 epochs"):
        both.times(0, "file")
    part = both.split_epochs()[0 if known_first else 1]
    assert part.times(0, "file").tolist() == [5005]
    # Frames and metrics of epochs are not known of all spikes and epochs any more.
    assert both.neuron_attributes == [{"unit_id": 0}]


def test_attributes_that_both_have_are_kept_and_others_salvaged() -> None:
    first = SpikeData([[1]], length=10, neuron_attributes=[{"region": "CA1", "snr": 5.0}])
    same = SpikeData([[2]], length=10, neuron_attributes=[{"region": "CA1", "snr": 7.0}])
    assert first.append(same).neuron_attributes == [{"region": "CA1", "snr": 5.0}]
    for pair in ((first, SpikeData([[1]], length=10)), (SpikeData([[1]], length=10), first)):
        with pytest.warns(UserWarning, match="only one of the two has the neuron attributes region, snr: kept from it"):
            both = pair[0].append(pair[1])
        assert both.neuron_attributes == first.neuron_attributes


def test_frames_that_are_not_of_every_spike_are_left_out() -> None:
    sd = with_a_pause([[100, 200]])
    odd = with_a_pause([[100, 200]])
    odd.set_neuron_attribute("spike_train_samples", [np.array([100])])
    assert "spike_train_samples" in sd.append(sd).unit_attributes[0]
    for both in (sd.append(odd), odd.append(sd)):
        assert "spike_train_samples" not in both.unit_attributes[0]


def test_traces_are_joined_where_the_channels_are_the_same() -> None:
    def traces(n: int, length: float = 50) -> SpikeData:
        return (
            SpikeData([[5]], length=length, raw_data=np.ones((n, 50)), raw_time=1.0)
            if n
            else SpikeData([[5]], length=length)
        )

    both = traces(2).append(traces(2), offset=10)
    assert both.raw_data.shape == (2, 100)
    assert both.raw_time[[49, 50, 99]].tolist() == [49, 60, 109]
    late = traces(0).append(traces(2))
    assert late.raw_time[[0, -1]].tolist() == [50, 99]
    assert traces(2).append(traces(0)).raw_data.shape == (2, 50)
    with pytest.warns(UserWarning, match="raw_data are left out: 2 and 3 channels"):
        assert traces(2).append(traces(3)).raw_data.size == 0


def test_a_window_across_the_joint_is_no_waveform() -> None:
    rng = np.random.default_rng(0)
    first = SpikeData([[25, 49]], length=50, raw_data=rng.normal(size=(1, 1000)), raw_time=20.0)
    both = first.append(first)
    measured = [part.compute_waveform_metrics()[0] for part in (both, both.replace(train=[[25, 75]]))]
    np.testing.assert_array_equal(*(part.unit_attributes[0]["template"] for part in measured))


@pytest.mark.parametrize("fs_hz", [20_000.0, None])
def test_time_in_which_nothing_is_known_does_not_change_the_rate(fs_hz: float | None) -> None:
    rng = np.random.default_rng(0)
    metadata = {} if fs_hz is None else {"fs_Hz": fs_hz}
    first = SpikeData([[25]], length=50, raw_data=rng.normal(size=(1, 1000)), raw_time=20.0, metadata=metadata)
    both = first.append(first, offset=1000)
    whole, part = (sd.compute_waveform_metrics()[0].unit_attributes[0] for sd in (both, first))
    np.testing.assert_allclose(whole["template"], part["template"])


# ---- side by side ----------------------------------------------------------------------------------------------------


def test_units_are_added_in_the_shorter_window() -> None:
    first = SpikeData([[10, 90]], length=100, neuron_attributes=[{"unit_id": 3}], metadata={"a": 1, "b": 1})
    second = SpikeData([[20, 59], [35]], length=60, metadata={"b": 2, "c": 2})
    both = first.concatenate_spike_data(second)
    assert [train.tolist() for train in both.train] == [[10], [20, 59], [35]]
    assert (both.start_time, both.length) == (0, 60)
    assert both.neuron_attributes == [{"unit_id": 3}, {}, {}]
    assert both.metadata == {"a": 1, "b": 1, "c": 2}
    assert (first.N, second.N) == (1, 2)
    reverse = second.concatenate_spike_data(first)
    assert [len(train) for train in reverse.train] == [2, 1, 1]
    assert reverse.length == 60


@given(st.permutations(range(5)), st.integers(0, 5))
def test_units_apart_and_together(order: list[int], n: int) -> None:
    sd = SpikeData([[i, i + 10] for i in range(5)], length=50, neuron_attributes=[{"unit_id": i} for i in range(5)])
    apart = [sd.subset(part, preserve_order=True) for part in (order[:n], order[n:])]
    assert apart[0].concatenate_spike_data(apart[1]) == sd.subset(order, preserve_order=True)


def test_both_are_on_one_clock() -> None:
    first, second = SpikeData([[10, 30]], length=50), SpikeData([[30, 70]], start_time=20, length=60)
    both = first.concatenate_spike_data(second)
    assert [train.tolist() for train in both.train] == [[30], [30]]
    assert (both.start_time, both.end_time) == (20, 50)
    with pytest.raises(ValueError, match="no time in common"):
        first.concatenate_spike_data(SpikeData([[70]], start_time=60, length=20))


def test_epochs_and_clock_stay_where_the_two_agree() -> None:
    sd = with_a_pause([[100, 15_000], [200]])
    half = sd.subset([1]).replace(raw_data=None, raw_time=None)
    half.set_neuron_attribute("unit_id", 7)
    both = sd.concatenate_spike_data(half)
    assert both.metadata["clock"] == PAUSE
    np.testing.assert_allclose(both.times(2, "file"), sd.times(1, "file"))
    assert both.raw_data.shape == (2, 20_000)
    assert both.split_epochs()[1].train[0].tolist() == [150]


def test_what_says_when_is_left_out_where_the_two_differ() -> None:
    sd = with_a_pause([[100]])
    other = with_a_pause([[200]]).replace(raw_data=np.zeros((2, 20_000)), raw_time=20.0)
    other.metadata["rec_chunks_ms"] = [[0.0, 500.0], [500.0, 1000.0]]
    other.metadata["clock"] = [{**entry, "clock_s": 70.0} for entry in PAUSE]
    other.set_neuron_attribute("unit_id", 1)
    with pytest.warns(UserWarning, match="the two differ in it: rec_chunks_ms, .*clock, raw_data"):
        both = sd.concatenate_spike_data(other)
    assert not {"rec_chunks_ms", "clock"} & both.metadata.keys()
    assert all("epoch_snr" not in values for values in both.unit_attributes)
    assert both.raw_data.size == 0
    with pytest.raises(ValueError, match="no clock of its own"):
        both.times(1, "file")


def test_places_of_added_units_stay_where_they_were() -> None:
    first = SpikeData(
        [[1]], length=9, neuron_attributes=[{"channel": 0}], metadata={"channel_locations": np.array([[0.0, 0.0]])}
    )
    second = SpikeData(
        [[2], [3]],
        length=9,
        neuron_attributes=[{"channel": 0}, {"location": [7, 8]}],
        metadata={"channel_locations": np.array([[50.0, 60.0]])},
    )
    np.testing.assert_array_equal(first.concatenate_spike_data(second).unit_locations, [[0, 0], [50, 60], [7, 8]])
    np.testing.assert_array_equal(second.concatenate_spike_data(first).unit_locations, [[50, 60], [7, 8], [0, 0]])


def test_ids_of_two_units_are_said() -> None:
    sd = SpikeData([[1], [2]], length=9, neuron_attributes=[{"unit_id": 3}, {"unit_id": 4}])
    with pytest.warns(UserWarning, match="two units each have the unit_id 3, 4; set_neuron_attribute"):
        both = sd.concatenate_spike_data(sd)
    both.set_neuron_attribute("unit_id", range(both.N))
    assert both.unit_ids == [0, 1, 2, 3]
