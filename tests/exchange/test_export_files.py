"""MATLAB, npz, HDF5 and pickle; and what is refused whatever the format."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from spikelab import SpikeData
from spikelab.spike_sorting import export_results


def curated(results: Path) -> SpikeData:
    return SpikeData.load(results / "sorted_spikedata_curated.npz")


@pytest.mark.parametrize("to", ["npz", "h5", "pkl"])
def test_spikedata_comes_back_the_same(results: Path, to: str) -> None:
    path = export_results(results, to)
    assert path == results / "export" / f"units.{to}"
    assert SpikeData.load(path) == curated(results)
    everything = export_results(results, to, units="all", overwrite=True)
    assert SpikeData.load(everything).N > curated(results).N


def test_matlab_struct_array(results: Path) -> None:
    content = loadmat(export_results(results, "mat"), simplify_cells=True)
    sd = curated(results)
    assert content["fs"] == 20_000
    assert content["n_samples"] == 240_000
    np.testing.assert_allclose(content["locations"], sd.metadata["channel_locations"])
    assert {unit["unit_id"] for unit in content["units"]} == set(sd.unit_ids)
    amplitudes = [unit["amplitude"] for unit in content["units"]]
    assert amplitudes == sorted(amplitudes, reverse=True)
    for unit in content["units"]:
        values = sd.neuron_attributes[sd.unit_ids.index(unit["unit_id"])]
        np.testing.assert_array_equal(unit["spike_train"], values["spike_train_samples"])
        np.testing.assert_array_equal(unit["template"], values["template"])
        assert unit["snr"] == pytest.approx(values["snr"])
    assert [epoch["end_frame"] for epoch in content["epochs"]] == [120_000, 240_000]
    assert [epoch["source_file"] for epoch in content["epochs"]] == ["day0", "day1"]


def test_octave_reads_the_matlab_file(results: Path) -> None:
    octave = shutil.which("octave-cli") or shutil.which("octave")
    if octave is None:
        pytest.skip("Octave is not installed")
    path = export_results(results, "mat")
    code = f"s = load('{path}'); printf('%d %d %g', numel(s.units), numel(s.units(1).spike_train), s.fs)"
    done = subprocess.run([octave, "--eval", code], capture_output=True, text=True, check=True)
    n_units, n_spikes, fs = done.stdout.split()
    sd = curated(results)
    assert (int(n_units), float(fs)) == (sd.N, 20_000)
    assert int(n_spikes) in sd.spike_counts


def test_nothing_is_overwritten_unasked(results: Path, tmp_path: Path) -> None:
    path = export_results(results, "npz")
    with pytest.raises(FileExistsError, match="--overwrite"):
        export_results(results, "npz")
    export_results(results, "npz", overwrite=True)
    assert path.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="no export wrote"):
        export_results(results, "phy", tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").exists()
    folder = export_results(results, "phy")
    (folder / "old.npy").touch()
    export_results(results, "phy", overwrite=True)
    assert not (folder / "old.npy").exists()
    assert sorted(entry.name for entry in (results / "export").iterdir()) == ["phy", "units.npz"]


def test_mistakes_are_explained(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown format 'plexon'; there are phy, nwb"):
        export_results(results, "plexon")
    with pytest.raises(ValueError, match="'units' must be one of"):
        export_results(results, "npz", units="good")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'spikelab import' makes it"):
        export_results(results, "npz", units="phy")
    with pytest.raises(ValueError, match="holds no traces"):
        export_results(results, "npz", traces=True)
    with pytest.raises(ValueError, match="metadata is for nwb"):
        export_results(results, "npz", metadata={})
    with pytest.raises(FileNotFoundError, match="no results folder"):
        export_results(tmp_path, "npz")
    with pytest.raises(FileNotFoundError, match=f"did you mean {results}"):
        export_results(results.parent, "npz")
    record = (results / "run.json").read_text()
    (results / "run.json").write_text(record.replace('"status": "done"', '"status": "interrupted"'))
    with pytest.raises(FileNotFoundError, match="'interrupted'"):
        export_results(results, "npz")
