"""Failures of a sorter in its own process, really provoked, seen from a whole sort: class, cause, record, clean-up."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from simulated import save_recording, simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import (
    DiskExhaustionError,
    GPUOutOfMemoryError,
    GPUUnavailableError,
    HostOutOfMemoryError,
    SorterTimeoutError,
    SpikeSortingClassifiedError,
)
from spikelab.spike_sorting.backends import registry
from spikelab.spike_sorting.backends.isolation import watch
from spikelab.spike_sorting.backends.isolation.error import SorterProcessError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, limits and /dev/full")

SORTER = '''
import os, signal, subprocess, sys, time
from pathlib import Path
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
from spikelab.spike_sorting.backends.isolation import start
from spikelab.spike_sorting.backends.threshold import ThresholdBackend, ThresholdParams, detect_spikes

class FailingBackend(ThresholdBackend):
    """Fails as its parameter says; halved often enough, `batch` lets it succeed."""

    sorter_label = "kilosort4"
    batch_parameter, batch_default = "batch", 64

    def check_settings(self):
        pass

    def sort(self, recording, rec_path, recording_dat_path, output_folder):
        binary = self.ensure_binary(recording, recording_dat_path)
        folder = start.run_folder(output_folder)
        params = {"batch": 64, **self.config.sorter.sorter_params}
        job = {"sorter": "kilosort4", "target": "failing:run", "recording_path": str(binary.path),
               "recording": binary.to_dict(), "params": params}
        log, timeout = Path(output_folder) / "sorter.log", self.config.execution.sorter_timeout_s
        start.run_in_child(job, folder, log, timeout)
        return SpikeTrains.load(folder / start.RESULT_FILE).to_spikeinterface(binary.sampling_frequency)

def run(job, folder):
    print("batch", job["params"]["batch"])
    if job["params"]["batch"] > job["params"].get("enough_with", 0):
        globals()[job["params"]["how"]]()
    binary = BinaryRecording.from_dict(Path(job["recording_path"]), job["recording"])
    frames, channels = detect_spikes(binary, ThresholdParams())
    return SpikeTrains.from_dict({int(c): frames[channels == c] for c in set(channels.tolist())})

def killed():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)

def hangs():
    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])

def crashes():
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)

def fills_the_disk():
    with open("/dev/full", "wb") as file:
        file.write(bytes(100_000))

def fills_the_memory():
    import resource
    import numpy as np
    limit = 4 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    np.ones(2 * limit, dtype=np.uint8)

def fills_the_gpu():
    # What torch raises on a GPU, with its own class where torch is installed: there is no GPU where this runs.
    words = "CUDA out of memory. Tried to allocate 1.61 GiB. GPU 0 has a total capacity of 8.00 GiB."
    try:
        from torch import OutOfMemoryError
    except ImportError:
        raise RuntimeError(words) from None
    raise OutOfMemoryError(words)

def wants_a_gpu():
    raise RuntimeError("No CUDA GPUs are available")

def surprises():
    {}["surprise"]
'''


@pytest.fixture
def sort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Sort a small recording with a sorter that fails."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "failing.py").write_text(SORTER, encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(tmp_path / "code"), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)  # of the child
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setitem(registry.BUILT_IN, "failing", "failing:FailingBackend")
    monkeypatch.setattr(watch, "POLL_S", 0.1)
    recording = save_recording(simulate(duration_s=2.0).recording, tmp_path / "culture")

    def run(how: str, enough_with: int = 0, **settings: Any) -> Any:
        return sort_recording(
            [recording],
            sorter="failing",
            sorter_params={"how": how, "enough_with": enough_with},
            results_folders=[tmp_path / "out"],
            intermediate_folders=[tmp_path / "inter"],
            **{"spikes_min_first": 1, "spikes_min_second": 1, "resource_retries": 0, "n_jobs": 1, **settings},
        )

    yield run
    sys.modules.pop("failing", None)


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "run.json").read_text())
    return found


FAILURES = [
    ("killed", HostOutOfMemoryError, "resource failure", "exit code -9"),
    ("fills_the_memory", HostOutOfMemoryError, "resource failure", "Unable to allocate"),
    ("fills_the_disk", DiskExhaustionError, "resource failure", "No space left on device"),
    ("fills_the_gpu", GPUOutOfMemoryError, "resource failure", "Tried to allocate 1.61 GiB"),
    ("wants_a_gpu", GPUUnavailableError, "environment failure", "No CUDA GPUs are available"),
]


@pytest.mark.parametrize(("how", "kind", "status", "words"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failure_has_its_class(
    sort: Callable[..., Any], tmp_path: Path, how: str, kind: type[SpikeSortingClassifiedError], status: str, words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        sort(how)
    error: Any = caught.value
    assert type(error) is kind
    assert isinstance(error.__cause__, SorterProcessError)
    assert error.sorter == "kilosort4"
    assert error.log_path.name == "sorter.log"
    assert "batch 64" in error.log_path.read_text()
    (attempt,) = record(tmp_path)["attempts"]
    assert attempt["error"].startswith(kind.__name__)
    assert record(tmp_path)["status"] == status
    assert "Traceback" in (tmp_path / "out" / "sort_with_kilosort2.out").read_text()


def test_hang_is_ended(sort: Callable[..., Any], tmp_path: Path) -> None:
    others = psutil.Process().children(recursive=True)  # of earlier tests in this process
    with pytest.raises(SorterTimeoutError, match="without output or CPU use") as caught:
        sort("hangs", sorter_timeout_s=1.5)
    assert (caught.value.sorter, caught.value.timeout_s) == ("kilosort4", 1.5)
    assert not set(psutil.Process().children(recursive=True)) - set(others)
    assert record(tmp_path)["status"] == "resource failure"


@pytest.mark.parametrize(("how", "words"), [("crashes", "SIGSEGV"), ("surprises", "KeyError: 'surprise'")])
def test_what_nobody_knows_keeps_its_words(sort: Callable[..., Any], tmp_path: Path, how: str, words: str) -> None:
    with pytest.raises(SorterProcessError, match=words):
        sort(how)
    assert record(tmp_path)["status"] == "failed"


def test_less_is_enough(sort: Callable[..., Any], tmp_path: Path) -> None:
    (found,) = sort("killed", enough_with=16, resource_retries=2)
    assert found.N == 5
    attempts = record(tmp_path)["attempts"]
    assert [attempt["sorter_params"].get("batch") for attempt in attempts] == [None, 32, 16]
    assert [attempt["error"] is None for attempt in attempts] == [False, False, True]
    assert not (tmp_path / "inter").exists()


def test_a_hung_sorter_is_not_tried_again(sort: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(SorterTimeoutError):
        sort("hangs", sorter_timeout_s=1.5, enough_with=32, resource_retries=2)  # a smaller batch hangs as well
    assert len(record(tmp_path)["attempts"]) == 1


def test_a_full_disk_is_not_tried_again(sort: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(DiskExhaustionError) as caught:
        sort("fills_the_disk", enough_with=32, resource_retries=2)
    assert len(record(tmp_path)["attempts"]) == 1
    assert caught.value.path == tmp_path / "inter" / "sorting" / "output"
    assert caught.value.free_bytes is not None
