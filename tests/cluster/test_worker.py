"""What a worker does beside sorting: it can be told to end, and its memory is counted with that of its children."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from spikelab.spike_sorting.batch import worker
from spikelab.spike_sorting.config import preset_for
from spikelab.spike_sorting.run.jobs import Job
from spikelab.spike_sorting.run.sort_one import Limits, Sorted
from spikelab.system.runlog import run_log

JOB = Job(Path("x"), "x", preset_for("threshold"), Path("out"), Path("inter"))
GREEDY = """
import time
held = bytearray(4 * 10**8)
held[::4096] = b"1" * len(held[::4096])
print("ready", flush=True)
time.sleep(100)
"""


def test_a_task_is_ended_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()

    def sort(job: Job, limits: Limits) -> None:
        started.set()
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(worker, "sort_one", sort)
    told: list[worker.Told] = []
    thread = threading.Thread(target=lambda: told.append(worker.run_task(JOB, "whole", "batch", Limits())))
    thread.start()
    started.wait(60)
    assert not worker.end_batch("another")
    assert worker.end_batch("batch")
    thread.join(60)
    assert told == [worker.Told(interrupted=True)]
    assert not worker.end_batch("batch")


def test_an_error_that_does_not_travel_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class LocalError(Exception):
        pass

    def fail(job: Job, limits: Limits) -> None:
        raise LocalError("what happened")

    monkeypatch.setattr(worker, "sort_one", fail)
    told = worker.run_task(JOB, "whole", "batch", Limits())
    assert (type(told.error), str(told.error)) == (RuntimeError, "LocalError: what happened")


def test_memory_of_children_counts() -> None:
    with subprocess.Popen([sys.executable, "-c", GREEDY], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        used = worker.memory_of([psutil.Process()])
        assert not worker.end_the_greedy(used + 10**10)
        assert child.poll() is None
        assert worker.end_the_greedy(used + 2 * 10**8)
        assert child.wait(60) == -9


MAPS_A_FILE = """
import mmap, sys, time
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
total = sum(mapped[i] for i in range(0, len(mapped), 4096))
print("ready", flush=True)
time.sleep(100)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is a file")
def test_a_file_that_a_child_maps_is_not_its_memory(tmp_path: Path) -> None:
    size = 3 * 10**8
    with (tmp_path / "traces.dat").open("wb") as file:
        file.truncate(size)
    command = [sys.executable, "-c", MAPS_A_FILE, str(tmp_path / "traces.dat")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert psutil.Process(child.pid).memory_info().rss > size
        used = worker.memory_of([psutil.Process()])
        assert not worker.end_the_greedy(used + size // 2)
        assert child.poll() is None
        child.kill()


SHARES = """
import mmap, os, time
shared = mmap.mmap(-1, 10**8)
os.fork()
shared[::4096] = b"1" * len(shared[::4096])
os.write(1, b"ready\\n")
time.sleep(100)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fork, and /proc tells what is shared")
def test_memory_that_children_share_counts_once() -> None:
    with subprocess.Popen([sys.executable, "-c", SHARES], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        tree = [psutil.Process(child.pid), *psutil.Process(child.pid).children()]
        assert len(tree) == 2
        assert 10**8 < worker.memory_of(tree) < 1.6 * 10**8
        for process in tree:
            process.kill()


def test_what_the_guard_says_is_of_the_run_that_it_guards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def greedy(limit: int) -> bool:
        logging.getLogger("spikelab.spike_sorting.batch.worker").warning("the sorter is ended")
        ended.set()
        return True

    def sort(job: Job, limits: Limits) -> Sorted:
        with run_log(tmp_path / "log") as warnings:
            ended.clear()
            assert ended.wait(60)
        assert "the sorter is ended" in warnings
        return Sorted(None, 1, 1)

    monkeypatch.setattr(worker, "GUARD_S", 0.02)
    monkeypatch.setattr(worker, "end_the_greedy", greedy)
    monkeypatch.setattr(worker, "sort_one", sort)
    monkeypatch.setattr(worker._STATE, "guard", None)
    assert worker.run_task(JOB, "whole", "batch", Limits(memory=10**9)).error is None
    assert "the sorter is ended" in (tmp_path / "log").read_text()
