"""A thousand damaged recordings: each is read as it was, or refused with its name; none hangs or takes a gigabyte."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import h5py
import numpy as np
import pytest
from harness import IN_PLACE, Case, damage_bytes, damage_json, damage_text, failures, run_cases, table

from simulated import save_recording, simulate
from spikelab.spike_sorting._exceptions import SaturatedSignalError
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.recording import inspect_file, open_recording, write_binary
from spikelab.spike_sorting.recording.parts import read_stored

FS, N_CHANNELS, N_FRAMES = 20_000.0, 6, 20_000
FIELDS: dict[str, Any] = {"num_channels": N_CHANNELS, "dtype": "<i2", "sampling_frequency": FS, "gain_to_uv": 0.5}
MAPPING = [("channel", "<i4"), ("electrode", "<i4"), ("x", "<f8"), ("y", "<f8")]
Region = tuple[int, int] | None


@cache
def counts() -> np.ndarray:
    """Noise, (frames, channels); every channel is another."""
    return np.rint(np.random.default_rng(0).normal(0, 30, (N_FRAMES, N_CHANNELS))).astype(np.int16)


@cache
def base(kind: str) -> Path:
    """An undamaged recording of each kind, made once."""
    folder = Path(mkdtemp(prefix="spikelab-fuzz-"))
    return MAKERS[kind](folder)


def _maxwell(folder: Path, *, legacy: bool = False, **storage: Any) -> Path:
    stored = (counts() + 512).T.astype("<u2")
    mapping = np.zeros(N_CHANNELS, MAPPING)
    mapping["channel"], mapping["electrode"] = np.arange(N_CHANNELS), 6640 + np.arange(N_CHANNELS)
    mapping["x"], mapping["y"] = 700 + 17.5 * np.arange(N_CHANNELS), 525
    path = folder / "rec.raw.h5"
    with h5py.File(path, "w") as file:
        where = "" if legacy else "wells/well000/rec0000/"
        for name, value in (("lsb", 6.294e-6), ("gain", 512.0), ("hpf", 300.0), ("sampling", FS)):
            file[f"{where}settings/{name}"] = np.array([value])
        if legacy:
            file["mapping"] = mapping
            file.create_dataset("sig", data=stored, **storage)
        else:
            file[where + "settings/mapping"] = mapping
            routed = file.create_group(where + "groups/routed")
            routed["channels"] = np.arange(N_CHANNELS, dtype="<u2")
            routed["frame_nos"] = np.arange(N_FRAMES, dtype="<u8")
            routed.create_dataset("raw", data=stored, **storage)
    return path


def _nwb(folder: Path, **storage: Any) -> Path:
    import pynwb
    from hdmf.backends.hdf5 import H5DataIO

    nwb = pynwb.NWBFile("x", "x", datetime(2026, 1, 1, tzinfo=UTC))
    group = nwb.create_electrode_group("g", "g", "g", nwb.create_device("d"))
    for name in ("rel_x", "rel_y"):
        nwb.add_electrode_column(name, name)
    for i in range(N_CHANNELS):
        nwb.add_electrode(group=group, location="x", rel_x=0.0, rel_y=20.0 * i)
    electrodes = nwb.create_electrode_table_region(list(range(N_CHANNELS)), "all")
    data = H5DataIO(counts(), **storage) if storage else counts()
    nwb.add_acquisition(
        pynwb.ecephys.ElectricalSeries(name="raw", data=data, electrodes=electrodes, rate=FS, conversion=5e-7)
    )
    with pynwb.NWBHDF5IO(folder / "rec.nwb", "w") as io:
        io.write(nwb)
    return folder / "rec.nwb"


def _headerless(folder: Path) -> Path:
    from probeinterface import Probe, write_probeinterface

    probe = Probe(ndim=2)
    positions = np.column_stack([np.zeros(N_CHANNELS), 20.0 * np.arange(N_CHANNELS)])
    probe.set_contacts(positions, shapes="circle", shape_params={"radius": 5})
    probe.set_device_channel_indices(np.arange(N_CHANNELS))
    write_probeinterface(folder / "probe.json", probe)
    counts().tofile(folder / "rec.dat")
    return folder / "rec.dat"


def _spikeinterface(folder: Path) -> Path:
    return save_recording(_numpy_recording(), folder / "rec")


def _zarr(folder: Path) -> Path:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _numpy_recording().save(
            folder=folder / "rec", format="zarr", verbose=False, progress_bar=False, n_jobs=1, chunk_duration="0.2s"
        )
    return folder / "rec.zarr"


def _numpy_recording() -> Any:
    from spikeinterface.core import NumpyRecording

    recording = NumpyRecording([counts()], FS, channel_ids=[f"ch{i}" for i in range(N_CHANNELS)])
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(N_CHANNELS), 20.0 * np.arange(N_CHANNELS)]))
    recording.set_channel_gains(0.5)
    recording.set_channel_offsets(0.0)
    recording.set_property("area", np.array(["CA1"] * N_CHANNELS, dtype=object))
    return recording


GZIP = {"compression": "gzip"}
MAKERS: dict[str, Callable[[Path], Path]] = {
    "maxwell": _maxwell,
    "maxwell legacy": lambda folder: _maxwell(folder, legacy=True),
    "maxwell gzip": lambda folder: _maxwell(folder, chunks=(N_CHANNELS, 4000), **GZIP),
    "nwb": _nwb,
    "nwb gzip": lambda folder: _nwb(folder, chunks=(4000, N_CHANNELS), **GZIP),
    "headerless": _headerless,
    "spikeinterface": _spikeinterface,
    "zarr": _zarr,
}


def use(path: Path, *, traces_kept: bool, **fields: Any) -> str | None:
    """Inspect, open and write as a sort does; says what is not as it was where the damage was not in the traces."""
    inspect_file(path)
    try:
        recording = open_recording(path, RecordingConfig(**fields))
        write_binary(recording, path.parent / "written.dat", n_jobs=1, total_memory="100M", seed=0)
    except SaturatedSignalError:
        return "the traces are said to be flat" if traces_kept else None
    if not traces_kept:
        return None
    stored = read_stored(recording, 0, recording.get_num_samples()).astype(np.float64)
    if len(stored) != N_FRAMES:
        return f"{len(stored)} frames"
    known = {column.tobytes() for offset in (0, 512) for column in (counts().T.astype(np.float64) + offset)}
    strange = sum(column.tobytes() not in known for column in stored.T)
    same = len({column.tobytes() for column in stored.T})
    if strange or same < stored.shape[1]:
        return f"{strange} of {stored.shape[1]} channels have other traces, {same} are different"
    if not np.isfinite(recording.get_channel_locations()).all():
        return "electrodes have no place"
    return None


def _traces_region(path: Path) -> tuple[int, int]:
    """Where the traces are in an HDF5 file: the bytes between the first and the last of them."""
    with h5py.File(path) as file:
        name = next(n for n in ("sig", "wells/well000/rec0000/groups/routed/raw", "acquisition/raw/data") if n in file)
        data = file[name]
        if data.chunks is None:
            return data.id.get_offset(), data.id.get_offset() + data.nbytes
        chunks = [data.id.get_chunk_info(i) for i in range(data.id.get_num_chunks())]
        return min(c.byte_offset for c in chunks), max(c.byte_offset + c.size for c in chunks)


def hdf5_case(kind: str, seed: int) -> Case:
    """Three in four damage the metadata, before or behind the traces, and leave every other byte where it is."""
    rng = random.Random(f"{kind} {seed}")
    in_place = seed % 4 != 0

    def make(folder: Path) -> Path:
        source = base(kind)
        content = source.read_bytes()
        low, high = _traces_region(source)
        if in_place:
            region = rng.choice([r for r in ((0, low), (high, len(content))) if r[1] - r[0] > 100])
            content = damage_bytes(content, rng, IN_PLACE, region)
        else:
            content = damage_bytes(content, rng)
        (folder / source.name).write_bytes(content)
        return folder / source.name

    # Rows that the file is asked for may be swapped by the mapping: they are still rows that it has.
    return Case(f"{kind} {seed}", make, lambda path: use(path, traces_kept=in_place))


def headerless_case(seed: int) -> Case:
    """Two in three damage the probe, the others the traces, which then are what they are."""
    rng = random.Random(f"headerless {seed}")
    what = ("json", "text", "traces")[seed % 3]

    def make(folder: Path) -> Path:
        source = base("headerless")
        shutil.copy(source, folder)
        shutil.copy(source.with_name("probe.json"), folder)
        probe = folder / "probe.json"
        if what == "json":
            probe.write_text(json.dumps(damage_json(json.loads(probe.read_text()), rng)))
        elif what == "text":
            probe.write_bytes(damage_text(probe.read_text(), rng))
        else:
            (folder / "rec.dat").write_bytes(damage_bytes(source.read_bytes(), rng))
        return folder / "rec.dat"

    def read(path: Path) -> str | None:
        return use(path, traces_kept=what != "traces", probe_path=path.with_name("probe.json"), **FIELDS)

    return Case(f"headerless {what} {seed}", make, read, names=("rec.dat", "probe.json"))


def folder_case(kind: str, seed: int) -> Case:
    """Damage one file of a SpikeInterface folder or zarr store, or take it away."""
    rng = random.Random(f"{kind} {seed}")
    source = base(kind)
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    describing = [f for f in files if f.suffix == ".json" or f.name in (".zarray", ".zattrs")]
    file = rng.choice(describing if seed % 3 else files)
    traces = file.name.startswith("traces") or file.parent.name.startswith("traces")
    way = rng.choice(("gone", "bytes") if file not in describing else ("gone", "bytes", "json", "json", "json", "text"))

    def make(folder: Path) -> Path:
        shutil.copytree(source, folder / source.name)
        target = folder / source.name / file
        if way == "gone":
            target.unlink()
        elif way == "bytes":
            target.write_bytes(damage_bytes(target.read_bytes(), rng))
        elif way == "text":
            target.write_bytes(damage_text(target.read_text(), rng))
        else:
            target.write_text(json.dumps(damage_json(json.loads(target.read_text()), rng)))
        return folder / source.name

    kept = way == "gone" or not traces or file.name == ".zarray"
    return Case(f"{kind} {way} {file} {seed}", make, lambda path: use(path, traces_kept=kept))


def all_cases(share: float = 1.0) -> list[Case]:
    def some(count: int) -> range:
        return range(max(1, round(count * share)))

    maxwell = [hdf5_case(kind, seed) for kind in ("maxwell", "maxwell legacy", "maxwell gzip") for seed in some(150)]
    nwb = [hdf5_case(kind, seed) for kind in ("nwb", "nwb gzip") for seed in some(100)]
    headerless = [headerless_case(seed) for seed in some(170)]
    folders = [folder_case(kind, seed) for kind in ("spikeinterface", "zarr") for seed in some(90)]
    return [*maxwell, *nwb, *headerless, *folders]


def prepare() -> None:
    """Make all bases, see that undamaged they are read as they are, and compile what is compiled, for all children."""
    import warnings

    for kind in MAKERS:
        path = base(kind)
        fields = {**FIELDS, "probe_path": path.with_name("probe.json")} if kind == "headerless" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert use(path, traces_kept=True, **fields) is None, kind
    simulate(duration_s=0.2)


def test_a_sample(tmp_path: Path) -> None:
    pytest.importorskip("pynwb")
    outcomes = run_cases(all_cases(0.04), tmp_path, prepare=prepare)
    assert 35 <= len(outcomes) <= 60
    assert not failures(outcomes), table(outcomes)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand(tmp_path: Path) -> None:
    pytest.importorskip("pynwb")
    outcomes = run_cases(all_cases(), tmp_path, prepare=prepare)
    assert len(outcomes) == 1000
    print(table(outcomes))
    assert not failures(outcomes), table(outcomes)
