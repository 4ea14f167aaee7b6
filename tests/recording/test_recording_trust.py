"""What a recording brings along is not run, and files outside of its folder are not read, unless somebody says so."""

from __future__ import annotations

import json
import os
import shutil

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from spikelab.cli import cli
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.recording import inspect_file, open_recording, write_maxwell

FS = 20_000.0
TRUSTING = RecordingConfig(trust_input=True)


class Runs:
    """A pickle of it makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def folder(tmp_path, in_memory, gaussian, store):
    return store(in_memory(gaussian(20_000), gain=1.0), tmp_path / "data" / "rec")


def _problem(path):
    (info,) = inspect_file(path)
    assert not info.readable
    return info.problem


def _describe(folder, **changes):
    file = folder / "si_folder.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    "name",
    [
        "os.mkdir",
        "builtins.eval",
        "subprocess.Popen",
        "spikeinterface.core.binaryfolder.shutil",
        "spikeinterface.extractors.sinapsrecordingextractors.SinapsResearchPlatformRecordingExtractor",
        "spikeinterface.core.numpyextractors.NumpySorting",
        "spikeinterface.core.loading.load",
        "",
        None,
        7,
    ],
)
def test_only_recordings_are_named(folder, tmp_path, config, name):
    _describe(folder, **{"class": name, "kwargs": {"path": str(tmp_path / "data" / "made")}})
    with pytest.raises(ValueError, match="none of the recordings") as caught:
        open_recording(folder, config)
    assert str(folder) in str(caught.value)
    assert repr(str(name)) in str(caught.value)
    assert "trust_input" in _problem(folder)
    assert not (tmp_path / "data" / "made").exists()


def _evil(made):
    return {"class": "os.mkdir", "module": "os", "version": "1", "annotations": {}, "kwargs": {"path": str(made)}}


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: [e], lambda e: {"a": e}, lambda e: [[{"b": [e]}]]])
def test_nor_anywhere_below(folder, tmp_path, config, wrap):
    made = tmp_path / "data" / "made"
    above = {
        "class": "spikeinterface.preprocessing.normalize_scale.ScaleRecording",
        "kwargs": {"recording": wrap(_evil(made))},
    }
    _describe(folder, **above)
    with pytest.raises(ValueError, match=r"names 'os\.mkdir'"):
        open_recording(folder, config)
    assert not made.exists()


def test_steps_over_a_recording_are_opened(folder, tmp_path, config, gaussian):
    """A chain of SpikeInterface's own steps, over a folder beside it, is what people save."""
    import spikeinterface as si
    from spikeinterface.preprocessing import common_reference

    chain = tmp_path / "data" / "chain"
    chain.mkdir()
    common_reference(si.load(folder)).frame_slice(0, 10_000).dump_to_json(chain / "si_folder.json", relative_to=chain)
    recording = open_recording(chain, config)
    assert recording.get_num_samples() == 10_000
    assert recording.get_num_channels() == 4


def test_prepared_recordings_are_opened(folder, config):
    """The package's own classes, which the description of a filtered recording names."""
    prepared = open_recording(folder, config)
    described = folder.parent / "prepared"
    described.mkdir()
    prepared.dump_to_json(described / "si_folder.json")
    again = open_recording(described, config)
    assert again.get_num_samples() == prepared.get_num_samples()


def test_pickled_properties(folder, tmp_path, config):
    made = tmp_path / "made"
    values = np.empty(4, dtype=object)
    values[:] = [Runs(made), 0, 0, 0]
    np.save(folder / "properties" / "group.npy", values, allow_pickle=True)
    with pytest.raises(ValueError, match=r"group\.npy is a pickle that names posix\.mkdir") as caught:
        open_recording(folder, config)
    assert str(folder) in str(caught.value)
    assert "pickle" in _problem(folder)
    assert not made.exists()
    open_recording(folder, TRUSTING)
    assert made.exists()


def test_pickled_texts_are_no_danger(folder, config):
    """SpikeInterface keeps columns of text as pickles, those of NWB files for example."""
    names = np.array(["CA1", None, "CA3", 7], dtype=object)
    np.save(folder / "properties" / "area.npy", names, allow_pickle=True)
    assert open_recording(folder, config).get_property("area").tolist() == names.tolist()


def test_caches_that_are_pickles_are_not_read(folder, tmp_path, config):
    """Old versions load cached.pkl rather than the cached.json beside it."""
    import pickle

    made = tmp_path / "made"
    (folder / "si_folder.json").rename(folder / "cached.json")
    for name in ("cached.pkl", "cached.pickle", "provenance.pkl"):
        (folder / name).write_bytes(pickle.dumps(Runs(made)))
    assert open_recording(folder, config).get_num_channels() == 4
    assert not made.exists()


def test_other_places_are_not_read(folder, tmp_path, config, in_memory, gaussian, store):
    secret = tmp_path / "secret.raw"
    shutil.copy(folder / "traces_cached_seg0.raw", secret)
    description = json.loads((folder / "binary.json").read_text())
    for place in (str(secret), "../../secret.raw"):
        description["kwargs"]["file_paths"] = [place]
        (folder / "binary.json").write_text(json.dumps(description))
        with pytest.raises(ValueError, match=r"names the file .*secret\.raw.*outside of .*data"):
            open_recording(folder, config)
        assert open_recording(folder, TRUSTING).get_num_channels() == 4
    elsewhere = store(in_memory(gaussian(20_000)), tmp_path / "elsewhere")
    _describe(folder, kwargs={"folder_path": str(elsewhere)}, relative_paths=False)
    with pytest.raises(ValueError, match="outside of"):
        open_recording(folder, config)
    _describe(folder, kwargs={"folder_path": "s3://bucket/rec"}, relative_paths=False)
    with pytest.raises(ValueError, match="not a file here"):
        open_recording(folder, config)


def test_links_of_the_file_system_are_followed(folder, tmp_path, config):
    """Who can make a link where the recording is can read the file anyway."""
    big = tmp_path / "big disk"
    big.mkdir()
    (folder / "traces_cached_seg0.raw").rename(big / "traces.raw")
    (folder / "traces_cached_seg0.raw").symlink_to(big / "traces.raw")
    assert open_recording(folder, config).get_num_samples() == 20_000
    (tmp_path / "link").symlink_to(folder)
    assert open_recording(tmp_path / "link", config).get_num_samples() == 20_000


def test_pickles_in_zarr(tmp_path, in_memory, gaussian, store, config):
    import numcodecs
    import zarr

    store(in_memory(gaussian(20_000), gain=1.0), tmp_path / "rec", format="zarr")
    path, made = tmp_path / "rec.zarr", tmp_path / "made"
    values = np.array([Runs(made), 0, 0, 0], dtype=object)
    group = zarr.open_group(str(path), "a")["properties"]
    group.create_dataset("odd", data=values, object_codec=numcodecs.Pickle())
    with pytest.raises(ValueError, match=r"pickled values \(properties/odd"):
        open_recording(path, config)
    assert "pickle" in _problem(path)
    assert not made.exists()
    description = json.loads((path / "properties/odd/.zarray").read_text())
    nested = {**description, "filters": [{"id": "n5_wrapper", "compressor": description["filters"][0]}]}
    (path / "properties/odd/.zarray").write_text(json.dumps(nested))
    with pytest.raises(ValueError, match="pickled values"):
        open_recording(path, config)
    (path / "properties/odd/.zarray").write_text(json.dumps({**description, "filters": []}))
    (path / ".zmetadata").write_text(json.dumps({"metadata": {"properties/odd/.zarray": description}}))
    with pytest.raises(ValueError, match=r"pickled values \(\.zmetadata"):
        open_recording(path, config)


@pytest.fixture
def maxwell(tmp_path, noise_counts):
    path = tmp_path / "data" / "rec.raw.h5"
    path.parent.mkdir()
    write_maxwell(path, noise_counts(4, 20_000), FS, np.column_stack([np.zeros(4), 40.0 * np.arange(4)]))
    return path


@pytest.mark.parametrize("where", ["wells", "data_store/data0000/groups/routed/raw"])
def test_hdf5_links_to_other_files(maxwell, tmp_path, config, where):
    """Opening the link would open the other file: a pipe, for example, for ever."""
    other = tmp_path / "other.h5"
    shutil.copy(maxwell, other)
    beside = maxwell.with_name("beside.h5")
    shutil.copy(maxwell, beside)
    for target, fine in ((other, False), (tmp_path / "missing.h5", False), ("../other.h5", False), ("beside.h5", True)):
        with h5py.File(maxwell, "a") as file:
            del file[where]
            file[where] = h5py.ExternalLink(str(target), "/" + where)
        if fine:
            assert open_recording(maxwell, config).get_num_samples() == 20_000
            continue
        with pytest.raises(ValueError, match=f"{where} is a link to .*outside of .*data"):
            open_recording(maxwell, config)
        assert "outside of" in _problem(maxwell)
    with h5py.File(beside, "a") as file:  # a chain
        file["more"] = h5py.ExternalLink(str(other), "/x")
    with pytest.raises(ValueError, match="more is a link to"):
        open_recording(maxwell, config)
    assert open_recording(maxwell, TRUSTING).get_num_samples() == 20_000


@pytest.mark.parametrize("kind", ["external", "virtual"])
@pytest.mark.parametrize("what", ["groups/routed/raw", "settings/mapping"])
def test_hdf5_values_in_other_files(maxwell, tmp_path, config, kind, what):
    secret = tmp_path / "secret"
    with h5py.File(maxwell, "a") as file:
        name = f"data_store/data0000/{what}"
        values = file[name][()]
        del file[name]
        if kind == "external":
            secret.write_bytes(values.tobytes())
            file.create_dataset(name, values.shape, values.dtype, external=[(str(secret), 0, values.nbytes)])
        else:
            with h5py.File(secret, "w") as source:
                source["x"] = values
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[...] = h5py.VirtualSource(str(secret), "x", values.shape)
            file.create_virtual_dataset(name, layout)
    with pytest.raises(ValueError, match="the values of .*are in (the|another) file"):
        open_recording(maxwell, config)


def test_command_line(folder, tmp_path):
    values = np.empty(4, dtype=object)
    values[:] = [Runs(tmp_path / "made"), 0, 0, 0]
    np.save(folder / "properties" / "group.npy", values, allow_pickle=True)
    run = CliRunner()
    assert "cannot be read" in run.invoke(cli, ["inspect", str(folder)]).output
    refused = run.invoke(cli, ["sort", str(folder), "--sorter", "threshold", "--results", str(tmp_path / "out")])
    assert refused.exit_code == 3
    assert not (tmp_path / "made").exists()
    assert "ok" in run.invoke(cli, ["inspect", "--trust", str(folder)]).output
    assert (tmp_path / "made").exists()
