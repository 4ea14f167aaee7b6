"""What a worker does beside sorting: it can be told to end, and its memory is counted with that of its children."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from spikelab.spike_sorting import _worker
from spikelab.spike_sorting._inputs import Job
from spikelab.spike_sorting._run import Limits
from spikelab.spike_sorting.config import preset_for

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

    monkeypatch.setattr(_worker, "sort_one", sort)
    told: list[_worker.Told] = []
    thread = threading.Thread(target=lambda: told.append(_worker.run_task(JOB, "whole", "batch", Limits())))
    thread.start()
    started.wait(60)
    assert not _worker.end_batch("another")
    assert _worker.end_batch("batch")
    thread.join(60)
    assert told == [_worker.Told(interrupted=True)]
    assert not _worker.end_batch("batch")


def test_an_error_that_does_not_travel_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class LocalError(Exception):
        pass

    def fail(job: Job, limits: Limits) -> None:
        raise LocalError("what happened")

    monkeypatch.setattr(_worker, "sort_one", fail)
    told = _worker.run_task(JOB, "whole", "batch", Limits())
    assert (type(told.error), str(told.error)) == (RuntimeError, "LocalError: what happened")


def test_memory_of_children_counts() -> None:
    with subprocess.Popen([sys.executable, "-c", GREEDY], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        used = psutil.Process().memory_info().rss
        assert not _worker.end_the_greedy(used + 10**10)
        assert child.poll() is None
        assert _worker.end_the_greedy(used + 2 * 10**8)
        assert child.wait(60) == -9
