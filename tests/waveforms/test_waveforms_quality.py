"""SpikeInterface's quality metrics of our units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spikelab import SpikeData
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.waveforms.quality import compute_quality_metrics

SETTINGS = {"sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "delete_inter": False, "n_jobs": 1}


@pytest.fixture
def results(saved: Callable[..., Path], tmp_path: Path) -> Path:
    sort_recording([saved(duration_s=4.0)], results_folders=[tmp_path / "out"], si_quality_metrics=True, **SETTINGS)
    return tmp_path / "out"


def test_they_are_attributes_and_columns(results: Path) -> None:
    sd = SpikeData.load(results / "sorted_spikedata_curated.npz")
    for unit, train in zip(sd.neuron_attributes, sd.train, strict=True):
        assert unit["si_num_spikes"] == len(train)
        assert unit["si_firing_rate"] == pytest.approx(len(train) / 4.0)
        # The same quantity by two implementations.
        assert unit["si_snr"] == pytest.approx(unit["snr"], rel=0.1)
        assert abs(unit["si_amplitude_median"]) == pytest.approx(unit["amplitude"], rel=0.1)
    table = pd.read_csv(results / "unit_metrics.csv", index_col="unit_id")
    assert table.loc[sd.unit_ids, "si_snr"].tolist() == [unit["si_snr"] for unit in sd.neuron_attributes]


def test_the_same_call_runs_nothing_and_switching_it_off_removes_them(
    results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    recording = results.parent / "culture"
    again = {"results_folders": [results], **SETTINGS}
    sort_recording([recording], si_quality_metrics=True, **again)
    assert "nothing to do" in caplog.text
    (sd,) = sort_recording([recording], **again)
    assert not any(name.startswith("si_") for name in sd.neuron_attributes[0])
    assert ",si_" not in (results / "unit_metrics.csv").read_text()
    caplog.clear()
    (sd,) = sort_recording([recording], si_quality_metrics=True, **again)
    assert "si_snr" in sd.neuron_attributes[0]
    assert "quality_metrics: runs" not in caplog.text
    assert Results.open(results).units.neuron_attributes[0]["si_snr"] == sd.neuron_attributes[0]["si_snr"]


def test_workers_change_nothing(results: Path) -> None:
    opened = Results.open(results)
    one, two = (repr(compute_quality_metrics(opened.recording, opened.waveforms, n_jobs=n)) for n in (1, 2))
    assert one == two


def test_no_interval_crosses_an_epoch(saved: Callable[..., Path], tmp_path: Path) -> None:
    from dataclasses import replace

    sort_recording([saved(duration_s=4.0)], results_folders=[tmp_path / "out"], **SETTINGS)
    opened = Results.open(tmp_path / "out")
    recording, waveforms = opened.recording, opened.waveforms
    half = recording.n_samples // 2
    spikes = (np.array([100, half - 5, half + 5, 70_000]), *waveforms.spikes[1:])
    (whole,) = recording.epochs
    epochs = (replace(whole, end_frame=half), replace(whole, start_frame=half))
    count = "isi_violations_count"
    together, apart = (
        compute_quality_metrics(replace(recording, epochs=e), replace(waveforms, spikes=spikes))[count][0]
        for e in (recording.epochs, epochs)
    )
    assert (together, apart) == (1, 0)
