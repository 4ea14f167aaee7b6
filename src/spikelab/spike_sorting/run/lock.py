"""One run at a time on the same folders.

A lock of the operating system, which goes when the process ends, and a note of the process that holds the folder
(:mod:`spikelab.spike_sorting.run.alive`) keep a second run away: not every network drive passes locks on to other
hosts. The note of a run that is over is removed only if it still is the note that was read.
"""

from __future__ import annotations

import errno
import logging
import math
import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import ConcurrentSortError
from spikelab.spike_sorting.run.alive import ENDS_WITHIN_S, NOTE, Note, may_be_alive, sign_of_life
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import FileLock

logger = logging.getLogger(__name__)

LOCK = ".spikelab.lock"
# Errors of file systems without locks.
NO_LOCKS = tuple(getattr(errno, name) for name in ("ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOLCK") if hasattr(errno, name))


@contextmanager
def locked(results: Path, intermediate: Path) -> Iterator[None]:
    """Hold both folders for this run; ConcurrentSortError where another run holds one of them."""
    with ExitStack() as held:
        for folder in (results, intermediate):
            missing = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            held.callback(_remove_empty, missing or [folder])
            held.enter_context(held_alone(folder))
        yield


@contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Hold one folder, which exists; ConcurrentSortError where another process holds it."""
    lock = _acquire(folder)
    try:
        _take_over(folder, locked=lock is not None)
        with ExitStack() as held:
            try:
                held.enter_context(sign_of_life(folder))
            except FileExistsError:  # the note of a run that came in between
                raise _concurrent(folder, Note.read(folder)) from None
            yield
    finally:
        _release(lock, folder)


def _acquire(folder: Path) -> FileLock | None:
    """Take the lock of the operating system; None on a file system that has none."""
    from filelock import FileLock, Timeout

    # filelock's fallback without flock is a file that stays for good where a process on another host was killed.
    lock: FileLock = FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise _concurrent(folder, Note.read(folder)) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.info("%s is on a file system without locks: only the note in it keeps a second run away", folder)
        return None
    return lock


def _release(lock: FileLock | None, folder: Path) -> None:
    """Release the lock and leave no lock file behind."""
    # Removed while the lock is held, so that no other run's file is; a file that cannot be removed locks nothing.
    with suppress(OSError):
        if os.name == "posix" or lock is None:
            (folder / LOCK).unlink(missing_ok=True)
    if lock is not None:
        lock.release()
        if os.name != "posix":
            with suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)


def _remove_empty(folders: list[Path]) -> None:
    """Remove those of `folders` that hold nothing: the system refuses for the others."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _take_over(folder: Path, *, locked: bool) -> None:
    """Take away the note of a run that is over; ConcurrentSortError where the run may be alive."""
    found = Note.read(folder)
    if found is None:
        return
    if may_be_alive(folder, found, locked=locked):
        raise _concurrent(folder, found)
    _take_away(folder, found)


def _take_away(folder: Path, stale: Note) -> None:
    """Remove the `stale` note; a note that another run has put in its place meanwhile is given back."""
    aside = files.temporary_name(folder / NOTE)
    try:
        (folder / NOTE).rename(aside)
    except FileNotFoundError:
        return
    try:
        taken = aside.read_text(encoding="utf-8", errors="replace")
        if taken != stale.text:
            with suppress(FileExistsError):
                os.link(aside, folder / NOTE)
            raise _concurrent(folder, Note(taken, 0))
    finally:
        aside.unlink()


def _concurrent(folder: Path, found: Note | None) -> ConcurrentSortError:
    holder = {} if found is None else found.process
    pid, host = holder.get("pid"), holder.get("host")
    who = f"process {pid} on {host}" if pid is not None else "another process"
    rest = ""
    if found is not None and holder and not found.is_of_this_machine:
        rest = f". If that run has crashed, its claim ends by itself within {math.ceil(ENDS_WITHIN_S / 60)} minutes"
    return ConcurrentSortError(
        f"{folder} is in use by {who}: check first whether it still runs, then wait for it, or give other "
        f"results_folders and intermediate_folders{rest}",
        folder=folder,
        pid=pid,
        host=host,
    )
