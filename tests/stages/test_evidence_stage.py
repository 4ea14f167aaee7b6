"""Evidence as an artifact: of the very traces, made once, never a reason to fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulated import simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.data import Evidence, Waveforms
from spikelab.spike_sorting.stages import store
from spikelab.spike_sorting.waveforms import evidence

SETTINGS: dict[str, Any] = {
    "sorter": "threshold",
    "spikes_min_first": 3,
    "spikes_min_second": 3,
    "n_jobs": 1,
    "create_figures": False,
}


def ran(results: Path) -> list[str]:
    stages = json.loads((results / "run.json").read_text())["stages"]
    return [name for name, stage in stages.items() if not stage["loaded"]]


def test_it_is_made_once_and_no_reason_to_sort_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording, results = simulate(duration_s=3.0).recording, tmp_path / "out"
    folders = {"results_folders": [results], "intermediate_folders": [tmp_path / "inter"], "delete_inter": False}
    sort_recording([recording], **SETTINGS, **folders)
    found, waveforms = Evidence.load(results / "stages/evidence"), Waveforms.load(results / "stages/waveforms")
    binary = json.loads((results / "stages/recording/recording.json").read_text())
    counts = np.fromfile(tmp_path / "inter/recording/traces.dat", dtype=np.int16).reshape(-1, binary["n_channels"])
    for unit, frames in enumerate(waveforms.spikes):
        expected = counts[frames, waveforms.main_channels[unit]] * binary["gain_uv"]
        np.testing.assert_allclose(found.amplitudes[found.spikes_of(unit)], expected, rtol=1e-6)
    before = (results / "stages/evidence/evidence.npz").read_bytes()

    shutil.rmtree(results / "stages/evidence")  # as an earlier version left the folder
    monkeypatch.setattr(store, "is_read_only", lambda _: True)
    monkeypatch.setattr("spikelab.spike_sorting.run.sort_one.is_read_only", lambda _: True)
    assert len(sort_recording([recording], **SETTINGS, **folders)) == 1
    assert not (results / "stages/evidence").exists()
    monkeypatch.undo()
    sort_recording([recording], **SETTINGS, **folders)
    assert ran(results) == ["evidence"]
    assert (results / "stages/evidence/evidence.npz").read_bytes() == before


def test_results_are_complete_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Evidence:
        raise OSError("no room")

    monkeypatch.setattr(evidence, "measure_evidence", broken)
    results = tmp_path / "out"
    (found,) = sort_recording([simulate(duration_s=3.0).recording], results_folders=[results], **SETTINGS)
    assert found.N == 5
    page = (results / "report.html").read_text(encoding="utf-8")
    assert 'id="evidence-data"' in page
    assert "spikes could not be measured: OSError: no room" in (results / "sort_with_kilosort2.out").read_text()
    assert 'id="evidence-traces"' not in page
