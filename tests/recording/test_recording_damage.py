"""What is missing, cannot be true or contradicts itself is said before anything is sorted."""

from __future__ import annotations

import json
import os
import struct

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from probeinterface import Probe, write_probeinterface

from spikelab.cli import cli
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.recording import inspect_file, open_recording, resolve_source, write_binary, write_maxwell
from spikelab.spike_sorting.recording.read_errors import reading

FS = 20_000.0


def _line(n):
    return np.column_stack([17.5 * np.arange(n), 35.0 * np.arange(n)])


# What was never written, or got lost


@pytest.fixture
def zarr(tmp_path, in_memory, gaussian, store):
    store(in_memory(gaussian(20_000), gain=1.0), tmp_path / "rec", format="zarr", chunk_duration="0.25s")
    return tmp_path / "rec.zarr"


def test_missing_chunks_of_zarr_are_named(zarr, config):
    assert open_recording(zarr, config).get_num_samples() == 20_000
    (zarr / "traces_seg0/1.0").unlink()
    (zarr / "traces_seg0/3.0").unlink()
    with pytest.raises(ValueError, match=r"2 of the 4 chunks of traces_seg0; missing are 1\.0, 3\.0, which") as caught:
        open_recording(zarr, config)
    assert str(zarr) in str(caught.value)


def test_so_are_those_of_gains(zarr, config):
    (zarr / "properties/gain_to_uV/0").unlink()
    with pytest.raises(ValueError, match=r"0 of the 1 chunks of properties/gain_to_uV"):
        open_recording(zarr, config)


@pytest.mark.parametrize(
    ("array", "change", "message"),
    [
        ("traces_seg0", {"shape": [10**12, 4]}, "4 of the 200000000 chunks"),
        ("traces_seg0", {"chunks": [10**12, 4]}, "claims chunks of"),
        ("traces_seg0", {"chunks": [0, 4]}, "which no array has"),
        ("traces_seg0", {"shape": "x"}, "which no array has"),
        ("channel_ids", {"shape": [10**10], "chunks": [4]}, r"channel_ids claims \[10000000000\] values"),
    ],
)
def test_claims_of_zarr_are_compared_with_what_is_there(zarr, config, array, change, message):
    file = zarr / array / ".zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        open_recording(zarr, config)


@pytest.fixture
def maxwell(tmp_path, noise_counts):
    path = tmp_path / "rec.raw.h5"
    write_maxwell(path, noise_counts(4, 20_000), FS, _line(4))
    return path


ROUTED, SETTINGS = "data_store/data0000/groups/routed/", "data_store/data0000/settings/"


def _replace(path, name, **dataset):
    with h5py.File(path, "a") as file:
        del file[name]
        file.create_dataset(name, **dataset)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"shape": (4, 20_000), "dtype": "u2"}, "none was written"),
        ({"shape": (4, 20_000), "dtype": "u2", "chunks": (4, 1000)}, "0 of the 20 chunks"),
        ({"shape": (4, 10**12), "dtype": "u2", "chunks": (4, 10**6)}, "0 of the 1000000 chunks"),
        ({"shape": (4, 10**12), "dtype": "u2", "chunks": (4, 10**8)}, "claims chunks of"),
        ({"data": np.zeros((4, 20_000), ">u2")}, "little-endian"),
        ({"data": np.zeros(4, "u2")}, r"counts of shape \(rows, frames\)"),
    ],
)
def test_traces_of_maxwell_that_were_never_written(maxwell, config, dataset, message):
    _replace(maxwell, ROUTED + "raw", **dataset)
    with pytest.raises(ValueError, match=message) as caught:
        open_recording(maxwell, config)
    assert str(maxwell) in str(caught.value)


def _mapping(n=4, **columns):
    table = np.zeros(n, [("channel", "<i4"), ("electrode", "<i4"), ("x", "<f8"), ("y", "<f8")])
    table["channel"], table["electrode"], table["x"] = np.arange(n), np.arange(n), 20.0 * np.arange(n)
    for name, values in columns.items():
        table[name] = values
    return table


@pytest.mark.parametrize(
    ("name", "dataset", "message"),
    [
        (SETTINGS + "mapping", {"shape": (10**10,), "dtype": _mapping().dtype, "chunks": (1000,)}, "claims .*values"),
        (SETTINGS + "mapping", {"data": _mapping()[["channel", "x"]]}, "no table with a number for each"),
        (SETTINGS + "mapping", {"data": np.arange(4)}, "no table with a number for each"),
        (SETTINGS + "mapping", {"data": _mapping(x=[0, 20, 20, 60])}, "at the same place: channels 1 and 2"),
        (SETTINGS + "mapping", {"data": _mapping(x=[0, 20, 1e300, 60])}, "farther away than"),
        (SETTINGS + "mapping", {"data": _mapping(channel=-1)}, "no channel that is connected"),
        (SETTINGS + "lsb", {"data": [np.nan]}, "nan uV per count"),
        (SETTINGS + "lsb", {"data": [0.0]}, "0 uV per count"),
        (SETTINGS + "lsb", {"data": [-6e-6]}, "-6 uV per count"),
        (SETTINGS + "lsb", {"data": np.zeros(0)}, "a number is expected"),
        (SETTINGS + "sampling", {"data": [np.nan]}, "sampling rate of nan"),
        (SETTINGS + "sampling", {"data": [0.0]}, r"sampling rate of 0\.0"),
        (SETTINGS + "sampling", {"data": [-2e4]}, "sampling rate of -20000"),
        (SETTINGS + "sampling", {"data": [b"x"]}, "a number is expected"),
        (ROUTED + "channels", {"data": np.arange(3, dtype="u2")}, "contradicts itself"),
    ],
)  # fmt: skip
def test_settings_of_maxwell_that_cannot_be(maxwell, config, name, dataset, message):
    _replace(maxwell, name, **dataset)
    with pytest.raises(ValueError, match=message) as caught:
        open_recording(maxwell, config)
    assert str(maxwell) in str(caught.value)


def test_frame_numbers_of_another_length(maxwell, config):
    _replace(maxwell, ROUTED + "frame_nos", data=np.arange(15_000))
    with pytest.warns(UserWarning, match=r"\(4, 20000\) values, and there are \(15000,\) frame numbers"):
        open_recording(maxwell, config)


def test_places_that_are_unknown(in_memory, gaussian, config):
    recording = in_memory(gaussian(20_000), gain=1.0)
    recording.set_dummy_probe_from_locations(np.array([[0, 0], [np.nan, np.nan], [0, 40], [0, np.nan]]))
    with pytest.warns(UserWarning, match="where 2 of its 4 electrodes are"):
        opened = open_recording(recording, config)
    assert opened.get_channel_locations().tolist() == [[0, 0], [0, 240], [0, 40], [0, 440]]


# A headerless file and its description


@pytest.fixture
def headerless(tmp_path):
    def make(traces, wiring=None, n_contacts=8):
        traces.tofile(tmp_path / "rec.dat")
        probe = Probe(ndim=2)
        probe.set_contacts(_line(n_contacts), shapes="circle", shape_params={"radius": 5})
        probe.set_device_channel_indices(np.arange(n_contacts) if wiring is None else wiring)
        write_probeinterface(tmp_path / "probe.json", probe)
        return tmp_path / "rec.dat", {
            "probe_path": tmp_path / "probe.json", "sampling_frequency": FS, "gain_to_uv": 1.0,
            "num_channels": traces.shape[1], "dtype": traces.dtype.str,
        }  # fmt: skip

    return make


def _counts(sigma, dtype, n_channels=8):
    return np.rint(np.random.default_rng(0).normal(0, sigma, (20_000, n_channels))).astype(dtype)


def test_more_channels_than_contacts(headerless):
    path, fields = headerless(_counts(5, "<i2"))
    with pytest.warns(UserWarning, match=r"16 channels, as num_channels says, and lasts 0\.5 s; .*8 contacts.* 1 s"):
        open_recording(path, RecordingConfig(**{**fields, "num_channels": 16}))


@pytest.mark.parametrize("sigma", [3, 30, 300])
@pytest.mark.parametrize(("stored", "other"), [("<i2", ">i2"), (">i2", "<i2"), ("<i4", ">i4"), ("<u2", ">u2")])
def test_byte_order_is_doubted(headerless, sigma, stored, other):
    path, fields = headerless((_counts(sigma, "i4") + 5000 * (stored == "<u2")).astype(stored))
    open_recording(path, RecordingConfig(**fields))  # without a warning
    with pytest.warns(UserWarning, match=f"is read as {other}.*in the other byte order, {stored}"):
        open_recording(path, RecordingConfig(**{**fields, "dtype": other}))


def test_byte_order_of_floating_point_numbers(headerless):
    path, fields = headerless(np.random.default_rng(0).normal(0, 5, (20_000, 8)).astype("<f4"))
    open_recording(path, RecordingConfig(**fields))
    with pytest.warns(UserWarning, match="are no ordinary numbers"):
        open_recording(path, RecordingConfig(**{**fields, "dtype": ">f4"}))


def test_multiples_of_256_are_right_as_they_are(headerless):
    path, fields = headerless(_counts(5, "<i2") * 256)
    open_recording(path, RecordingConfig(**fields))


@pytest.mark.parametrize(
    ("wiring", "message"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 6], "2 contacts to channel 6"),
        ([0, 1, 2, 3, 4, 5, 6, -3], "channel -3; -1 stands for none"),
        ([-1] * 8, "wires no contact"),
    ],
)
def test_wiring_that_cannot_be(headerless, wiring, message):
    path, fields = headerless(_counts(5, "<i2"), np.arange(8))
    probe = json.loads(fields["probe_path"].read_text())
    probe["probes"][0]["device_channel_indices"] = wiring
    fields["probe_path"].write_text(json.dumps(probe))
    with pytest.raises(ValueError, match=message):
        open_recording(path, RecordingConfig(**fields))


# Files that are no files, and names


@pytest.mark.parametrize("name", ["rec.raw.h5", "rec.dat", "rec.nwb", "rec.raw"])
def test_pipes_are_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is a pipe, a socket or a device"):
        resolve_source(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is a pipe, a socket or a device"):
        resolve_source(tmp_path)  # a folder of files


def test_so_are_those_inside_a_recording(tmp_path, in_memory, gaussian, store, config):
    folder = store(in_memory(gaussian(20_000), gain=1.0), tmp_path / "rec")
    for place in ("binary.json", "traces_cached_seg0.raw", "properties/x.npy"):
        (folder / place).unlink(missing_ok=True)
        os.mkfifo(folder / place)
        with pytest.raises(ValueError, match="is a pipe"):
            open_recording(folder, config)
        (folder / place).unlink()
        store(in_memory(gaussian(20_000), gain=1.0), folder, overwrite=True)
    (folder / "traces_cached_seg0.raw").unlink()
    (folder / "traces_cached_seg0.raw").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"traces_cached_seg0\.raw is a pipe"):
        open_recording(folder, config)


def test_names_that_are_too_long(tmp_path):
    with pytest.raises(ValueError, match="too long"):
        resolve_source(tmp_path / ("a" * 300 + ".dat"))
    path = tmp_path / ("a" * 247 + ".raw.h5")
    write_maxwell(tmp_path / "x.raw.h5", np.zeros((2, 10), "u2"), FS, _line(2))
    (tmp_path / "x.raw.h5").rename(path)
    stem = resolve_source(path).stem
    assert len(stem) == 180
    assert stem.startswith("aaa")
    assert resolve_source(path).stem == stem


def test_names_that_are_no_text(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.raw.h5"
    write_maxwell(tmp_path / "x.raw.h5", np.zeros((2, 10), "u2"), FS, _line(2))
    (tmp_path / "x.raw.h5").rename(os.fsdecode(path))
    with pytest.raises(ValueError, match=r"caf\\xe9\.raw\.h5 has bytes that are no text"):
        inspect_file(os.fsdecode(path))
    with pytest.raises(ValueError, match=r"caf\\xe9\.raw\.h5 has bytes that are no text"):
        resolve_source(tmp_path)
    run = CliRunner().invoke(cli, ["inspect", os.fsdecode(path)])
    assert run.exit_code == 3
    run.output.encode()


# The boundary


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x"), OSError("x"), KeyError("x"), struct.error("x"), MemoryError(), OverflowError("x"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "x"), RecursionError("x"), ZeroDivisionError("x"), AttributeError("x"),
        EOFError(), Exception("x"), OSError(22, "Invalid argument"), ValueError("a.h5: of a library"),
    ],
    ids=repr,
)  # fmt: skip
def test_whatever_a_reader_raises_names_the_file(error):
    with pytest.raises(ValueError, match=r"^a\.h5 cannot be read as nwb: ") as caught, reading("a.h5", "as nwb"):
        raise error
    assert type(caught.value) is ValueError
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [PermissionError(13, "x"), OSError(28, "No space left"), KeyboardInterrupt()], ids=repr
)
def test_what_is_not_the_files_passes(error):
    with pytest.raises(type(error)) as caught, reading("a.h5", "as nwb"):
        raise error
    assert caught.value is error


def test_a_part_that_is_not_there():
    with pytest.raises(FileNotFoundError, match="a is incomplete: b"), reading("a", "as x"):
        raise FileNotFoundError("b")


def test_damage_that_is_met_while_the_traces_are_read(zarr, config, tmp_path):
    recording = open_recording(zarr, config)
    (zarr / "traces_seg0/2.0").write_bytes(b"nonsense" * 100)
    with pytest.raises(
        ValueError, match=r"rec\.zarr cannot be read from frame 10000 to 15000|rec\.zarr cannot be read"
    ):
        write_binary(recording, tmp_path / "t.dat", n_jobs=1, total_memory="1G", seed=0)
    assert not (tmp_path / "t.dat").exists()


def test_a_heap_that_hdf5_would_read_for_ever(tmp_path, config):
    path = tmp_path / "rec.nwb"
    with h5py.File(path, "w") as file:
        for i in range(20):
            file.attrs[f"text {i}"] = "x" * 50
        file.attrs["nwb_version"] = "2.0"
    content = bytearray(path.read_bytes())
    at = content.find(b"GCOL\x01\0\0\0")
    assert at > 0
    content[at + 16 : at + 40] = bytes(24)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="read it for ever|cannot be read|no ElectricalSeries"):
        open_recording(path, config)


def test_gains_that_are_not_numbers(in_memory, gaussian, config):
    recording = in_memory(gaussian(20_000))
    recording.set_property("gain_to_uV", np.array(["a", "b", "c", "d"]))
    with pytest.raises(ValueError, match="gains that are not numbers: .*'a', 'b'"):
        open_recording(recording, config)
