"""What a worker does beside sorting: it can be told to end, and its memory is counted with that of its children."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.spike_sorting.backends.isolation import start
from spikelab.spike_sorting.backends.isolation.error import SorterProcessError
from spikelab.spike_sorting.backends.isolation.memory import enforce_limit, memory_limit, memory_of
from spikelab.spike_sorting.batch import worker
from spikelab.spike_sorting.batch.cluster import require_main_guard
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
    told: list[worker.TaskResult] = []
    thread = threading.Thread(target=lambda: told.append(worker.run_task(JOB, "whole", "batch", Limits())))
    thread.start()
    started.wait(60)
    assert not worker.end_batch("another")
    assert worker.end_batch("batch")
    thread.join(60)
    assert told == [worker.TaskResult(interrupted=True)]
    assert not worker.end_batch("batch")


def test_an_error_that_does_not_travel_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class LocalError(Exception):
        pass

    def fail(job: Job, limits: Limits) -> None:
        raise LocalError("what happened")

    monkeypatch.setattr(worker, "sort_one", fail)
    told = worker.run_task(JOB, "whole", "batch", Limits())
    assert (type(told.error), str(told.error)) == (RuntimeError, "LocalError: what happened")


def enforced(limit: int, sorter: list[psutil.Process]) -> bool:
    with memory_limit(limit):
        return enforce_limit(sorter)


def test_memory_of_children_counts() -> None:
    with subprocess.Popen([sys.executable, "-c", GREEDY], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        sorter = [psutil.Process(child.pid)]
        used = memory_of([psutil.Process()])
        assert not enforced(used + 10**10, sorter)
        assert child.poll() is None
        assert enforced(used + 2 * 10**8, sorter)
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
        used = memory_of([psutil.Process()])
        assert not enforced(used + size // 2, [psutil.Process(child.pid)])
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
        assert 10**8 < memory_of(tree) < 1.6 * 10**8
        for process in tree:
            process.kill()


TARGET = """
def run(job, folder):
    import time
    held = bytearray(4 * 10**8)
    held[::4096] = b"1" * len(held[::4096])
    time.sleep(100)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="exit codes of signals")
def test_a_sorter_that_takes_too_much_is_ended_and_the_log_of_its_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "greedy_target.py").write_text(TARGET)
    search = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    found: list[str] = []

    def sort(job: Job, limits: Limits) -> Sorted:
        with run_log(tmp_path / "log") as warnings, pytest.raises(SorterProcessError, match="SIGKILL"):
            start.run_in_child(
                {"sorter": "greedy", "target": "greedy_target:run"},
                tmp_path / "run",
                tmp_path / "sorter.log",
                None,
                environment={"PYTHONPATH": search},
            )
        found.extend(warnings)
        return Sorted(None, 1, 1)

    monkeypatch.setattr(worker, "sort_one", sort)
    used = memory_of([psutil.Process()])
    assert worker.run_task(JOB, "whole", "batch", Limits(memory=used + 3 * 10**8)).error is None
    assert any("the sorter is ended" in warning for warning in found)
    assert "the sorter is ended" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("sort_many('list.csv')\n", True),
        ("if __name__ == '__main__':\n    sort_many('list.csv')\n", False),
        (None, False),  # a notebook, an interpreter
    ],
)
def test_a_script_that_every_process_would_run_again_is_told(
    text: str | None, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    if text is not None:
        main.__file__ = str(tmp_path / "analysis.py")
        Path(main.__file__).write_text(text)
    monkeypatch.setitem(sys.modules, "__main__", main)
    refusal = pytest.raises(EnvironmentSortFailure, match=r"analysis.py from its .* 'if __name__")
    with refusal if refused else nullcontext():
        require_main_guard()
