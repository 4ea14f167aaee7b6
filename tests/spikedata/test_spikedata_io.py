"""Files: exact, repeatable, safe."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spikelab import SpikeData
from spikelab.spikedata import io

PORTABLE = [".npz", ".h5"]
SUFFIXES = [*PORTABLE, ".pkl"]

dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(sizes=(64,)),
    hnp.unicode_string_dtypes(max_len=3),
    hnp.byte_string_dtypes(max_len=3),
    hnp.datetime64_dtypes(),
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=3),
    arrays,
    st.sampled_from([np.float32(1.5), np.int16(-3), np.bool_(True), np.str_("é"), np.datetime64("2024-01-01")]),
)
keys = st.one_of(
    st.text(max_size=3), st.sampled_from(["$array", "$tuple", "header", "file", "spike_times", "a/b", "."])
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(st.integers(0, 5), inner, max_size=2),
    ),
    max_leaves=5,
)


@st.composite
def spike_data(draw):
    trains = draw(st.lists(st.lists(st.floats(0, 1000), max_size=5), max_size=4))
    n = len(trains)
    attributes = [{} for _ in range(n)]
    for name in draw(st.lists(keys, max_size=4, unique=True)):
        kind = draw(st.sampled_from(["anything", "one type", "one array type", "ragged"]))
        dtype = draw(dtypes)
        column = {
            "anything": values,
            "one type": draw(st.sampled_from([st.floats(), st.integers(), st.booleans(), st.text(max_size=3)])),
            "one array type": hnp.arrays(dtype, (2, 3)),
            "ragged": hnp.arrays(dtype, st.integers(0, 4).map(lambda k: (k, 2))),
        }[kind]
        for unit in range(n):
            if draw(st.integers(0, 9)):
                attributes[unit][name] = draw(column)
    raw = draw(st.one_of(st.none(), hnp.arrays(np.float32, (2, 5))))
    return SpikeData(
        trains,
        length=draw(st.floats(1000, 2000)),
        neuron_attributes=attributes,
        metadata=draw(st.dictionaries(keys, values, max_size=4)),
        raw_data=raw,
        raw_time=None if raw is None else 20.0,
    )


@pytest.mark.parametrize("suffix", PORTABLE)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(sd=spike_data())
def test_round_trip_is_exact_and_repeatable(suffix, tmp_path, sd):
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    sd.save(first)
    again = SpikeData.load(first)
    assert again == sd
    again.save(second)
    assert first.read_bytes() == second.read_bytes()


def sorted_like(n_units=5, equal_windows=True):
    rng = np.random.default_rng(0)
    attributes = []
    for i in range(n_units):
        full = rng.normal(size=(11, 4)).astype(np.float32)
        windowed = full if equal_windows else full[3:8]
        attributes.append(
            {
                "unit_id": i * 3,
                "channel": np.int64(i),
                "channel_id": str(i),
                "electrode": None if i == 2 else i,
                "x": 17.5 * i,
                "template": windowed,
                "template_full": full,
                "template_windowed": windowed,
                "snr": np.nan if i == 1 else 7.25,
                "has_pos_peak": bool(i % 2),
                "spike_train_samples": np.arange(i * 2),
                "peak_inds": np.arange(4),
            }
        )
    metadata = {
        "fs_Hz": 19_753.77,
        "channel_locations": rng.normal(size=(4, 2)),
        "rec_chunks_ms": [(0.0, 500.0), (500.0, 1000.0)],
        "nested": {"a": [1, None, {"b": np.inf}]},
    }
    return SpikeData(
        [np.arange(i * 2) * 10.0 for i in range(n_units)], length=1000, neuron_attributes=attributes, metadata=metadata
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("equal_windows", [True, False])
def test_pipeline_like_round_trip(suffix, equal_windows, tmp_path):
    sd = sorted_like(equal_windows=equal_windows)
    path = tmp_path / f"spikes{suffix}"
    sd.save(str(path))
    again = SpikeData.load(str(path))
    assert again == sd
    for values in again.neuron_attributes:
        assert values["template"] is values["template_windowed"]
        assert (values["template"] is values["template_full"]) is equal_windows
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "sd", [SpikeData([]), SpikeData([], N=2), SpikeData([[5]], start_time=5), SpikeData([[-3]], start_time=-4)]
)
def test_small_ones(suffix, sd, tmp_path):
    path = tmp_path / f"spikes{suffix}"
    sd.save(path)
    assert SpikeData.load(path) == sd


@pytest.mark.parametrize("suffix", PORTABLE)
def test_integers_of_any_size(suffix, tmp_path):
    sd = SpikeData([[], []], neuron_attributes=[{"a": 2**63, "b": 2**70}, {"a": -1, "b": -(2**70)}])
    sd.save(tmp_path / f"spikes{suffix}")
    assert SpikeData.load(tmp_path / f"spikes{suffix}") == sd


def test_npz_is_readable_by_numpy_alone(tmp_path):
    path = tmp_path / "spikes.npz"
    sd = sorted_like()
    sd.save(path)
    with np.load(path, allow_pickle=False) as data:
        names = set(data.files)
        assert data["unit_template"].shape == (5, 11, 4)  # stacked
        assert len(data["unit_spike_train_samples"]) == data["spike_counts"].sum()  # concatenated
        np.testing.assert_array_equal(data["metadata_channel_locations"], sd.metadata["channel_locations"])
    assert "unit_template_full" not in names  # shared arrays are stored once
    assert "unit_template_windowed" not in names


def test_views_of_the_same_memory_are_stored_once(tmp_path):
    sd = sorted_like()
    for values in sd.neuron_attributes:
        values["template_windowed"] = values["template_full"][:]
        values["half"] = values["template_full"][::2]
    sd.save(tmp_path / "spikes.h5")
    with h5py.File(tmp_path / "spikes.h5") as file:
        assert "unit_template_windowed" not in file
        assert file["unit_half"].shape == (5, 6, 4)
    assert SpikeData.load(tmp_path / "spikes.h5") == sd


@pytest.mark.parametrize("suffix", PORTABLE)
def test_bytes_do_not_depend_on_the_day_or_the_process(suffix, tmp_path, monkeypatch):
    here, there = tmp_path / f"here{suffix}", tmp_path / f"there{suffix}"
    sd = sorted_like()
    sd.save(tmp_path / "spikes.pkl")
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1e9)
        sd.save(here)
    code = "import sys; from spikelab import SpikeData; SpikeData.load(sys.argv[1]).save(sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, tmp_path / "spikes.pkl", there], check=True)
    assert here.read_bytes() == there.read_bytes()


def test_npz_members_have_a_fixed_date(tmp_path):
    sorted_like().save(tmp_path / "spikes.npz")
    with zipfile.ZipFile(tmp_path / "spikes.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("suffix", PORTABLE)
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (object(), "metadata_a: a value of type object"),
        ([{1, 2}], "metadata_a_0: a value of type set"),
        (np.array([None]), "dtype object"),
        (np.ma.array([1], mask=[True]), "MaskedArray"),
    ],
)
def test_what_needs_pickling_is_refused_and_nothing_is_left(suffix, value, what, tmp_path):
    with pytest.raises(TypeError, match=what):
        SpikeData([], metadata={"a": value}).save(tmp_path / f"spikes{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_old_file(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"spikes{suffix}"
    sd = sorted_like()
    sd.save(path)

    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="No space"):
        SpikeData([]).save(path)
    assert SpikeData.load(path) == sd
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_suffix(tmp_path):
    for call in (SpikeData([]).save, SpikeData.load):
        with pytest.raises(ValueError, match=r"unknown suffix '.mat' of .*; expected one of .npz, .h5, .pkl"):
            call(tmp_path / "a.mat")


def test_suffix_in_capitals(tmp_path):
    io.save(SpikeData([[1]]), tmp_path / "A.NPZ")
    assert io.load(tmp_path / "A.NPZ") == SpikeData([[1]])


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    np.savez(tmp_path / "b.npz", header=np.array('{"format": "other"}'))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04K\x01.")
    for name in ("a.npz", "a.h5"):
        with pytest.raises(ValueError, match=r"was not written by SpikeData.save"):
            SpikeData.load(tmp_path / name)
    with pytest.raises(ValueError, match=r"expected format 'spikelab.SpikeData' version 1, found 'other'"):
        SpikeData.load(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="holds a int, not a SpikeData"):
        SpikeData.load(tmp_path / "a.pkl")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_large_arrays_of_units_are_one_array_in_the_file(suffix, tmp_path):
    """They are written row by row, without a copy of all of them."""
    rng = np.random.default_rng(0)
    templates = rng.normal(size=(3, 1000, 60)).astype(np.float32)
    attributes = [{"template": template.T, "row": template[::2]} for template in templates]
    sd = SpikeData([[1.0], [2.0], [3.0]], length=10.0, neuron_attributes=attributes)
    sd.save(tmp_path / f"sd{suffix}")
    for before, after in zip(
        sd.neuron_attributes, SpikeData.load(tmp_path / f"sd{suffix}").neuron_attributes, strict=True
    ):
        for name, array in before.items():
            np.testing.assert_array_equal(after[name], array)
            assert after[name].dtype == np.float32
    if suffix == ".npz":
        with np.load(tmp_path / "sd.npz") as arrays:
            np.testing.assert_array_equal(arrays["unit_template"], templates.transpose(0, 2, 1))


def test_a_folder_says_which_of_its_files_to_load(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder; expected a file, such as neurons\.npz"):
        SpikeData.load(tmp_path)
    SpikeData([[1.0]]).save(tmp_path / "sorted_spikedata_curated.npz")
    with pytest.raises(ValueError, match=r"is a folder; .* such as sorted_spikedata_curated\.npz"):
        SpikeData.load(tmp_path)
