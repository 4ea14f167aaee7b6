"""One run at a time on the same folders.

Two things keep a second run away. The lock is the operating system's: it goes when the process ends, however it ends.
Not every network drive passes locks on to other hosts, so beside it lies a note of who holds the folder, which a thread
touches every few seconds. The note of a process of this host means nothing once the lock was had; that of another host
counts as long as it is fresh, so that a crashed run keeps others away for a minute or two at most.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from spikelab import _files
from spikelab.spike_sorting._exceptions import ConcurrentSortError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import FileLock

logger = logging.getLogger(__name__)

LOCK, NOTE = ".spikelab.lock", ".spikelab.lock.json"
TOUCH_S = 20.0
STALE_S = 120.0


@contextmanager
def locked(results: Path, intermediate: Path) -> Iterator[None]:
    """Hold both folders for this run.

    Raises
    ------
    ConcurrentSortError
        If another run holds one of them.
    """
    with ExitStack() as held:
        for folder in (results, intermediate):
            missing = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            held.callback(_remove_empty, missing or [folder])
            held.enter_context(_locked(folder))
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock: FileLock | None = FileLock(folder / LOCK, timeout=0)
    assert lock is not None
    try:
        lock.acquire()
    except Timeout:
        raise _concurrent(folder, _read_note(folder)) from None
    except NotImplementedError:
        logger.info("%s is on a file system without locks: only the note in it keeps a second run away", folder)
        lock = None
    try:
        _require_no_other_host(folder)
        with _note(folder):
            yield
    finally:
        _let_go(lock, folder)


def _let_go(lock: FileLock | None, folder: Path) -> None:
    """Leave no lock file behind."""
    if lock is None:
        return
    if os.name == "posix":  # while it is held, so that nobody else's is removed
        (folder / LOCK).unlink(missing_ok=True)
    lock.release()
    if os.name != "posix":
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)


def _remove_empty(folders: list[Path]) -> None:
    """Leave no folder behind that holds nothing: the system refuses where there is something in it."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


@contextmanager
def _note(folder: Path) -> Iterator[None]:
    """Say who holds `folder`, and keep saying it."""
    note, done = folder / NOTE, threading.Event()
    _files.write_text(note, json.dumps({"pid": os.getpid(), "host": platform.node()}))

    def touch() -> None:
        while not done.wait(TOUCH_S):
            with suppress(OSError):
                os.utime(note)

    thread = threading.Thread(target=touch, name="spikelab-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        note.unlink(missing_ok=True)


def _read_note(folder: Path) -> dict[str, Any]:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _require_no_other_host(folder: Path) -> None:
    """Respect a fresh note of another host, whose lock may not reach this one."""
    note = _read_note(folder)
    if note.get("host") in (None, platform.node()):
        return
    age = _files.now_of(folder) - (folder / NOTE).stat().st_mtime
    if age < STALE_S:
        raise _concurrent(folder, note)
    logger.info("%s was left by a run on %s that did not end in order", folder / NOTE, note["host"])


def _concurrent(folder: Path, note: dict[str, Any]) -> ConcurrentSortError:
    pid, host = note.get("pid"), note.get("host")
    who = f"process {pid} on {host}" if pid is not None else "another process"
    rest = ""
    if host not in (None, platform.node()):
        rest = f". If that run has crashed, its claim ends by itself within {STALE_S / 60:.0f} minutes"
    return ConcurrentSortError(
        f"{folder} is in use by {who}: check first whether it still runs, then wait for it, or give other "
        f"results_folders and intermediate_folders{rest}",
        folder=folder,
        pid=pid,
        host=host,
    )
