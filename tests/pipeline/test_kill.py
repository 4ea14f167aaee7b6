"""A run that is killed at any point, then repeated, ends in the same bytes as one that was left alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from simulated import save_recording, simulate
from spikelab.spike_sorting import sort_recording

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")

# The child counts what it does to the file system and kills itself, without a chance to clean up, at event number N;
# with N = 0 it prints how many events there are. Arguments: N, recording, results, intermediate, workers.
CHILD = """
import os, signal, sys
kill_at, recording, results, intermediate, workers = sys.argv[1:]
from spikelab.spike_sorting import sort_recording
count = 0
def hook(event, args):
    global count
    if event not in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
        return
    path = str(args[0])
    if not (path.startswith(results) or path.startswith(intermediate)):
        return
    if event == "open" and not (args[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    count += 1
    if count == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
sort_recording([recording], sorter="threshold", results_folders=[results], intermediate_folders=[intermediate],
               n_jobs=int(workers), spikes_min_first=5, spikes_min_second=5)
print(count)
"""


def run_child(kill_at: int, recording: Path, folder: Path, workers: int) -> subprocess.CompletedProcess[str]:
    arguments = [str(kill_at), str(recording), str(folder / "out"), str(folder / "inter"), str(workers)]
    return subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False)


def result_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "out").glob("*.npz"))}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_recording(simulate(duration_s=3.0).recording, tmp_path_factory.mktemp("input") / "culture")


@pytest.fixture(scope="module")
def undisturbed(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run_child(0, recording, folder, workers=1)
    assert done.returncode == 0, done.stderr
    return result_bytes(folder), int(done.stdout)


@pytest.mark.parametrize(
    ("fraction", "workers"),
    [
        *[(0.1, 2), (0.3, 1), (0.5, 2), (0.7, 1), (0.9, 2)],
        *[pytest.param(fraction, 1, marks=pytest.mark.slow) for fraction in (0.1, 0.5, 0.9)],
        *[pytest.param(fraction, 2, marks=pytest.mark.slow) for fraction in (0.3, 0.7)],
    ],
)
def test_killed_and_repeated(
    recording: Path, undisturbed: tuple[dict[str, bytes], int], tmp_path: Path, fraction: float, workers: int
) -> None:
    expected, n_events = undisturbed
    killed = run_child(round(fraction * n_events), recording, tmp_path, workers)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    sort_recording(
        [recording],
        sorter="threshold",
        results_folders=[tmp_path / "out"],
        intermediate_folders=[tmp_path / "inter"],
        n_jobs=workers,
        spikes_min_first=5,
        spikes_min_second=5,
    )
    assert result_bytes(tmp_path) == expected
    assert set(expected) == {"sorted.npz", "sorted_spikedata_curated.npz"}
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "done"
    assert not (tmp_path / "inter").exists()
    assert not list((tmp_path / "out").rglob(".*"))


@pytest.mark.slow
def test_killed_at_every_event(recording: Path, undisturbed: tuple[dict[str, bytes], int], tmp_path: Path) -> None:
    expected, n_events = undisturbed
    for event in range(1, n_events + 1):
        folder = tmp_path / str(event)
        assert run_child(event, recording, folder, 2).returncode == -signal.SIGKILL
        assert run_child(0, recording, folder, 2).returncode == 0
        assert result_bytes(folder) == expected, event
