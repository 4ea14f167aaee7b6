"""One run at a time on the same folders.

Two things keep a second run away. The lock is the operating system's: it goes when the process ends, however it ends.
Not every network drive passes locks on to other hosts, and some have none; so beside it lies a note of who holds the
folder, which a thread touches every few seconds.

======================================  ==========================================================
The note that a second run finds is of  then
======================================  ==========================================================
a process here, and the lock was had    it means nothing: the lock would have been that process's
a process here, without locks           it counts while that process runs
another host or container               it counts for `STALE_S` after it was touched last; when it is
                                        older, or dated ahead, it is watched for `WATCH_S`, and
                                        counts if it is touched meanwhile: clocks may be wrong
======================================  ==========================================================

A note that does not count is taken away, but only if it still is the one that was looked at; a new one is made only
where there is none.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import platform
import threading
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import ConcurrentSortError
from spikelab.system import files
from spikelab.system.process import machine, runs, this_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import FileLock

logger = logging.getLogger(__name__)

LOCK, NOTE = ".spikelab.lock", ".spikelab.lock.json"
TOUCH_S = 10.0
STALE_S = 120.0
WATCH_S = 3 * TOUCH_S
LOOK_S = 1.0
ENDS_WITHIN_S = STALE_S + WATCH_S
# What file systems say that have no locks.
NO_LOCKS = tuple(getattr(errno, name) for name in ("ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOLCK") if hasattr(errno, name))


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
    lock = _system_lock(folder)
    try:
        _make_way(folder, locked=lock is not None)
        with _note(folder):
            yield
    finally:
        _let_go(lock, folder)


def _system_lock(folder: Path) -> FileLock | None:
    """Take the lock of the operating system; None on a file system that has none."""
    from filelock import FileLock, Timeout

    # Without flock it would turn into a file that stays, for good, where a process on another host was killed.
    lock: FileLock = FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise _concurrent(folder, _Claim.read(folder)) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.info("%s is on a file system without locks: only the note in it keeps a second run away", folder)
        return None
    return lock


def _let_go(lock: FileLock | None, folder: Path) -> None:
    """Leave no lock file behind."""
    # While the lock is held, so that nobody else's file is removed; where that is refused, what is left bars nobody.
    with suppress(OSError):
        if os.name == "posix" or lock is None:
            (folder / LOCK).unlink(missing_ok=True)
    if lock is not None:
        lock.release()
        if os.name != "posix":
            with suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)


def _remove_empty(folders: list[Path]) -> None:
    """Leave no folder behind that holds nothing: the system refuses where there is something in it."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


@dataclass(frozen=True)
class _Claim:
    """What a note says, and when it was touched by the clock of its file system."""

    text: str
    touched_ns: int

    @classmethod
    def read(cls, folder: Path) -> _Claim | None:
        """Read the note in `folder`; None where there is none."""
        try:
            with (folder / NOTE).open(encoding="utf-8", errors="replace") as file:  # network drives ask the server then
                return cls(file.read(), os.fstat(file.fileno()).st_mtime_ns)
        except FileNotFoundError:
            return None

    @property
    def said(self) -> dict[str, Any]:
        """Process and host; empty of a note that cannot be understood."""
        try:
            note = json.loads(self.text)
        except (ValueError, RecursionError):
            return {}
        return note if isinstance(note, dict) else {}

    @property
    def is_of_this_machine(self) -> bool:
        """Whether the lock of the operating system reaches the process that left it."""
        named = platform.node() if "machine" not in self.said else machine()
        return bool(named == self.said.get("machine", self.said.get("host")))


@contextmanager
def _note(folder: Path) -> Iterator[None]:
    """Say who holds `folder`, and keep saying it."""
    path, done = folder / NOTE, threading.Event()
    text = json.dumps({"host": platform.node(), **this_process(), "claim": uuid.uuid4().hex})
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:  # of a run that came in between
        raise _concurrent(folder, _Claim.read(folder)) from None

    def touch() -> None:
        while not done.wait(TOUCH_S):
            with suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=touch, name="spikelab-lock", daemon=True)
    try:
        with file:
            file.write(text)
        thread.start()
        yield
    finally:
        done.set()
        if thread.is_alive():
            thread.join()
        with suppress(OSError):  # what ended the run is raised; a note that stays ends by itself
            found = _Claim.read(folder)
            if found is not None and found.text in (text, ""):  # and not of a run that has taken the folder over
                path.unlink(missing_ok=True)


def _make_way(folder: Path, *, locked: bool) -> None:
    """Take the note of a run that is over away; ConcurrentSortError where the run may still be under way."""
    found = _Claim.read(folder)
    if found is None:
        return
    if _counts(folder, found, locked=locked):
        raise _concurrent(folder, found)
    _take_away(folder, found)


def _counts(folder: Path, found: _Claim, *, locked: bool) -> bool:
    """Whether a note may be of a run that is under way; see the table above."""
    if found.text and not found.said:
        return False  # nobody's: ours are understood
    if locked and found.is_of_this_machine:
        return False
    alive = runs(found.said)
    if alive is None:
        alive = _is_fresh(folder, found)
        if not alive:
            logger.info("%s was left by a run on %s that did not end in order", folder / NOTE, found.said.get("host"))
    return alive


def _is_fresh(folder: Path, found: _Claim) -> bool:
    """Whether the run that left a note gives signs of life, whatever the clocks of the two hosts say."""
    age = files.now_of(folder) - found.touched_ns / 1e9
    if 0 <= age < STALE_S:
        return True
    logger.info("%s is watched for %.0f s, to see whether the run that left it is over", folder / NOTE, WATCH_S)
    end = time.monotonic() + WATCH_S
    while time.monotonic() < end:
        time.sleep(min(LOOK_S, WATCH_S))
        if _Claim.read(folder) != found:
            return _Claim.read(folder) is not None
    return False


def is_fresh(folder: Path) -> bool:
    """Whether the note in `folder` was touched of late, as far as clocks can be trusted; for those who only look."""
    try:
        return abs(time.time() - (folder / NOTE).stat().st_mtime) < STALE_S
    except OSError:
        return False


def _take_away(folder: Path, judged: _Claim) -> None:
    """Remove the note that was `judged`; one that another run has put in its place meanwhile is given back."""
    aside = files.temporary_name(folder / NOTE)
    try:
        (folder / NOTE).rename(aside)
    except FileNotFoundError:
        return
    try:
        taken = aside.read_text(encoding="utf-8", errors="replace")
        if taken != judged.text:
            with suppress(FileExistsError):
                os.link(aside, folder / NOTE)
            raise _concurrent(folder, _Claim(taken, 0))
    finally:
        aside.unlink()


def _concurrent(folder: Path, found: _Claim | None) -> ConcurrentSortError:
    said = {} if found is None else found.said
    pid, host = said.get("pid"), said.get("host")
    who = f"process {pid} on {host}" if pid is not None else "another process"
    rest = ""
    if found is not None and said and not found.is_of_this_machine:
        rest = f". If that run has crashed, its claim ends by itself within {math.ceil(ENDS_WITHIN_S / 60)} minutes"
    return ConcurrentSortError(
        f"{folder} is in use by {who}: check first whether it still runs, then wait for it, or give other "
        f"results_folders and intermediate_folders{rest}",
        folder=folder,
        pid=pid,
        host=host,
    )
