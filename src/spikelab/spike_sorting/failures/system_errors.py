"""Classify errors of the operating system and of libraries, wherever in a run they are raised."""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import (
    DiskExhaustionError,
    FolderUnusableError,
    HostOutOfMemoryError,
    SpikeSortingClassifiedError,
)
from spikelab.spike_sorting.failures.classifier import cause_of, classify_outside_sorter
from spikelab.system.files import existing

if TYPE_CHECKING:
    from collections.abc import Iterator

# No permission, a read-only disk, a file where a folder should be.
CANNOT_WRITE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", None))
# Messages of Python where the system starts no more of them; a locked file has the same number, and other words.
NO_THREAD, NO_PROCESS = "can't start new thread", str(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
# numpy's message for a full disk, without an error number: "311040 requested and 5088 written".
SHORT_WRITE = re.compile(r"^\d+ requested and \d+ written$")
# Errors that this package raises itself for bad input or settings. Their message is final: they are not classified.
FINAL = (SpikeSortingClassifiedError, ValueError, TypeError, FileNotFoundError)


@contextmanager
def known_errors(name: str, results: Path, intermediate: Path) -> Iterator[None]:
    """Raise the errors of a block that sorts the recording `name` as classified failures, where they are known ones.

    The original error is the ``__cause__``.
    """
    try:
        yield
    except Exception as error:
        known = _known(error, name, (results, intermediate))
        if known is None:
            raise
        raise known from cause_of(known, error)


def _known(error: Exception, name: str, folders: tuple[Path, Path]) -> SpikeSortingClassifiedError | None:
    if isinstance(error, MemoryError):
        return HostOutOfMemoryError(
            f"{name}: this machine's memory ran out ({error}). Check first what other processes use; then lower "
            "total_memory or n_jobs"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return _system_error(error, name, folders)
    if isinstance(error, OSError) and SHORT_WRITE.search(str(error)):
        return _full_disk(error, name, folders)
    if type(error) is RuntimeError and str(error).startswith(NO_THREAD):
        return _cannot_start(error, name)
    return None if isinstance(error, FINAL) else classify_outside_sorter(error)


def _system_error(error: OSError, name: str, folders: tuple[Path, Path]) -> SpikeSortingClassifiedError | None:
    if error.errno in DISK_FULL:
        return _full_disk(error, name, folders)
    if str(error) == NO_PROCESS:
        return _cannot_start(error, name)
    if error.errno == errno.ENOMEM:
        return HostOutOfMemoryError(f"{name}: this machine's memory ran out ({error}); lower total_memory or n_jobs")
    if error.errno in CANNOT_WRITE and _is_in(error, folders):
        return FolderUnusableError(
            f"{name}: cannot write to {error.filename} ({error.strerror}); give folders that can be written as "
            "results_folders and intermediate_folders",
            unusable=error.filename,
        )
    return None


def _cannot_start(error: Exception, name: str) -> HostOutOfMemoryError:
    return HostOutOfMemoryError(
        f"{name}: the system starts no more threads or processes ({error}). Check first how much memory is left, and "
        "how many processes are allowed (ulimit -u, pids.max of a container); then lower n_jobs"
    )


def _full_disk(error: OSError, name: str, folders: tuple[Path, Path]) -> DiskExhaustionError:
    """Name the disk that is full: that of the file, or the fuller one of those of the two folders."""
    free = {folder: shutil.disk_usage(existing(folder)).free for folder in folders}
    named = Path(error.filename) if isinstance(error.filename, str) else None
    path = named if named is not None and named.parent.is_dir() else min(free, key=lambda folder: free[folder])
    return DiskExhaustionError(
        f"{name}: the disk under {path} is full ({error.strerror or error}). Check first df -h; free space where "
        f"{folders[1]} and {folders[0]} are",
        path=path,
        free_bytes=shutil.disk_usage(existing(path)).free,
    )


def _is_in(error: OSError, folders: tuple[Path, Path]) -> bool:
    if error.filename is None:
        return False
    path = Path(error.filename)
    return any(folder.is_relative_to(path) or path.is_relative_to(folder) for folder in folders)
