"""The clock of files with gaps and jitter: epochs, times and rates are those of the file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulated import Simulated, simulate, sort_uncurated
from spikelab import SpikeData
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import epochs_of
from spikelab.spike_sorting.recording import open_recording

FS = 20_000.0
GAIN = 0.195


def _counts(simulated: Simulated) -> np.ndarray:
    return np.round(simulated.recording.get_traces() / GAIN).astype(np.int16)


def _write_open_ephys(folder: Path, counts: np.ndarray, numbers: np.ndarray) -> Path:
    """A folder as the Open Ephys GUI 0.6 writes it."""
    recording = folder / "Record Node 101" / "experiment1" / "recording1"
    stream = recording / "continuous" / "Acquisition_Board-100.Rhythm Data"
    stream.mkdir(parents=True)
    counts.tofile(stream / "continuous.dat")
    np.save(stream / "sample_numbers.npy", numbers)
    np.save(stream / "timestamps.npy", numbers / FS)
    channels = [
        {
            "channel_name": f"CH{i + 1}",
            "description": "",
            "identifier": "",
            "history": "",
            "bit_volts": GAIN,
            "units": "uV",
        }
        for i in range(counts.shape[1])
    ]
    about = {
        "folder_name": "Acquisition_Board-100.Rhythm Data/",
        "sample_rate": int(FS),
        "source_processor_name": "Acquisition Board",
        "source_processor_id": 100,
        "stream_name": "Rhythm Data",
        "recorded_processor": "Record Node",
        "recorded_processor_id": 101,
        "num_channels": len(channels),
        "channels": channels,
    }
    content = {"GUI version": "0.6.4", "continuous": [about], "events": [], "spikes": []}
    (recording / "structure.oebin").write_text(json.dumps(content))
    return folder


def _write_nwb(path: Path, counts: np.ndarray, **times: Any) -> Path:
    pynwb = pytest.importorskip("pynwb")
    file = pynwb.NWBFile("test", "id", datetime(2026, 3, 1, 9, tzinfo=UTC))
    group = file.create_electrode_group("g", "d", "l", file.create_device("probe"))
    for name in ("rel_x", "rel_y"):
        file.add_electrode_column(name, name)
    for i in range(counts.shape[1]):
        file.add_electrode(group=group, location="l", rel_x=200.0 * i, rel_y=0.0)
    region = file.create_electrode_table_region(list(range(counts.shape[1])), "all")
    file.add_acquisition(
        pynwb.ecephys.ElectricalSeries(name="es", data=counts, conversion=GAIN * 1e-6, electrodes=region, **times)
    )
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    return path


def _require_times(sd: SpikeData, simulated: Simulated, times: np.ndarray) -> None:
    """Nearly every spike of every unit is found, at the time of its frame on the file's clock."""
    channels = [unit["channel"] for unit in sd.neuron_attributes]
    for channel, frames in enumerate(simulated.frames):
        found = sd.times(channels.index(channel), "file") / 1000
        assert np.mean(np.abs(found[:, np.newaxis] - times[frames]).min(axis=0) < 3e-4) > 0.95


def test_lost_samples_of_open_ephys_are_a_gap(tmp_path: Path) -> None:
    simulated = simulate(n_units=3, n_channels=4, duration_s=5.0)
    numbers = np.arange(100_000) + 5000
    numbers[60_000:] += 90_000
    source = _write_open_ephys(tmp_path / "oe", _counts(simulated), numbers)
    with (
        pytest.warns(UserWarning, match=r"4.5 s are missing after 3.25 s"),
        pytest.warns(UserWarning, match="does not say where its electrodes are"),
    ):
        sd = sort_uncurated(source, tmp_path)
    assert sd.metadata["rec_chunks_ms"] == [[0.0, 3000.0], [3000.0, 5000.0]]
    _require_times(sd, simulated, numbers / FS)


def test_a_pause_in_the_timestamps_of_nwb_is_a_gap(tmp_path: Path) -> None:
    simulated = simulate(n_units=3, n_channels=4, duration_s=5.0)
    times = np.arange(100_000) / FS
    times[60_000:] += 30.0
    source = _write_nwb(tmp_path / "a.nwb", _counts(simulated), timestamps=times)
    with pytest.warns(UserWarning, match="s are missing after"):
        sd = sort_uncurated(source, tmp_path)
    assert sd.metadata["rec_chunks_ms"] == [[0.0, 3000.0], [3000.0, 5000.0]]
    _require_times(sd, simulated, times)
    first = np.datetime64("2026-03-01T09:00:00", "us") + (1000 * sd.times(0, "file")).round().astype("timedelta64[us]")
    np.testing.assert_array_equal(sd.times(0, "wall"), first)


def test_the_rate_of_nwb_comes_from_all_timestamps_and_not_from_their_jitter(tmp_path: Path) -> None:
    jitter = np.random.default_rng(0).normal(0, 2e-6, 100_000)
    times = np.sort(np.arange(100_000) / 20_001.0 + jitter)
    times[60_000:] += 30.0
    source = _write_nwb(
        tmp_path / "a.nwb", _counts(simulate(n_units=3, n_channels=4, duration_s=5.0)), timestamps=times
    )
    with pytest.warns(UserWarning, match="s are missing after"):
        opened = open_recording(source, RecordingConfig(freq_max=4000.0))
    assert opened.get_sampling_frequency() == pytest.approx(20_001.0, abs=0.05)
    assert [(epoch.start_frame, epoch.end_frame) for epoch in epochs_of(opened)] == [(0, 60_000), (60_000, 100_000)]
    assert [epoch.clock_start_s for epoch in epochs_of(opened)] == pytest.approx([times[0], times[60_000]])


def test_the_start_of_nwb_is_the_start_of_its_clock(tmp_path: Path) -> None:
    counts = _counts(simulate(n_units=3, n_channels=4, duration_s=2.0))
    source = _write_nwb(tmp_path / "a.nwb", counts, rate=FS, starting_time=12.5)
    opened = open_recording(source, RecordingConfig(freq_max=4000.0, start_time_s=0.5))
    (epoch,) = epochs_of(opened)
    assert (epoch.clock_start_s, datetime.fromisoformat(epoch.clock_zero)) == (
        13.0,
        datetime(2026, 3, 1, 9, tzinfo=UTC),
    )
