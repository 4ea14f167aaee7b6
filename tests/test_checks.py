"""The quick checks before a sort, with stand-ins for GPUs, disks and memory; what the machine has is not assumed."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from simulated import save_recording, simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import (
    DiskExhaustionError,
    GPUOutOfMemoryError,
    GPUUnavailableError,
    HDF5PluginMissingError,
    HostOutOfMemoryError,
    SorterNotInstalledError,
)
from spikelab.spike_sorting.backends.base import GPU_OPTIONAL, GPU_REQUIRED, GPU_UNUSED
from spikelab.spike_sorting.backends.kilosort2 import Kilosort2Backend
from spikelab.spike_sorting.backends.kilosort4 import Kilosort4Backend
from spikelab.spike_sorting.backends.rt_sort import RTSortBackend
from spikelab.spike_sorting.backends.threshold import ThresholdBackend
from spikelab.spike_sorting.config import KILOSORT2, KILOSORT4, RT_SORT_MEA
from spikelab.spike_sorting.stages import checks
from spikelab.spike_sorting.stages.checks import ABSENT, BROKEN, CHECKS, OK, Needs, check_disk, check_gpu, check_memory
from spikelab.system.gpus import Gpu, Gpus, gpus
from spikelab.system.resources import available_memory

GIB = 2**30
Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as shutil's


class GpuBackend(ThresholdBackend):
    """Says of itself how it uses a GPU."""

    use: ClassVar[str] = GPU_REQUIRED
    where: ClassVar[str | None] = None

    def gpu_use(self) -> str:
        return self.use

    def device(self) -> str | None:
        return self.where


@pytest.fixture
def backend() -> GpuBackend:
    return GpuBackend(KILOSORT2.override(sorter_name="threshold"))


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Put an ``nvidia-smi`` on PATH that prints something and ends with an exit code."""
    if sys.platform == "win32":
        pytest.skip("a shell script")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(text: str, code: int = 0) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / "nvidia-smi"
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n", encoding="utf-8")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return put


TWO_GPUS = "0, NVIDIA RTX A4000, 15800, 16376\n1, NVIDIA H100, PCIe, 100, 81559"


def test_gpus_are_listed(nvidia_smi: Any) -> None:
    nvidia_smi(TWO_GPUS)
    assert gpus().found == (
        Gpu(0, "NVIDIA RTX A4000", 15800 * 2**20, 16376 * 2**20),
        Gpu(1, "NVIDIA H100, PCIe", 100 * 2**20, 81559 * 2**20),
    )


@pytest.mark.parametrize(("setting", "indices"), [("1,0", [1, 0]), ("0", [0]), ("0,7,1", [0]), ("GPU-5a", [0, 1])])
def test_hidden_gpus_are_left_out(
    nvidia_smi: Any, monkeypatch: pytest.MonkeyPatch, setting: str, indices: list[int]
) -> None:
    nvidia_smi(TWO_GPUS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    assert [gpu.index for gpu in gpus().found] == indices


@pytest.mark.parametrize("setting", ["", "-1"])
def test_all_gpus_hidden(nvidia_smi: Any, monkeypatch: pytest.MonkeyPatch, backend: GpuBackend, setting: str) -> None:
    nvidia_smi(TWO_GPUS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    (finding,) = check_gpu(Needs(backend))
    assert isinstance(finding.failure, GPUUnavailableError)
    assert "CUDA_VISIBLE_DEVICES" in str(finding.failure)


def test_broken_driver_is_told(nvidia_smi: Any, backend: GpuBackend) -> None:
    nvidia_smi("Failed to initialize NVML: Driver/library version mismatch", 18)
    backend.where = "cuda:0"  # type: ignore[misc]  # of this instance
    (finding,) = check_gpu(Needs(backend))
    assert isinstance(finding.failure, GPUUnavailableError)
    assert (finding.failure.sorter, finding.failure.device) == ("threshold", "cuda:0")
    assert "Driver/library version mismatch" in str(finding.failure)
    (seen,) = check_gpu(Needs())
    assert (seen.state, seen.failure) == (ABSENT, None)


@pytest.mark.parametrize(("use", "failure"), [(GPU_REQUIRED, GPUUnavailableError), (GPU_OPTIONAL, type(None))])
def test_no_gpu(monkeypatch: pytest.MonkeyPatch, backend: GpuBackend, use: str, failure: type) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("spikelab.system.gpus.DRIVER_FILES", ())
    backend.use = use  # type: ignore[misc]  # of this instance
    (finding,) = check_gpu(Needs(backend))
    assert type(finding.failure) is failure


def test_driver_without_its_tool_is_given_the_benefit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: GpuBackend
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("spikelab.system.gpus.DRIVER_FILES", (str(tmp_path),))
    assert [finding.failure for finding in check_gpu(Needs(backend))] == [None]


@pytest.mark.parametrize(
    ("use", "device", "fails"),
    [
        (GPU_REQUIRED, "cuda:1", True),
        (GPU_OPTIONAL, "cuda:1", True),
        (GPU_UNUSED, "cuda:1", False),
        (GPU_REQUIRED, "cuda:0", False),
        (GPU_REQUIRED, None, False),
    ],
)
def test_gpu_that_is_taken(nvidia_smi: Any, backend: GpuBackend, use: str, device: str | None, fails: bool) -> None:
    nvidia_smi(TWO_GPUS)
    backend.use, backend.where = use, device  # type: ignore[misc]  # of this instance
    first, second = check_gpu(Needs(backend))
    assert first.failure is None
    assert (first.state, second.state) == (OK, BROKEN)
    assert isinstance(second.failure, GPUOutOfMemoryError) == fails
    if second.failure is not None:
        assert "0.1 of 79.6 GiB free" in str(second.failure)


def test_who_uses_a_gpu() -> None:
    assert Kilosort2Backend(KILOSORT2).gpu_use() == GPU_REQUIRED
    assert [
        Kilosort4Backend(KILOSORT4.override(sorter_params={"torch_device": device})).gpu_use()
        for device in ("auto", "cuda", "cuda:1", "cpu")
    ] == [GPU_OPTIONAL, GPU_REQUIRED, GPU_REQUIRED, GPU_UNUSED]
    assert RTSortBackend(RT_SORT_MEA.override(rt_sort_device="cpu")).gpu_use() == GPU_UNUSED
    assert ThresholdBackend(KILOSORT2).gpu_use() == GPU_UNUSED


def test_memory(monkeypatch: pytest.MonkeyPatch, backend: GpuBackend) -> None:
    assert 0 < available_memory() < 2**50
    monkeypatch.setattr(checks, "available_memory", lambda: 10**8)
    (finding,) = check_memory(Needs(backend, memory_bytes=10**9))
    assert isinstance(finding.failure, HostOutOfMemoryError)
    assert finding.failure.sorter == "threshold"
    assert "0.1 of" in str(finding.failure)
    assert [finding.failure for finding in check_memory(Needs())] == [None]


def test_room_on_one_disk_is_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: Usage(100, 0, 100))
    folders = {tmp_path / "out" / "deep": 60, tmp_path / "inter": 50}
    (finding,) = check_disk(Needs(folders=folders))
    failure = finding.failure
    assert isinstance(failure, DiskExhaustionError)
    assert (failure.required_bytes, failure.free_bytes, failure.path) == (110, 100, tmp_path / "out" / "deep")
    assert str(tmp_path / "inter") in str(failure)
    folders[tmp_path / "inter"] = 40
    assert [finding.failure for finding in check_disk(Needs(folders=folders))] == [None]


def test_the_machine_as_it_is_has_no_failure_where_nothing_is_needed() -> None:
    findings = [finding for check in CHECKS for finding in check(Needs())]
    assert {finding.what for finding in findings} >= {"GPU", "memory", "disk", "HDF5 plugins"}
    assert [finding.failure for finding in findings] == [None] * len(findings)


# Before a sort


def test_a_sort_that_cannot_run_ends_within_a_second_and_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = save_recording(simulate(duration_s=2.0).recording, tmp_path / "culture")
    monkeypatch.setattr(ThresholdBackend, "gpu_use", lambda self: GPU_REQUIRED)
    monkeypatch.setattr(checks, "gpus", lambda: Gpus(problem="somebody took it away"))
    monkeypatch.setattr(ThresholdBackend, "load_recording", None)  # would be called to filter it
    for _ in range(2):  # the first call imports
        start = time.process_time()
        with pytest.raises(GPUUnavailableError, match="took it away"):
            sort_recording([recording], sorter="threshold")
    assert time.process_time() - start < 1
    assert not (tmp_path / "inter_threshold_culture").exists()
    left = sorted(path.name for path in (tmp_path / "sorted_threshold_culture").iterdir())
    assert left == ["report.html", "run.json", "sort_with_kilosort2.out"]  # they say why


def test_what_is_finished_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = save_recording(simulate(duration_s=2.0).recording, tmp_path / "culture")
    settings: dict[str, Any] = {"sorter": "threshold", "spikes_min_first": 1, "spikes_min_second": 1}
    sort_recording([recording], **settings)

    def missing(self: ThresholdBackend) -> None:
        raise SorterNotInstalledError("it was here yesterday", sorter="threshold")

    monkeypatch.setattr(ThresholdBackend, "check_installed", missing)
    assert len(sort_recording([recording], **settings, snr_min=1)) == 1  # only the curation is new
    for change in ({"sorter_params": {"detect_threshold": 6}}, {"freq_min": 400}, {"recompute_sorting": True}):
        with pytest.raises(SorterNotInstalledError):
            sort_recording([recording], **settings, **change)


def test_room_is_asked_for_once_the_size_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = save_recording(simulate(duration_s=2.0).recording, tmp_path / "culture")
    monkeypatch.setattr(ThresholdBackend, "scratch_bytes", lambda self, n_samples, n_channels: 10**18 * n_channels)
    with pytest.raises(DiskExhaustionError) as caught:
        sort_recording([recording], sorter="threshold")
    assert caught.value.required_bytes == 8 * 10**18 + 2 * 40_000 * 8 + checks.RESULTS_BYTES
    assert caught.value.free_bytes is not None


def test_total_memory_is_no_more_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikelab.spike_sorting.run import sort_one

    seen = []
    original = ThresholdBackend.load_recording
    monkeypatch.setattr(sort_one, "available_memory", lambda: 10**9)
    monkeypatch.setattr(
        ThresholdBackend,
        "load_recording",
        lambda self, path: (seen.append(self.config.execution.total_memory), original(self, path))[1],
    )
    recording = save_recording(simulate(duration_s=2.0).recording, tmp_path / "culture")
    sort_recording([recording], sorter="threshold", spikes_min_first=1)
    assert seen == [8 * 10**8]


def test_missing_plugin_is_found_before_anything_is_filtered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    from spikelab.spike_sorting.recording import write_maxwell

    monkeypatch.delenv("HDF5_PLUGIN_PATH", raising=False)
    path = tmp_path / "compressed.raw.h5"
    made = simulate(duration_s=2.0)
    counts = (made.recording.get_traces().T / 6.3 + 512).astype("uint16")
    write_maxwell(path, counts, 20_000.0, made.recording.get_channel_locations())
    with h5py.File(path, "r+") as file:  # as the vendor's device writes: a filter that only its plugin knows
        group = file["wells/well000/rec0000/groups/routed"]
        del group["raw"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((8, 1000))
        properties.set_filter(401, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((8, 40_000))
        raw = h5py.h5d.create(group.id, b"raw", h5py.h5t.NATIVE_UINT16, space, properties)
        for first in range(0, 40_000, 1000):
            raw.write_direct_chunk((0, first), b"packed")
    with pytest.raises(HDF5PluginMissingError, match="filter 401") as caught:
        sort_recording([path], sorter="threshold")
    assert caught.value.configured_path is None
    assert not (tmp_path / "inter_threshold_compressed" / "recording" / "traces.dat").exists()
