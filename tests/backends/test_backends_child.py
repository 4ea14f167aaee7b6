"""The supervised child: real crashes, kills, hangs and exceptions, and nothing left behind."""

from __future__ import annotations

import _thread
import errno
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from spikelab.spike_sorting._exceptions import SorterTimeoutError
from spikelab.spike_sorting.backends.isolation import end, start, temporary, watch
from spikelab.spike_sorting.backends.isolation.error import SorterProcessError
from spikelab.spike_sorting.backends.isolation.start import run_in_child
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.system import process as _process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TARGETS = """
import os, signal, subprocess, sys, time
from pathlib import Path
from spikelab.spike_sorting.data import SpikeTrains

def works(job, folder):
    print("threads", os.environ["OMP_NUM_THREADS"], "extra", os.environ.get("EXTRA"))
    print("0 %\\r50 %\\r100 %")
    return SpikeTrains.from_dict({1: [3, 2], 5: [7]})

def raises(job, folder):
    try:
        {}["inner"]
    except KeyError as inner:
        raise ValueError("n_samples=2 should be >= n_clusters=6.") from inner

def exits(job, folder):
    print("so long")
    os._exit(3)

def has_a_child_that_fails(job, folder):
    os._exit(subprocess.run([sys.executable, "-c", "raise SystemExit(3)"]).returncode)

def segfault(job, folder):
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)

def killed(job, folder):
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)

def hangs(job, folder):
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("helper", helper.pid)
    (folder / "helper.pid").write_text(str(helper.pid))
    time.sleep(600)

def tidies_up(job, folder):
    import tempfile
    handle, name = tempfile.mkstemp()
    os.write(handle, b"x" * 1000)
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (folder / "helper.pid").write_text(str(helper.pid))
    try:
        time.sleep(600)
    finally:
        (folder.parent / "tidied").write_text(name)

def starts_a_helper_when_asked_to_end(job, folder):
    try:
        hangs(job, folder)
    finally:
        helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        (folder.parent / "late.pid").write_text(str(helper.pid))

def does_not_listen(job, folder):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hangs(job, folder)

def leaves_a_temporary_file(job, folder):
    import tempfile
    (folder / "where").write_text(tempfile.mkstemp()[1])
    return SpikeTrains.from_dict({1: [1]})

def works_silently(job, folder):
    end = time.monotonic() + job["seconds"]
    while time.monotonic() < end:
        sum(range(1000))
    return SpikeTrains.from_dict({1: [1]})

def talks(job, folder):
    for i in range(8):
        time.sleep(job["seconds"] / 8)
        print("line", i)
    return SpikeTrains.from_dict({1: [1]})
"""


def search_path(folder: Path) -> str:
    """Where the child finds the targets, and the package that is tested."""
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


@pytest.fixture
def run(tmp_path: Path):
    """Run one of the targets in a child."""
    (tmp_path / "child_targets.py").write_text(TARGETS, encoding="utf-8")
    environment = {"PYTHONPATH": search_path(tmp_path), "EXTRA": "yes"}

    def call(target: str, timeout_s: float | None = 60, **job: object) -> SpikeTrains:
        run_in_child(
            {"sorter": "some_sorter", "target": f"child_targets:{target}", **job},
            tmp_path / "run",
            tmp_path / "sorter.log",
            timeout_s,
            n_threads=3,
            environment=environment,
        )
        return SpikeTrains.load(tmp_path / "run" / start.RESULT_FILE)

    return call


def is_gone(pid: int, within_s: float = 10) -> bool:
    """Whether a process ends soon (one that its parent has not yet waited for has ended)."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_result_log_and_environment(run, tmp_path: Path) -> None:
    before = dict(os.environ)
    trains = run("works")
    assert trains.unit_ids.tolist() == [1, 5]
    assert [train.tolist() for train in trains.samples] == [[2, 3], [7]]
    log = (tmp_path / "sorter.log").read_bytes()
    assert b"threads 3 extra yes" in log
    assert b"\r" not in log
    assert b"\n100 %\n" in log
    assert b"50 %" not in log
    assert dict(os.environ) == before


def test_exception_comes_back_with_its_text(run, tmp_path: Path) -> None:
    with pytest.raises(SorterProcessError, match="ValueError: n_samples=2 should be >= n_clusters=6") as caught:
        run("raises")
    assert caught.value.error_type == "ValueError"
    assert caught.value.log_path == tmp_path / "sorter.log"
    log = (tmp_path / "sorter.log").read_text(encoding="utf-8")
    assert "Traceback" in log
    assert "KeyError: 'inner'" in log
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.exit_code, copy.error_type) == (str(caught.value), 1, "ValueError")


def test_old_result_is_not_taken_for_a_new_one(run, tmp_path: Path) -> None:
    run("works")
    with pytest.raises(SorterProcessError):
        run("exits")
    assert not (tmp_path / "run" / start.RESULT_FILE).exists()


def test_exit_code_and_end_of_the_log_are_told(run) -> None:
    with pytest.raises(SorterProcessError, match=r"exit code 3[\s\S]*so long"):
        run("exits")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_crash_is_named(run, tmp_path: Path) -> None:
    with pytest.raises(SorterProcessError, match="SIGSEGV") as caught:
        run("segfault")
    assert caught.value.exit_code == -signal.SIGSEGV
    assert "Segmentation fault" in (tmp_path / "sorter.log").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_kill_hints_at_memory(run) -> None:
    with pytest.raises(SorterProcessError, match=r"SIGKILL \(exit code -9\).*out of memory"):
        run("killed")


def test_hang_ends_with_the_whole_tree(run, tmp_path: Path) -> None:
    others = psutil.Process().children(recursive=True)  # of earlier tests in this process
    with pytest.raises(SorterTimeoutError, match="without output or CPU use") as caught:
        run("hangs", timeout_s=2)
    assert (caught.value.sorter, caught.value.timeout_s) == ("some_sorter", 2)
    assert caught.value.log_path == tmp_path / "sorter.log"
    assert is_gone(int((tmp_path / "run" / "helper.pid").read_text()))
    assert not set(psutil.Process().children(recursive=True)) - set(others)


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files, of this test alone."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="nobody is asked to end there")
def test_hang_is_asked_to_tidy_up_before_it_is_killed(run, tmp_path: Path, temporary_folder: Path) -> None:
    with pytest.raises(SorterTimeoutError):
        run("tidies_up", timeout_s=2)
    name = (tmp_path / "tidied").read_text()
    assert name.startswith(str(temporary_folder))
    assert not list(temporary_folder.iterdir())
    assert not (tmp_path / "run" / temporary.FOLDER).exists()
    assert is_gone(int((tmp_path / "run" / "helper.pid").read_text()))  # although it had a session of its own


@pytest.mark.skipif(sys.platform == "win32", reason="nobody is asked to end there")
def test_what_is_started_on_the_way_out_ends_too(run, tmp_path: Path) -> None:
    with pytest.raises(SorterTimeoutError):
        run("starts_a_helper_when_asked_to_end", timeout_s=2)
    assert is_gone(int((tmp_path / "late.pid").read_text()))  # in a session of its own, and never seen in the tree


def test_who_does_not_listen_is_killed(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end, "GRACE_S", 0.5)
    others = psutil.Process().children(recursive=True)
    with pytest.raises(SorterTimeoutError):
        run("does_not_listen", timeout_s=2)
    assert is_gone(int((tmp_path / "run" / "helper.pid").read_text()))
    assert not set(psutil.Process().children(recursive=True)) - set(others)


def test_temporary_files_go_with_the_sorter(run, tmp_path: Path, temporary_folder: Path) -> None:
    ours = f"spikelab-{temporary.visible_files()}"
    (temporary_folder / f"{ours}-left").symlink_to(tmp_path / "gone")
    (temporary_folder / f"{ours}-used").symlink_to(tmp_path)
    (temporary_folder / "spikelab-abcdef-there").symlink_to(tmp_path / "seen in another container alone")
    run("leaves_a_temporary_file")
    where = (tmp_path / "run" / "where").read_text()
    assert where.startswith(str(temporary_folder / "spikelab-"))
    assert not (tmp_path / "run" / temporary.FOLDER).exists()
    left = {path.name for path in temporary_folder.iterdir()}
    assert left == {f"{ours}-used", "spikelab-abcdef-there"}  # somebody else may use them


def test_a_log_that_cannot_be_tidied_hides_nothing(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(start, "clean_log", full)
    with pytest.raises(SorterProcessError, match="n_samples=2"):
        run("raises")
    assert run("works").n_units == 2


def test_a_log_that_cannot_be_opened_is_what_is_said(run, tmp_path: Path) -> None:
    (tmp_path / "sorter.log").mkdir()
    with pytest.raises(IsADirectoryError):
        run("works")


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_nothing_is_signalled_by_a_number_that_may_be_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the child was not waited for, its number is its own; afterwards nobody is killed by it."""
    killed: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: killed.append((group, psutil.pid_exists(group))))
    process = psutil.Popen([sys.executable, "-c", ""], start_new_session=True)
    assert end.has_ended(process, within_s=60)
    assert not end.was_reaped(process)
    end.end_tree(process)
    assert killed == [(process.pid, True)]
    assert process.returncode == 0
    end.end_tree(process)
    assert len(killed) == 1


@pytest.fixture(params=["main thread", "another thread"])
def sigchld_ignored(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[], None]], None]]:
    """A caller that does not want to hear of its children, as some servers do; calls a function as it would."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    def call(work: Callable[[], None]) -> None:
        if request.param == "main thread":
            work()
        else:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(work).result()

    yield call
    assert _process._handling(signal.SIGCHLD) == signal.SIG_IGN
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_exit_codes_are_known_where_the_caller_ignores_them(run, sigchld_ignored) -> None:
    def work() -> None:
        with pytest.raises(SorterProcessError, match="SIGKILL") as caught:
            run("killed")
        assert caught.value.exit_code == -signal.SIGKILL
        with pytest.raises(SorterProcessError, match="exit code 3") as caught:
            run("has_a_child_that_fails")
        assert run("works").n_units == 2

    sigchld_ignored(work)


@pytest.mark.parametrize("target", ["works_silently", "talks"])
def test_work_is_no_hang(run, target: str) -> None:
    assert run(target, timeout_s=2, seconds=4).n_units == 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
# The interrupt may fall between the opening of a file of /proc, which psutil reads, and its `with`.
@pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <_io\.\w+ name='/proc/:pytest.PytestUnraisableExceptionWarning"
)
def test_keyboard_interrupt_ends_the_tree(run, tmp_path: Path) -> None:
    pid_file = tmp_path / "run" / "helper.pid"

    def interrupt_once_it_runs() -> None:
        while not (pid_file.is_file() and pid_file.read_text()):
            time.sleep(0.05)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt_once_it_runs)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run("hangs")
    thread.join()
    assert is_gone(int(pid_file.read_text()))


def test_child_and_grandchild_end_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "child_targets.py").write_text(TARGETS, encoding="utf-8")
    script = f"""
    from collections.abc import Iterator
    from pathlib import Path
    from spikelab.spike_sorting.backends.isolation.start import run_in_child
    folder = Path({str(tmp_path)!r})
    run_in_child({{"sorter": "x", "target": "child_targets:hangs"}}, folder / "run", folder / "sorter.log", None,
                 environment={{"PYTHONPATH": {search_path(tmp_path)!r}}})
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    pid_file = tmp_path / "run" / "helper.pid"
    end = time.monotonic() + 60
    while not (pid_file.is_file() and pid_file.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    (child,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    assert is_gone(child.pid)
    assert is_gone(int(pid_file.read_text()))


def test_heartbeat_has_the_last_line(run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "HEARTBEAT_S", 0.5)
    with caplog.at_level(logging.INFO, logger=watch.__name__):
        run("talks", seconds=4)
    beats = [record.getMessage() for record in caplog.records if "line" in record.getMessage()]
    assert beats
    assert all(beat.startswith("some_sorter: ") for beat in beats)


def test_job_is_plain_json(run, tmp_path: Path) -> None:
    run("works", params={"a": [1, None]})
    job = json.loads((tmp_path / "run" / start.JOB_FILE).read_text(encoding="utf-8"))
    assert job["params"] == {"a": [1, None]}
    assert np.isscalar(job["parent_pid"])
