"""A hundred runs that are killed at random moments, each followed by the same call again.

The sorter runs in a supervised child, which starts a helper, writes temporary files and takes its time; the parent or
the child is sent SIGKILL, SIGTERM or SIGINT. Afterwards nothing may be left: no process, no temporary file, no lock, no
scratch; and the repeated call must end in the same bytes as a run that was left alone. ``SPIKELAB_KILLS`` sets another
number of runs.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from simulated import save_recording, simulate

sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))
from killable import Killable

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc")]

# Has everything imported, and forks, so that a run costs no more than its work. One line of arguments per run; writes
# the run's process id and, when it has ended, its exit code.
SERVER = """
import importlib, json, os, pkgutil, signal, sys, traceback
import spikelab.spike_sorting
from spikelab.cli._ending import end_in_order
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.backends import registry

for module in pkgutil.walk_packages(spikelab.spike_sorting.__path__, "spikelab.spike_sorting."):
    if not any(name in module.name for name in ("rt_sort", "figures", "report", "kilosort", "__main__", "child_main")):
        importlib.import_module(module.name)
registry.BUILT_IN["supervised"] = "supervised:SupervisedBackend"
import supervised

def sort(recording, results, intermediate):
    sort_recording([recording], sorter="supervised", results_folders=[results], intermediate_folders=[intermediate],
                   n_jobs=1, spikes_min_first=5, spikes_min_second=5)

sort(*sys.argv[1:])  # compiles, and so do those that are forked not have to
print("ready", flush=True)
for line in sys.stdin:
    recording, results, intermediate = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.dup2(2, 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        end_in_order()
        try:
            sort(recording, results, intermediate)
        except BaseException as error:
            traceback.print_exc()
            os._exit(130 if isinstance(error, KeyboardInterrupt) else 1)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Runs:
    """Starts runs, and finds all that they started by a mark in the environment."""

    def __init__(self, folder: Path, recording: Path) -> None:
        self.folder, self.recording, self.killable = folder, recording, Killable(folder)
        arguments = [str(recording), str(folder / "first" / "out"), str(folder / "first" / "inter")]
        with (folder / "output.txt").open("a") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-c", SERVER, *arguments],
                env=self.killable.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._answer() == "ready", self.output()

    def _answer(self) -> str:
        assert self.server.stdout is not None
        return self.server.stdout.readline().strip()

    def start(self, where: Path) -> int:
        """Start a run; returns its process id."""
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps([str(self.recording), str(where / "out"), str(where / "inter")]) + "\n")
        self.server.stdin.flush()
        return int(self._answer())

    def exit_code(self) -> int:
        """Wait for the run that was started last."""
        return int(self._answer())

    def output(self) -> str:
        """The end of what runs said."""
        return (self.folder / "output.txt").read_text()[-3000:]

    def all_gone(self, within_s: float = 60) -> list[psutil.Process]:
        """What these runs have started and is still there after a while."""
        end = time.monotonic() + within_s
        while (left := [p for p in self.killable.processes() if p.pid != self.server.pid]) and time.monotonic() < end:
            time.sleep(0.1)
        return left


def result_bytes(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((where / "out").glob("*.npz"))}


def kill(pid: int, chance: random.Random, longest_s: float) -> str:
    """Wait a random time, then send a random signal to the run or, where there is one, its child."""
    time.sleep(chance.uniform(0, longest_s))
    number = chance.choice(SIGNALS)
    who = "nobody"
    with suppress(psutil.Error):
        victim, role = psutil.Process(pid), "parent"
        children = victim.children()
        if children and chance.random() < 0.4:
            victim, role = children[0], "child"
        if victim.status() != psutil.STATUS_ZOMBIE:
            victim.send_signal(number)
            who = role
    return f"{number.name} to {who}"


@pytest.mark.timeout(7200)
def test_nothing_is_left_and_nothing_is_lost(tmp_path: Path) -> None:
    runs = Runs(tmp_path, save_recording(simulate(duration_s=3.0).recording, tmp_path / "culture"))
    start = time.monotonic()
    runs.start(tmp_path / "untouched")
    assert runs.exit_code() == 0, runs.output()
    length = time.monotonic() - start
    expected = result_bytes(tmp_path / "untouched")
    assert set(expected) == {"sorted.npz", "sorted_spikedata_curated.npz"}

    chance, done = random.Random(0), Counter[str]()
    n_runs = int(os.environ.get("SPIKELAB_KILLS", "100"))
    for number in range(n_runs):
        where = tmp_path / f"run{number}"
        what = kill(runs.start(where), chance, length)
        what = f"{what}, exit code {runs.exit_code()}"
        left = runs.all_gone()
        assert not left, f"run {number}, {what}: {left} still there"
        done[what] += 1
        began = time.monotonic()
        runs.start(where)
        assert runs.exit_code() == 0, f"run {number}, {what}: {runs.output()}"
        length = 0.5 * length + 0.5 * (time.monotonic() - began)
        assert result_bytes(where) == expected, f"run {number}, {what}"
        assert not (where / "inter").exists(), f"run {number}, {what}"
        assert not list((where / "out").rglob(".*")), f"run {number}, {what}"
        assert not list(runs.killable.temporary.iterdir()), f"run {number}, {what}"
        assert not runs.all_gone(0)
        print(f"run {number}: {what}", flush=True)
    runs.server.communicate()
    print(f"{n_runs} kills in {time.monotonic() - start:.0f} s: nothing was left")
    for line, count in sorted(done.items()):
        print(f"  {count:3d}  {line}")
