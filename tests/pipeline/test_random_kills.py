"""Fifty runs that are killed at random moments, each followed by the same call again.

The sorter runs in a supervised child, which starts a helper, writes temporary files and takes its time; the parent or
the child is sent SIGKILL, SIGTERM or SIGINT. Afterwards nothing may be left: no process, no temporary file, no lock, no
scratch; and the repeated call must end in the same bytes as a run that was left alone. ``SPIKELAB_KILLS`` sets another
number of runs.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from simulated import save_recording, simulate

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc")]

SORTER = '''
import subprocess, sys, tempfile, time
from pathlib import Path
from spikelab.spike_sorting._types import BinaryRecording, SpikeTrains
from spikelab.spike_sorting.backends import _child
from spikelab.spike_sorting.backends.threshold import ThresholdBackend, ThresholdParams, detect_spikes

class SupervisedBackend(ThresholdBackend):
    """The threshold sorter, in a process of its own."""

    sorter_label = "supervised"

    def sort(self, recording, rec_path, recording_dat_path, output_folder):
        binary = self.ensure_binary(recording, recording_dat_path)
        folder = _child.run_folder(output_folder)
        job = {"sorter": "supervised", "target": "supervised:run", "recording_path": str(binary.path),
               "recording": binary.to_dict()}
        _child.run_in_child(job, folder, Path(output_folder) / "sorter.log", 60.0)
        trains = SpikeTrains.load(folder / _child.RESULT_FILE)
        return trains.to_spikeinterface(binary.sampling_frequency)

def run(job, folder):
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True)
    Path(tempfile.mkstemp()[1]).write_bytes(bytes(10**6))
    binary = BinaryRecording.from_dict(Path(job["recording_path"]), job["recording"])
    frames, channels = detect_spikes(binary, ThresholdParams())
    time.sleep(0.7)
    helper.kill()
    helper.wait()
    return SpikeTrains.from_dict({int(c): frames[channels == c] for c in set(channels.tolist())})
'''
CALL = """
import signal, sys
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.backends import registry
registry.BUILT_IN["supervised"] = "supervised:SupervisedBackend"
signal.signal(signal.SIGINT, signal.default_int_handler)
from spikelab.cli import end_in_order
end_in_order()
recording, results, intermediate = sys.argv[1:]
print("ready", flush=True)
sort_recording([recording], sorter="supervised", results_folders=[results], intermediate_folders=[intermediate],
               n_jobs=1, spikes_min_first=5, spikes_min_second=5)
"""
MARK = "SPIKELAB_KILL_TEST"
PATIENCE_S = 600  # of a machine that does much else
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Runs:
    """Starts the call, and finds all that it started by a mark in the environment."""

    def __init__(self, folder: Path, recording: Path) -> None:
        self.folder, self.recording = folder, recording
        self.temporary = folder / "t"
        self.temporary.mkdir()
        (folder / "supervised.py").write_text(SORTER, encoding="utf-8")
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        self.environment = {
            **os.environ, "PYTHONPATH": path, "TMPDIR": str(self.temporary), MARK: str(folder), "PYTHONWARNINGS": "",
        }  # fmt: skip

    def start(self, where: Path) -> subprocess.Popen[str]:
        arguments = [str(self.recording), str(where / "out"), str(where / "inter")]
        command = [sys.executable, "-c", CALL, *arguments]
        with (self.folder / "output.txt").open("a") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", (self.folder / "output.txt").read_text()
        return process

    def processes(self) -> list[psutil.Process]:
        """Every process of these runs that is still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def all_gone(self, within_s: float = 60) -> list[psutil.Process]:
        end = time.monotonic() + within_s
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.1)
        return left


def result_bytes(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((where / "out").glob("*.npz"))}


def kill(process: subprocess.Popen[str], chance: random.Random, longest_s: float) -> str:
    """Wait a random time, then send a random signal to the parent or, where there is one, its child."""
    time.sleep(chance.uniform(0, longest_s))
    number = chance.choice(SIGNALS)
    victim, who = psutil.Process(process.pid), "parent"
    try:
        children = victim.children()
        if children and chance.random() < 0.4:
            victim, who = children[0], "child"
        victim.send_signal(number)
    except psutil.NoSuchProcess:
        who = "nobody"
    return f"{number.name} to {who}"


@pytest.mark.timeout(7200)
def test_nothing_is_left_and_nothing_is_lost(tmp_path: Path) -> None:
    runs = Runs(tmp_path, save_recording(simulate(duration_s=3.0).recording, tmp_path / "culture"))
    start = time.monotonic()
    for where in ("warm-up", "untouched"):  # the first run compiles
        untouched = runs.start(tmp_path / where)
        ready = time.monotonic()
        untouched.communicate()
        length = time.monotonic() - ready
        assert untouched.returncode == 0, (tmp_path / "output.txt").read_text()
    expected = result_bytes(tmp_path / "untouched")
    assert set(expected) == {"sorted.npz", "sorted_spikedata_curated.npz"}

    chance, done = random.Random(0), Counter[str]()
    n_runs = int(os.environ.get("SPIKELAB_KILLS", "50"))
    for number in range(n_runs):
        where = tmp_path / f"run{number}"
        process = runs.start(where)
        what = kill(process, chance, length)
        process.communicate(timeout=PATIENCE_S)
        left = runs.all_gone()
        assert not left, f"run {number}, {what}: {left} still there"
        done[f"{what}, exit code {process.returncode}"] += 1
        again = runs.start(where)
        again.communicate(timeout=PATIENCE_S)
        assert again.returncode == 0, f"run {number}, {what}: {(tmp_path / 'output.txt').read_text()[-3000:]}"
        assert result_bytes(where) == expected, f"run {number}, {what}"
        assert not (where / "inter").exists(), f"run {number}, {what}"
        assert not list((where / "out").rglob(".*")), f"run {number}, {what}"
        assert not list(runs.temporary.iterdir()), f"run {number}, {what}"
        assert not runs.processes()
        print(f"run {number}: {what}, exit code {process.returncode}", flush=True)
    print(f"{n_runs} kills in {time.monotonic() - start:.0f} s: nothing was left")
    for line, count in sorted(done.items()):
        print(f"  {count:3d}  {line}")
