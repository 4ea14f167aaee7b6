"""One run at a time on a folder: on this host, and as far as is possible on others."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from spikelab.spike_sorting._exceptions import ConcurrentSortError
from spikelab.spike_sorting.run import alive, lock
from spikelab.spike_sorting.run.alive import NOTE, STALE_S, Note
from spikelab.spike_sorting.run.lock import LOCK, locked
from spikelab.system.process import is_running, this_process

HOLD = """
import sys
from pathlib import Path
from spikelab.spike_sorting.run.lock import locked
with locked(Path(sys.argv[1]), Path(sys.argv[2])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def note_of(folder: Path, age_s: float, **values: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / NOTE).write_text(json.dumps(values), encoding="utf-8")
    then = time.time() - age_s
    os.utime(folder / NOTE, (then, then))


def test_nothing_is_left_in_the_end(tmp_path: Path) -> None:
    results, scratch = tmp_path / "out", tmp_path / "inter"
    with locked(results, scratch):
        (results / "result").touch()
        note = json.loads((scratch / NOTE).read_text())
        assert (note["pid"], note["host"]) == (os.getpid(), platform.node())
    assert [path.name for path in results.iterdir()] == ["result"]
    assert not scratch.exists()
    with locked(results, tmp_path / "new" / "deep"):
        pass
    assert not (tmp_path / "new").exists()  # nor the folders that were made on the way


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_who_holds_it_is_told_and_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    folders = tmp_path / "out", tmp_path / "inter"
    command = [sys.executable, "-c", HOLD, *map(str, folders)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(ConcurrentSortError, match=f"process {other.pid} on") as caught, locked(*folders):
            pass
        assert (caught.value.folder, caught.value.pid) == (folders[0], other.pid)
        assert caught.value.host == platform.node()
        other.kill()
        other.wait()
    assert (folders[0] / LOCK).exists()  # the file is there, the lock is not
    with locked(*folders):
        pass
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize(
    ("folder", "age_s"), [("out", 10), ("inter", 10), ("out", -1)]
)  # the clock was set back a little
def test_a_fresh_note_of_another_host_is_respected(tmp_path: Path, folder: str, age_s: float) -> None:
    note_of(tmp_path / folder, age_s, pid=17, host="elsewhere")
    with (
        pytest.raises(ConcurrentSortError, match=r"process 17 on elsewhere.*within 3 minutes") as caught,
        locked(tmp_path / "out", tmp_path / "inter"),
    ):
        pass
    assert (caught.value.folder, caught.value.pid, caught.value.host) == (tmp_path / folder, 17, "elsewhere")
    assert [path.name for path in (tmp_path / folder).iterdir()] == [NOTE]  # theirs stays


@pytest.fixture
def _short_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "WATCH_S", 1.0)
    monkeypatch.setattr(alive, "POLL_S", 0.05)


@pytest.mark.usefixtures("_short_watch")
@pytest.mark.parametrize(
    ("age_s", "note"),
    [
        (STALE_S + 5, {"pid": 17, "host": "elsewhere"}),  # it is not touched any more: that run is over
        (-86400, {"pid": 17, "host": "elsewhere"}),  # dated a day ahead: the same
        (-5, {"pid": 17, "host": "elsewhere"}),
        (0, {"pid": 17, "host": platform.node()}),  # of this host: the lock, which we had, decides
        (0, {**this_process(), "host": platform.node()}),
        (0, {}),
    ],
)
def test_a_note_that_means_nothing_is_replaced(tmp_path: Path, age_s: float, note: dict[str, object]) -> None:
    note_of(tmp_path / "out", age_s, **note)
    with locked(tmp_path / "out", tmp_path / "inter"):
        assert json.loads((tmp_path / "out" / NOTE).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, "no json", "[]"])
def test_a_note_that_cannot_be_understood_bars_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NOTE).write_text(text)
    with locked(tmp_path / "out", tmp_path / "inter"):
        assert json.loads((tmp_path / "out" / NOTE).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("age_s", [STALE_S + 5, -86400])
def test_a_note_with_a_wrong_date_counts_while_it_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: float
) -> None:
    monkeypatch.setattr(alive, "WATCH_S", 60.0)
    monkeypatch.setattr(alive, "POLL_S", 0.05)
    note_of(tmp_path / "out", age_s, pid=17, host="elsewhere")
    over = threading.Event()

    def touch() -> None:
        date = (tmp_path / "out" / NOTE).stat().st_mtime
        while not over.wait(0.1):
            date += 10  # by a clock of its own
            os.utime(tmp_path / "out" / NOTE, (date, date))

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        with pytest.raises(ConcurrentSortError, match="process 17 on elsewhere"), locked(tmp_path / "out", tmp_path):
            pass
    finally:
        over.set()
        thread.join()


def test_a_host_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    note_of(tmp_path / "out", 10, **{**this_process(), "host": platform.node(), "machine": "started another time"})
    with pytest.raises(ConcurrentSortError, match="within 3 minutes"), locked(tmp_path / "out", tmp_path / "inter"):
        pass


def test_an_unreadable_note_means_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NOTE).write_text("{half")
    with locked(tmp_path / "out", tmp_path / "inter"):
        pass


def test_the_note_is_kept_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "TOUCH_S", 0.05)
    with locked(tmp_path / "out", tmp_path / "inter"):
        note = tmp_path / "out" / NOTE
        os.utime(note, (0, 0))
        end = time.monotonic() + 10
        while note.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert note.stat().st_mtime > 0


def test_a_note_that_came_in_between_is_given_back(tmp_path: Path) -> None:
    """Two runs judge the same old note; the slower one must not take the note of the faster one away."""
    note_of(tmp_path, STALE_S + 5, pid=17, host="elsewhere")
    stale = Note.read(tmp_path)
    assert stale is not None
    note_of(tmp_path, 0, pid=18, host="faster")
    with pytest.raises(ConcurrentSortError, match="process 18 on faster"):
        lock._take_away(tmp_path, stale)
    assert [path.name for path in tmp_path.iterdir()] == [NOTE]
    assert json.loads((tmp_path / NOTE).read_text()) == {"pid": 18, "host": "faster"}


def test_the_note_of_who_took_a_folder_over_stays(tmp_path: Path) -> None:
    with locked(tmp_path / "out", tmp_path / "inter"):
        note_of(tmp_path / "out", 0, pid=18, host="successor")
    assert json.loads((tmp_path / "out" / NOTE).read_text())["host"] == "successor"


# A file system without locks, as far as this process can tell: what flock says there.
WITHOUT_LOCKS = """
import errno, fcntl
def flock(*arguments):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock
"""


@pytest.fixture
def _without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    space: dict[str, object] = {}
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)  # put back in the end
    exec(WITHOUT_LOCKS, space)


@pytest.mark.usefixtures("_without_locks")
def test_without_locks_of_the_file_system_the_note_keeps_others_away(tmp_path: Path) -> None:
    folders = tmp_path / "out", tmp_path / "inter"
    with locked(*folders):
        assert {path.name for path in folders[0].iterdir()} == {LOCK, NOTE}
        with pytest.raises(ConcurrentSortError, match=f"process {os.getpid()} on"), locked(*folders):
            pass
        assert (folders[0] / NOTE).exists()
    assert not any(folder.exists() for folder in folders)


@pytest.mark.usefixtures("_without_locks", "_short_watch")
def test_without_locks_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    folders = tmp_path / "out", tmp_path / "inter"
    command = [sys.executable, "-c", WITHOUT_LOCKS + HOLD, *map(str, folders)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(ConcurrentSortError, match=f"process {other.pid} on"), locked(*folders):
            pass
        other.kill()
        # Not waited for yet: a process that has ended, but whose parent does not know, holds nothing either.
        end = time.monotonic() + 60
        while psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
            time.sleep(0.02)
        with locked(*folders):
            pass
        other.wait()
    note_of(tmp_path / "out", STALE_S + 5, pid=17, host="elsewhere")  # killed on another host
    with locked(*folders):
        pass
    assert not any(folder.exists() for folder in folders)


def test_a_number_that_was_given_again_is_another_process() -> None:
    this = this_process()
    assert is_running(this) is True
    assert is_running({**this, "started": this["started"] - 1}) is False  # the same number, an earlier process
    assert is_running({**this, "machine": "another"}) is None
    assert is_running({**this, "numbers": "of another container"}) is None
    assert is_running({"pid": os.getpid()}) is None
