"""Construction, selection and equality of SpikeData."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import spikelab
from spikelab import SpikeData


def test_trains_are_sorted_copies():
    times = np.array([3.0, 1.0, 2.0])
    sd = SpikeData([times, [5, 4]])
    np.testing.assert_array_equal(sd.train[0], [1, 2, 3])
    np.testing.assert_array_equal(sd.train[1], [4, 5])
    np.testing.assert_array_equal(times, [3, 1, 2])
    sd.train[0][0] = 99
    assert 99 not in times
    assert all(train.dtype == np.float64 for train in sd.train)


def test_top_level_name():
    assert spikelab.SpikeData is SpikeData


def test_default_length_reaches_the_last_spike():
    sd = SpikeData([[1, 7.5], [], [9]], start_time=-2)
    assert (sd.N, sd.length, sd.end_time) == (3, 11, 9)


@settings(deadline=None)
@given(st.floats(-1e4, 1e4), st.lists(st.floats(-1e4, 1e6), min_size=1))
@example(start=-34.1, times=[44.19])  # -34.1 + (44.19 + 34.1) < 44.19 in floating point
def test_default_length_never_excludes_a_spike(start, times):
    times = [max(time, start) for time in times]
    sd = SpikeData([times], start_time=start)
    assert sd.end_time >= max(times)
    assert sd.subset([0]) == sd


def test_no_units_and_no_spikes():
    sd = SpikeData([])
    assert (sd.N, sd.length) == (0, 0)
    assert sd.neuron_attributes is None
    assert sd.unit_attributes == []
    assert sd.subset([]) == sd
    assert SpikeData([], neuron_attributes=[]).neuron_attributes == []
    assert sd.interspike_intervals() == []
    assert SpikeData([], N=2).N == 2


def test_n_pads_and_must_not_cut():
    sd = SpikeData([[1.0]], N=3, neuron_attributes=[{}, {}, {"unit_id": 7}])
    assert [len(train) for train in sd.train] == [1, 0, 0]
    assert sd.unit_ids == [0, 1, 7]
    with pytest.raises(ValueError, match=r"N=1 is less than the 2 spike trains"):
        SpikeData([[1], [2]], N=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": [[1], [np.nan]]}, r"unit 1: spike time NaN is not a finite"),
        ({"train": [[np.inf, 1]]}, r"unit 0: spike time inf is not a finite"),
        (
            {"train": [[1], [-0.5, 2]]},
            r"unit 1: spike time -0.5 ms is outside of the data, \[0.0, 2.0\] ms: it is before start_time",
        ),
        (
            {"train": [[1, 30]], "length": 20},
            r"unit 0: spike time 30.0 ms is outside of the data, \[0.0, 20.0\] ms: it exceeds end of time window",
        ),
        ({"train": [[[1, 2]]]}, r"one-dimensional .* shape \(1, 2\)"),
        ({"train": [], "length": -1}, r"'length' must not be negative, got -1.0 ms"),
        ({"train": [], "length": np.inf}, r"'length' must be a finite time"),
        ({"train": [], "start_time": np.nan}, r"'start_time' must be a finite time"),
        ({"train": [[1]], "neuron_attributes": []}, r"0 entries for 1 units"),
        ({"train": [], "raw_time": 20.0}, r"raw_time was given without raw_data"),
        ({"train": [], "raw_data": [1, 2], "raw_time": 1.0}, r"\(channels, samples\), got \(2,\)"),
        ({"train": [], "raw_data": [[1, 2]]}, r"raw_data needs raw_time"),
        ({"train": [], "raw_data": [[1, 2]], "raw_time": 0}, r"positive number of kHz, got 0"),
        ({"train": [], "raw_data": [[1, 2]], "raw_time": [0]}, r"shape \(1,\) for 2 samples"),
        ({"train": [], "raw_data": [[1, 2]], "raw_time": [1, 0]}, r"finite and increasing"),
    ],
)
def test_bad_arguments(arguments, message):
    train = arguments.pop("train")
    with pytest.raises(ValueError, match=message):
        SpikeData(train, **arguments)


def test_both_ends_belong_to_the_data():
    assert SpikeData([[5, 15]], start_time=5, length=10).N == 1


def test_raw_time_is_a_rate_or_a_clock():
    raw = np.zeros((2, 5), dtype=np.float32)
    by_rate = SpikeData([], raw_data=raw, raw_time=20.0, start_time=100)
    by_clock = SpikeData([], raw_data=raw, raw_time=100 + np.arange(5) / 20, start_time=100)
    by_metadata = SpikeData([], raw_data=raw, metadata={"fs_Hz": 20_000.0}, start_time=100)
    np.testing.assert_array_equal(by_rate.raw_time, 100 + np.arange(5) / 20)
    assert by_rate == by_clock
    np.testing.assert_array_equal(by_metadata.raw_time, by_rate.raw_time)
    assert by_rate.raw_data is raw
    assert by_rate.length == pytest.approx(0.25)
    assert SpikeData([]).raw_data.size == 0


def test_subset_by_index_mask_and_attribute():
    attributes = [{"unit_id": unit, "label": label} for unit, label in [(4, "a"), (9, "b"), (2, "a")]]
    sd = SpikeData([[1], [2, 3], []], length=10, neuron_attributes=attributes, metadata={"fs_Hz": 1e4})
    assert sd.subset([2, 0]).unit_ids == [4, 2]
    assert sd.subset([2, 0], preserve_order=True).unit_ids == [2, 4]
    assert sd.subset(1).unit_ids == [9]
    assert sd.subset(np.array([True, False, True])).unit_ids == [4, 2]
    assert sd.subset([9, 4], by="unit_id").unit_ids == [4, 9]
    assert sd.subset([9, 4], by="unit_id", preserve_order=True).unit_ids == [9, 4]
    assert sd.subset("a", by="label").unit_ids == [4, 2]
    assert sd.subset([], by="unit_id").N == 0
    assert sd.subset([1]).length == 10
    assert sd.subset([1]).metadata == sd.metadata


def test_subset_refuses_what_is_not_there():
    sd = SpikeData([[1], [2]], neuron_attributes=[{"unit_id": 4}, {"unit_id": 9}])
    with pytest.raises(ValueError, match=r"no unit has 'unit_id' in \[5\]; there are \[4, 9\]"):
        sd.subset([4, 5], by="unit_id")
    with pytest.raises(ValueError, match="unit 2 is out of range: there are 2 units"):
        sd.subset([2])
    with pytest.raises(ValueError, match=r"a mask of units must have shape \(2,\), got \(1,\)"):
        sd.subset([True])


def test_subset_leaves_the_original_alone():
    sd = SpikeData([[1]], neuron_attributes=[{"unit_id": 4}], metadata={"a": 1})
    other = sd.subset([0])
    other.neuron_attributes[0]["unit_id"] = 5
    other.metadata["a"] = 2
    other.train[0][0] = 0
    assert sd == SpikeData([[1]], neuron_attributes=[{"unit_id": 4}], metadata={"a": 1})


def test_equality_is_by_value_and_type():
    def make(**changes):
        arguments = {"metadata": {"a": [np.nan, {"b": np.arange(3)}]}, "neuron_attributes": [{"snr": np.nan}]}
        return SpikeData([[1.0]], **{**arguments, **changes})

    assert make() == make()
    assert make() != make(length=2)
    assert make() != make(metadata={"a": [np.nan, {"b": np.arange(3.0)}]})
    assert make() != make(metadata={"a": [np.nan, {"b": np.arange(4)}]})
    assert make() != make(neuron_attributes=[{"snr": None}])
    assert make() != make(neuron_attributes=[{}])
    assert make() != "SpikeData"
    with pytest.raises(TypeError, match="unhashable"):
        hash(make())


def test_pickle_and_repr():
    sd = SpikeData([[1, 2.5], [3]], length=10, metadata={"a": (1, 2)})
    assert pickle.loads(pickle.dumps(sd)) == sd
    assert repr(sd) == "SpikeData(N=2, 3 spikes, [0, 10] ms)"


def test_import_needs_no_heavy_library():
    heavy = ("spikeinterface", "h5py", "scipy", "torch")
    code = f"import sys, spikelab.spikedata; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_methods_and_files_keep_the_class(tmp_path):
    class Own(SpikeData):
        pass

    sd = Own([[1, 2, 8], [3]], length=10, metadata={"rec_chunks_ms": [[0, 5], [5, 10]]})
    kept, _ = sd.curate_by_min_spikes(2)
    sd.save(tmp_path / "own.npz")
    for made in (sd.subset(0), sd.subtime(0, 5), *sd.split_epochs(), kept, Own.load(tmp_path / "own.npz")):
        assert type(made) is Own
