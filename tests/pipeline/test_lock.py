"""One run at a time on a folder: on this host, and as far as is possible on others."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spikelab.spike_sorting import _lock
from spikelab.spike_sorting._exceptions import ConcurrentSortError
from spikelab.spike_sorting._lock import LOCK, NOTE, STALE_S, locked

HOLD = """
import sys
from pathlib import Path
from spikelab.spike_sorting._lock import locked
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
        assert json.loads((scratch / NOTE).read_text()) == {"pid": os.getpid(), "host": platform.node()}
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


@pytest.mark.parametrize("folder", ["out", "inter"])
def test_a_fresh_note_of_another_host_is_respected(tmp_path: Path, folder: str) -> None:
    note_of(tmp_path / folder, 10, pid=17, host="elsewhere")
    with (
        pytest.raises(ConcurrentSortError, match=r"process 17 on elsewhere.*within 2 minutes") as caught,
        locked(tmp_path / "out", tmp_path / "inter"),
    ):
        pass
    assert (caught.value.folder, caught.value.pid, caught.value.host) == (tmp_path / folder, 17, "elsewhere")
    assert [path.name for path in (tmp_path / folder).iterdir()] == [NOTE]  # theirs stays


@pytest.mark.parametrize(
    ("age_s", "note"),
    [
        (STALE_S + 5, {"pid": 17, "host": "elsewhere"}),  # it has not been touched: that run is over
        (0, {"pid": 17, "host": platform.node()}),  # of this host: the lock, which we had, decides
        (0, {}),
    ],
)
def test_a_note_that_means_nothing_is_replaced(tmp_path: Path, age_s: float, note: dict[str, object]) -> None:
    note_of(tmp_path / "out", age_s, **note)
    with locked(tmp_path / "out", tmp_path / "inter"):
        assert json.loads((tmp_path / "out" / NOTE).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "out").exists()


def test_an_unreadable_note_means_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NOTE).write_text("{half")
    with locked(tmp_path / "out", tmp_path / "inter"):
        pass


def test_the_note_is_kept_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lock, "TOUCH_S", 0.05)
    with locked(tmp_path / "out", tmp_path / "inter"):
        note = tmp_path / "out" / NOTE
        os.utime(note, (0, 0))
        end = time.monotonic() + 10
        while note.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert note.stat().st_mtime > 0


def test_without_locks_of_the_file_system_the_note_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    def refuse(self: filelock.FileLock, *args: object, **kwargs: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with locked(tmp_path / "out", tmp_path / "inter"):
        assert (tmp_path / "out" / NOTE).exists()
    assert not (tmp_path / "out").exists()
