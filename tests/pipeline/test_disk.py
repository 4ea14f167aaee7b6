"""Folders that cannot be written, and disks that are full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulated import save_recording, simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import DiskExhaustionError, EnvironmentSortFailure
from spikelab.spike_sorting.backends.threshold import ThresholdBackend

is_root = hasattr(os, "geteuid") and os.geteuid() == 0
NOBODY = 65534

CHILD = """
import os, sys
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
# Once as root, so that everything is imported: Python itself may be where nobody else can read.
sort_recording([sys.argv[1]], sorter="threshold", results_folders=[sys.argv[4]], spikes_min_first=1)
os.setgid({id}); os.setuid({id})
try:
    sort_recording([sys.argv[1]], sorter="threshold", results_folders=[sys.argv[2]], intermediate_folders=[sys.argv[3]])
except EnvironmentSortFailure as error:
    print(error)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(not is_root, reason="only root can become somebody else")
@pytest.mark.parametrize("closed", ["results", "intermediate"])
def test_folder_that_cannot_be_written(open_folder: Path, closed: str) -> None:
    recording = save_recording(simulate(duration_s=2.0).recording, open_folder / "culture")
    folders = {"results": open_folder / "results", "intermediate": open_folder / "intermediate"}
    for name, folder in folders.items():
        folder.mkdir()
        folder.chmod(0o555 if name == closed else 0o777)
    arguments = [recording, folders["results"] / "r", folders["intermediate"] / "i", open_folder / "warm-up"]
    command = [sys.executable, "-c", CHILD.format(id=NOBODY), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "cannot write to" in done.stdout, done.stderr
    assert str(folders[closed]) in done.stdout
    assert "results_folders" in done.stdout


def test_results_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(EnvironmentSortFailure, match="results"):
        sort_recording([simulate(duration_s=2.0).recording], sorter="threshold", results_folders=[tmp_path / "results"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB: room for the results of a small recording, and little more."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not is_root or sys.platform != "linux":
        pytest.skip("only root can mount a small disk, on Linux")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_under_the_scratch_folder(small_disk: Path, tmp_path: Path) -> None:
    recording = simulate(duration_s=40.0).recording  # 12.8 MB as int16
    with pytest.raises(DiskExhaustionError, match=r"room|space|full") as raised:
        sort_recording(
            [recording], sorter="threshold", results_folders=[tmp_path / "out"], intermediate_folders=[small_disk / "i"]
        )
    assert raised.value.required_bytes == 40 * 20_000 * 8 * 2
    assert not list(small_disk.rglob("*.dat*"))


def test_no_room_for_the_files_of_single_waveforms(small_disk: Path, tmp_path: Path) -> None:
    recording = simulate(duration_s=4.0, n_channels=64, n_units=60).recording  # 10 MB as int16
    settings = {"sorter": "threshold", "results_folders": [tmp_path / "out"], "delete_inter": False}
    with pytest.raises(DiskExhaustionError) as raised:
        sort_recording([recording], intermediate_folders=[small_disk / "i"], **settings)
    assert raised.value.path == small_disk / "i" / "waveforms"
    assert not list(small_disk.rglob("waveforms_*"))
    assert (tmp_path / "out" / "stages" / "sorting" / "spikes.npz").exists()


def test_disk_that_fills_up_under_the_results_folder(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = simulate(duration_s=4.0, n_channels=64, n_units=60).recording
    extract = ThresholdBackend.extract_waveforms

    def somebody_else_needs_room(*args: Any, **kwargs: Any) -> Any:
        (small_disk / "theirs").write_bytes(bytes(shutil.disk_usage(small_disk).free - 100_000))
        return extract(*args, **kwargs)

    monkeypatch.setattr(ThresholdBackend, "extract_waveforms", somebody_else_needs_room)
    with pytest.raises(DiskExhaustionError) as raised:
        sort_recording(
            [recording], sorter="threshold", results_folders=[small_disk / "out"],
            intermediate_folders=[tmp_path / "i"], spikes_min_first=1, spikes_min_second=1,
        )  # fmt: skip
    assert raised.value.path is not None
    assert Path(raised.value.path).is_relative_to(small_disk)
    assert isinstance(raised.value.__cause__, OSError)
    # What was finished is there, and the same call elsewhere needs no new sort.
    assert (small_disk / "out" / "stages" / "sorting" / "spikes.npz").exists()
