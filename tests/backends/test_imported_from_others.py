"""Folders that the programs themselves wrote: SpikeInterface's exporter, phylib, our own exports, Kilosort 4."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulated import FS, UNCURATED, Simulated, simulate
from spikelab.spike_sorting import export_results, import_sorting, sort_recording
from spikelab.spike_sorting.backends.imported import find_recording, read_units

pytestmark = pytest.mark.filterwarnings("ignore:The extractor is not serializable")
QUIET: dict[str, Any] = {"create_figures": False, **UNCURATED}


@pytest.fixture(scope="module")
def small() -> Simulated:
    return simulate(n_units=3, n_channels=4, duration_s=4.0)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, small: Simulated) -> Path:
    """A sort of ours, whose exports are read."""
    folder = tmp_path_factory.mktemp("ours") / "results"
    folders: dict[str, Any] = {"results_folders": [folder], "intermediate_folders": [folder.with_name("inter")]}
    sort_recording([small.recording], sorter="threshold", delete_inter=False, **folders, **QUIET)
    return folder


def analyzer_of(sim: Simulated, **more: Any) -> Any:
    from spikeinterface.core import NumpySorting, create_sorting_analyzer

    sorting = NumpySorting.from_unit_dict({f"unit {i}": own for i, own in enumerate(sim.frames)}, FS)
    return create_sorting_analyzer(sorting, sim.recording, sparse=False, **more)


@pytest.mark.slow  # the exporter compiles for half a minute
def test_a_phy_folder_of_spikeinterface_is_imported_with_its_own_recording(tmp_path: Path, small: Simulated) -> None:
    from spikeinterface.exporters import export_to_phy

    analyzer = analyzer_of(small)
    analyzer.compute(["random_spikes", "templates"])
    export_to_phy(analyzer, tmp_path / "phy", compute_pc_features=False, compute_amplitudes=False, verbose=False)
    (sd,) = import_sorting(tmp_path / "phy", tmp_path / "results", **QUIET)  # float32, which needs no gain
    assert [unit["imported_si_unit_id"] for unit in sd.unit_attributes] == ["unit 0", "unit 1", "unit 2"]
    for train, truth in zip(sd.train, small.frames, strict=True):
        assert np.abs(train - truth * 1000 / FS).max() < 0.5


def test_what_phylib_saves_is_read(results: Path, tmp_path: Path, small: Simulated) -> None:
    """phylib writes the clusters and groups when a person saves in Phy."""
    from phylib.io.model import load_model

    folder = export_results(results, "phy", tmp_path / "phy")
    found = find_recording(folder)
    assert found.source == folder / "traces.dat"
    assert 0 < found.settings["gain_to_uv"] < 1
    model = load_model(folder / "params.py")
    clusters = model.spike_clusters.copy()
    clusters[clusters == 2] = 7
    model.save_spike_clusters(clusters)
    model.save_metadata("group", {0: "good", 1: "noise", 7: "mua"})
    model.close()
    units = read_units(folder)
    assert (units.ids, units.labels, units.empty) == (("0", "1", "7"), ("good", "noise", "mua"), ("2",))
    assert [len(train) for train in units.times] == list(map(len, small.frames))


@pytest.mark.parametrize("form", ["si", pytest.param("analyzer", marks=pytest.mark.slow), "nwb", "phy"])
def test_our_own_exports_are_read_as_they_were_written(results: Path, tmp_path: Path, form: str) -> None:
    from spikelab import SpikeData

    if form == "nwb":
        pytest.importorskip("pynwb")
    path = export_results(results, form, tmp_path / f"out.{form}" if form == "nwb" else tmp_path / "out")
    units = read_units(path / "analyzer" if form == "analyzer" and (path / "analyzer").is_dir() else path)
    own = SpikeData.load(results / "sorted_spikedata_curated.npz")
    assert len(units.ids) == own.N
    for train, written in zip(units.times, own.train, strict=True):
        np.testing.assert_allclose(train if units.in_seconds else train / FS, written / 1000, atol=1e-9)


def test_an_analyzer_is_imported_by_the_command_with_its_recording(run: Any, tmp_path: Path, small: Simulated) -> None:
    from dataclasses import replace

    from spikeinterface.core import BinaryRecordingExtractor

    path = tmp_path / "traces.raw"
    small.recording.get_traces().tofile(path)
    recording = BinaryRecordingExtractor(path, FS, "float32", num_channels=4, gain_to_uV=1.0, offset_to_uV=0.0)
    recording.set_dummy_probe_from_locations(small.recording.get_channel_locations())
    analyzer_of(replace(small, recording=recording), format="binary_folder", folder=tmp_path / "an")
    settings = [part for name in (*UNCURATED, "create_figures") for part in ("--set", f"{name}={_off(name)}")]
    result = run("import", tmp_path / "an", "--to", tmp_path / "results", *settings)
    assert result.exit_code == 0, result.stderr
    assert "3 of 3" in result.stdout


def _off(name: str) -> str:
    return "false" if name == "create_figures" else "none"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("kilosort") is None, reason="Kilosort 4 is not installed")
def test_a_folder_of_kilosort_4_is_imported(tmp_path: Path) -> None:
    sim = simulate(n_units=6, n_channels=16, duration_s=30.0)
    (sorted_here,) = sort_recording(
        [sim.recording], sorter="kilosort4", results_folders=[tmp_path / "ks4"], delete_inter=False,
        intermediate_folders=[tmp_path / "inter"], **QUIET,
    )  # fmt: skip
    folder = next((tmp_path / "inter").rglob("spike_times.npy")).parent
    (sd,) = import_sorting(folder, tmp_path / "imported", sim.recording, **QUIET)
    assert sd.N == sorted_here.N
    assert {unit["imported_label"] for unit in sd.unit_attributes} <= {"good", "mua"}
    for train, own in zip(sd.train, sorted_here.train, strict=True):
        np.testing.assert_allclose(train, own, atol=1e-9)


def test_units_of_channels_that_are_sorted_apart_are_taken_once(tmp_path: Path, small: Simulated) -> None:
    from probeinterface import Probe, ProbeGroup
    from spikeinterface.core import NpzSortingExtractor, NumpyRecording, NumpySorting

    group = ProbeGroup()
    for number in range(2):
        probe = Probe(ndim=2)
        probe.set_contacts(
            np.array([[0.0, 0.0], [0.0, 20.0]]) + 500 * number, shapes="circle", shape_params={"radius": 5}
        )
        probe.set_device_channel_indices(np.array([0, 1]) + 2 * number)
        group.add_probe(probe)
    recording = NumpyRecording([small.recording.get_traces()], FS)
    recording.set_probegroup(group)
    sorting = NumpySorting.from_unit_dict(dict(enumerate(small.frames)), FS)
    NpzSortingExtractor.write_sorting(sorting, tmp_path / "units.npz")
    (sd,) = import_sorting(tmp_path / "units.npz", tmp_path / "results", recording, **QUIET)
    assert sd.unit_ids == [0, 1, 2]
    assert len({unit["group"] for unit in sd.unit_attributes}) == 2


def test_units_of_nwb_are_imported_with_the_traces_beside_them(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("pynwb")
    path = export_results(results, "nwb", tmp_path / "units.nwb", traces=True)
    (sd,) = import_sorting(path, tmp_path / "results", **QUIET)
    from spikelab import SpikeData

    own = SpikeData.load(results / "sorted_spikedata_curated.npz")
    assert sd.N == own.N
    for train, written in zip(sd.train, own.train, strict=True):
        np.testing.assert_allclose(train, written, atol=2000 / FS)  # filtered twice, spikes are aligned anew
