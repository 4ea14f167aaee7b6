"""What the system and libraries raise, in any stage, has its class; what nobody knows stays what it is."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from simulated import save_recording, simulate
from spikelab.spike_sorting import sort_recording, stages
from spikelab.spike_sorting._exceptions import (
    DiskExhaustionError,
    EmptyWaveformMetricsError,
    EnvironmentSortFailure,
    GPUOutOfMemoryError,
    HDF5PluginMissingError,
    HostOutOfMemoryError,
    InsufficientActivityError,
)

STAGES = ("recording_stage", "sorting_stage", "waveforms_stage", "curation_stage", "compilation_stage")
PLUGIN = "Can't synchronously read data (can't open directory (/usr/local/lib/plugin). Please verify its existence)"
ERRORS: list[tuple[Exception, type[Exception]]] = [
    (MemoryError("Unable to allocate 117. TiB"), HostOutOfMemoryError),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), HostOutOfMemoryError),
    (RuntimeError("can't start new thread"), HostOutOfMemoryError),
    (OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), HostOutOfMemoryError),
    (OSError(errno.EAGAIN, "unable to lock file, errno = 11"), BlockingIOError),
    (OSError(errno.ENOSPC, "No space left on device"), DiskExhaustionError),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskExhaustionError),
    (RuntimeError("CUDA out of memory. Tried to allocate 1.61 GiB"), GPUOutOfMemoryError),
    (OSError(PLUGIN), HDF5PluginMissingError),
    (KeyError("surprise"), KeyError),
    (ValueError("freq_max is too high"), ValueError),
]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return save_recording(simulate(duration_s=2.0).recording, tmp_path / "culture")


def sort(recording: Path) -> Any:
    return sort_recording([recording], sorter="threshold", spikes_min_first=1, spikes_min_second=1, n_jobs=1)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_covered(recording: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    for error, kind in ERRORS:

        def fail(*args: Any, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(stages, stage, fail)
            with pytest.raises(kind) as caught:
                sort(recording)
        assert type(caught.value) is kind
        if kind is not type(error):
            assert caught.value.__cause__ is error
        log = (recording.parent / "sorted_threshold_culture" / "sort_with_kilosort2.out").read_text()
        assert str(error) in log
    assert sort(recording)[0].N == 5  # nothing of it is remembered


def test_full_disk_names_the_file(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recording.parent / "sorted_threshold_culture" / "sorted.npz"

    def fail(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(stages, "compilation_stage", fail)
    with pytest.raises(DiskExhaustionError) as caught:
        sort(recording)
    assert caught.value.path == path
    assert caught.value.free_bytes is not None


def test_a_folder_that_vanishes_is_the_environments_fault(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recording.parent / "inter_threshold_culture" / "recording" / "traces.dat"

    def fail(*args: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(stages, "waveforms_stage", fail)
    with pytest.raises(EnvironmentSortFailure, match="cannot write to"):
        sort(recording)


@pytest.mark.parametrize(
    "error", [InsufficientActivityError("no units", sorter="threshold"), EmptyWaveformMetricsError("no metrics")]
)
def test_biology_of_later_stages_is_remembered(
    recording: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from spikelab.spike_sorting.backends.threshold import ThresholdBackend

    calls = []

    def fail(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(ThresholdBackend, "extract_waveforms", fail)
        for _ in range(2):
            with pytest.raises(type(error), match=str(error)):
                sort(recording)
        assert calls == [1]
    results = recording.parent / "sorted_threshold_culture"
    assert json.loads((results / "run.json").read_text())["status"] == "biological failure"
