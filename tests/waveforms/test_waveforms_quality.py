"""SpikeInterface's quality metrics of our units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spikelab import SpikeData
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.config import WaveformConfig
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.waveforms import compute_waveforms
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


def test_rates_and_presence_count_live_time(
    make_binary: Callable[..., BinaryRecording], config: WaveformConfig
) -> None:
    """A unit that fires all the time that is not dead is present all the time, at its rate."""
    counts = np.random.default_rng(0).normal(0, 3, (1_200_000, 2))
    counts[2500::2500] -= 100
    binary = make_binary(counts, sampling_frequency=5000.0)
    dead = np.array([[300_000, 900_000]])
    frames = np.arange(2500, len(counts) - 2500, 2500)
    trains = SpikeTrains.from_dict({0: frames}).outside(dead)
    waveforms = compute_waveforms(binary, trains, config, seed=0, n_jobs=1, total_memory="1G")
    whole = compute_quality_metrics(binary, waveforms)
    live = compute_quality_metrics(replace(binary, dead_time=dead), waveforms)
    assert (whole["presence_ratio"][0], live["presence_ratio"][0]) == (0.5, 1.0)
    assert whole["firing_rate"][0] == pytest.approx(1.0, rel=0.02)
    assert live["firing_rate"][0] == pytest.approx(2.0, rel=0.02)
