"""One run at a time on the same folders."""

from __future__ import annotations

import json
import logging
import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import ConcurrentSortError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import FileLock

logger = logging.getLogger(__name__)

LOCK = ".spikelab.lock"
RUN_RECORD = "run.json"


@contextmanager
def locked(results: Path, intermediate: Path) -> Iterator[None]:
    """Hold both folders for this run; the operating system lets go when the process ends, however it ends.

    Raises
    ------
    ConcurrentSortError
        If another run holds one of them.
    """
    from filelock import FileLock, Timeout

    with ExitStack() as held:
        for folder in (results, intermediate):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / LOCK, timeout=0)
            try:
                lock.acquire()
            except Timeout:
                raise _concurrent(folder, results) from None
            except NotImplementedError:
                logger.info("%s is on a file system without locks: nothing keeps a second run from it", folder)
            else:
                held.callback(_let_go, lock, folder)
        yield


def _let_go(lock: FileLock, folder: Path) -> None:
    """Leave no lock file behind, nor a folder that holds nothing else."""
    if os.name == "posix":  # while it is held, so that nobody else's is removed
        (folder / LOCK).unlink(missing_ok=True)
    lock.release()
    with suppress(OSError):
        if os.name != "posix":
            (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()  # refused by the system where something is in it


def _concurrent(folder: Path, results: Path) -> ConcurrentSortError:
    try:
        record = json.loads((results / RUN_RECORD).read_text(encoding="utf-8"))
        pid, host = record["pid"], record["host"]["node"]
    except (OSError, ValueError, KeyError):
        pid, host = None, None
    who = f"process {pid} on {host}" if pid is not None else "another process"
    return ConcurrentSortError(
        f"{folder} is in use by {who}: wait for it, or give other results_folders and intermediate_folders",
        folder=folder,
        pid=pid,
        host=host,
    )
