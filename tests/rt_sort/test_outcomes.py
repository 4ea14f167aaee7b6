"""Recordings at the edge, through the pipeline: each has one clear outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording

from simulated import assert_same_trains, simulate_dense
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import InsufficientActivityError, SaturatedSignalError

FS = 20_000.0


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sort(recording: NumpyRecording, folder: Path, **settings: Any) -> Any:
    """The one result."""
    (result,) = sort_recording(
        [recording], sorter="rt_sort", results_folders=[folder / "out"], intermediate_folders=[folder / "inter"],
        **{"n_jobs": 1, "rt_sort_device": "cpu", "spikes_min_second": 30, "rt_sort_verbose": False, **settings},
    )  # fmt: skip
    return result


def recording_of(traces: np.ndarray, locations: np.ndarray, fs: float = FS) -> NumpyRecording:
    recording = NumpyRecording([traces], fs)
    recording.set_dummy_probe_from_locations(np.asarray(locations, dtype=float))
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    return recording


def grid(n: int = 16) -> np.ndarray:
    side = int(np.sqrt(n))
    y, x = np.mgrid[:side, :side]
    return np.column_stack([x.ravel(), y.ravel()]) * 40.0


def test_a_rate_that_is_no_integer(tmp_path: Path) -> None:
    fs = 19_753.77
    made = simulate_dense(6.0, fs=fs)
    found = sort(made.recording, tmp_path)
    assert_same_trains(found.train, made.trains_ms)


def test_noise_alone(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 8, (100_000, 16)).astype(np.float32)
    with pytest.raises(InsufficientActivityError, match="seen by 2 electrodes|no sequence") as caught:
        sort(recording_of(noise, grid()), tmp_path)
    assert caught.value.sorter == "rt_sort"


def test_silence(tmp_path: Path) -> None:
    with pytest.raises(SaturatedSignalError, match="16 never change"):
        sort(recording_of(np.zeros((100_000, 16), dtype=np.int16), grid()), tmp_path)


def test_all_electrodes_on_the_rail(tmp_path: Path) -> None:
    traces = np.full((100_000, 16), 32_767, dtype=np.int16)
    traces[::7] -= 3
    with pytest.raises(SaturatedSignalError, match="16 sit on a rail"):
        sort(recording_of(traces, grid()), tmp_path)


def test_eight_electrodes_far_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are sorted one by one, and the log says what that means."""
    made = simulate_dense(6.0)
    apart = np.column_stack([np.arange(8) * 200.0, np.zeros(8)])
    sort(recording_of(made.recording.get_traces()[:, :8], apart), tmp_path)
    assert "no two of 8 electrodes are within 50 um" in caplog.text


def test_one_electrode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The unit beside it is found whole; the others are one more, or too small."""
    made = simulate_dense(6.0)
    found = sort(made.recording.select_channels(made.recording.channel_ids[[9]]), tmp_path)
    largest = int(np.argmax([unit["snr"] for unit in found.neuron_attributes]))
    assert_same_trains([found.train[largest]], [made.trains_ms[2]])
    assert "no two of 1 electrodes are within 50 um" in caplog.text
