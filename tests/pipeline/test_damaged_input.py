"""Files that are damaged, incomplete or something else, really made so: each is named, and none stops a batch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from simulated import save_recording, simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import SortBatchError

SETTINGS: dict[str, Any] = {"sorter": "threshold", "spikes_min_first": 1, "spikes_min_second": 1, "n_jobs": 1}
RECORDING = simulate(duration_s=2.0).recording


def folder(path: Path) -> Path:
    return save_recording(RECORDING, path)


def zarr(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        RECORDING.save(folder=path, format="zarr", verbose=False, progress_bar=False, n_jobs=1)
    return path.with_name(path.name + ".zarr")


def nwb(path: Path) -> Path:
    pynwb = pytest.importorskip("pynwb")
    from hdmf.backends.hdf5 import H5DataIO

    target = path.with_suffix(".nwb")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    file = pynwb.NWBFile(session_description="x", identifier="x", session_start_time=start)
    device = file.create_device(name="array")
    group = file.create_electrode_group(name="group", description="x", location="x", device=device)
    for name in ("rel_x", "rel_y"):
        file.add_electrode_column(name=name, description=name)
    for i in range(8):
        file.add_electrode(rel_x=200.0 * i, rel_y=0.0, location="x", group=group)
    counts = np.round(RECORDING.get_traces() * 10).astype(np.int16)
    file.add_acquisition(
        pynwb.ecephys.ElectricalSeries(
            name="series",
            data=H5DataIO(counts, compression="gzip", chunks=(4000, 8)),
            electrodes=file.create_electrode_table_region(region=list(range(8)), description="all"),
            rate=20_000.0,
            conversion=1e-7,
        )
    )
    with pynwb.NWBHDF5IO(target, "w") as io:
        io.write(file)
    return target


def first_chunk(path: Path) -> Path:
    return next(p for p in sorted(path.rglob("*")) if p.is_file() and p.name[0].isdigit() and p.stat().st_size > 1000)


def cut(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:n_bytes])


def overwrite_chunk(path: Path) -> None:
    with h5py.File(path, "r") as file:
        offset = file["acquisition/series/data"].id.get_chunk_info(3).byte_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 50] = bytes(50)
    path.write_bytes(data)


def drop_key(path: Path) -> None:
    description = json.loads((path / "binary.json").read_text())
    del description["kwargs"]["sampling_frequency"]
    (path / "binary.json").write_text(json.dumps(description))


def drop_electrodes(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["acquisition/series/electrodes"]


CASES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any], type[Exception], type, str]] = {
    "cut inside a frame": (
        folder, lambda path: cut(path / "traces_cached_seg0.raw", 1_279_001), ValueError, type(None), "is truncated",
    ),
    "traces missing": (
        folder, lambda path: (path / "traces_cached_seg0.raw").unlink(), FileNotFoundError, FileNotFoundError,
        "is incomplete: .*traces_cached_seg0",
    ),
    "description cut": (
        folder, lambda path: cut(path / "binary.json", 20), ValueError, ValueError, "cannot be read as spikeinterface",
    ),
    "description empty": (
        folder, lambda path: (path / "binary.json").write_text("{}"), ValueError, KeyError, "cannot be read as",
    ),
    "description without a key": (folder, drop_key, ValueError, TypeError, "sampling_frequency"),
    "zarr chunk": (
        zarr, lambda path: first_chunk(path).write_bytes(b"\1\2" * 200), ValueError, RuntimeError, "decompress",
    ),
    "zarr attributes": (
        zarr, lambda path: (path / ".zattrs").write_text("{"), ValueError, ValueError, "cannot be read as zarr",
    ),
    "hdf5 truncated": (nwb, lambda path: cut(path, 30_000), ValueError, OSError, "is truncated"),
    "hdf5 chunk": (nwb, overwrite_chunk, ValueError, OSError, "filter returned failure"),
    "not hdf5": (nwb, lambda path: path.write_text("hello" * 1000), ValueError, OSError, "not an HDF5 file"),
    "hdf5 empty": (nwb, lambda path: path.write_bytes(b""), ValueError, OSError, "is empty"),
    "nwb incomplete": (nwb, drop_electrodes, ValueError, KeyError, "cannot be read as nwb"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    make, spoil, kind, cause, message = CASES[name]
    path = make(tmp_path / "damaged")
    spoil(path)
    with pytest.raises(kind, match=message) as caught:
        sort_recording([path], results_folders=[tmp_path / "out"], **SETTINGS)
    assert type(caught.value) is kind
    assert str(path) in str(caught.value)
    assert isinstance(caught.value.__cause__, cause)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "failed"
    assert not list(tmp_path.rglob("traces.dat*"))


@pytest.mark.parametrize("make", [folder, zarr, nwb])
def test_undamaged_they_are_sorted(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    (found,) = sort_recording([make(tmp_path / "sound")], results_folders=[tmp_path / "out"], **SETTINGS)
    assert found.N == 5


def test_damage_does_not_stop_a_batch_and_is_tried_again(tmp_path: Path) -> None:
    damaged, sound = folder(tmp_path / "damaged"), folder(tmp_path / "sound")
    whole = (damaged / "binary.json").read_bytes()
    cut(damaged / "binary.json", 20)
    with pytest.raises(SortBatchError) as caught:
        sort_recording([damaged, sound], **SETTINGS)
    assert [result is None for result in caught.value.results] == [True, False]
    (damaged / "binary.json").write_bytes(whole)
    assert [found.N for found in sort_recording([damaged, sound], **SETTINGS)] == [5, 5]
