"""Errors of everything that reads a recording become one class of error, which names the file.

Readers (h5py, neo, zarr, SpikeInterface, this package's) raise any error on a damaged file.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
from spikelab.spike_sorting.data import epochs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from spikeinterface import BaseRecording

# Errors of the operating system, which do not depend on what the file holds: they pass unchanged.
OF_THE_SYSTEM = frozenset(
    getattr(errno, name)
    for name in (
        "EACCES", "EPERM", "EAGAIN", "EIO", "ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "ESTALE",
        "ENODEV", "ENXIO", "ETIMEDOUT", "EINTR", "EBUSY", "EREMOTEIO", "ENOTCONN", "EHOSTDOWN", "ECONNRESET",
        "ECONNREFUSED",
    )
    if hasattr(errno, name)
)  # fmt: skip
ADVICE = (
    "It is damaged, incomplete, or not what its name says; check first whether the program that wrote it still opens "
    "it, and compare its size with the original's"
)
LONGEST_REASON = 400
NAMES_IN_MESSAGE = 10


@contextmanager
def reading(path: Path | str, what: str = "") -> Iterator[None]:
    """Turn what a reader raises into a ValueError, or a FileNotFoundError, that names `path`.

    Classified failures, errors of the operating system (permissions, a full disk) and of a missing package, warnings
    that are raised, and errors of this package that name the file already pass unchanged.

    Parameters
    ----------
    path : Path or str
        The file or folder.
    what : str
        Format, dataset or frames that are read, to follow "cannot be read".
    """
    try:
        yield
    except (SpikeSortingClassifiedError, ImportError, Warning):
        raise
    except Exception as error:
        if _passes(error, path):
            raise
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{path} is incomplete: {error}") from error
        reason = f"{type(error).__name__}: {error}"
        if len(reason) > LONGEST_REASON:
            reason = reason[:LONGEST_REASON] + " ..."
        raise ValueError(f"{path} cannot be read{f' {what}' if what else ''}: {reason}. {ADVICE}") from error


@contextmanager
def reading_frames(recording: BaseRecording, start: int, end: int) -> Iterator[None]:
    """Turn errors into a ValueError that names the file and frames behind frames [start, end) of a prepared recording.

    Errors of recordings in memory pass unchanged, as the caller made them. So does a lack of memory, as the sizes that
    the files claim have been checked before.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception:
        file, first = origin_of(recording, start)
        if not file:
            raise
        with reading(file, f"from frame {first} to {first + end - start}"):
            raise


def origin_of(recording: BaseRecording, frame: int) -> tuple[str, int]:
    """Return the file that a frame of a prepared recording is from ("" in memory), and the frame's number there."""
    epoch = next((e for e in epochs_of(recording) if e.start_frame <= frame < e.end_frame), None)
    if epoch is None:
        return "", frame
    return epoch.source_file, frame - epoch.start_frame + epoch.source_start_frame


def list_some(names: Sequence[str]) -> str:
    """List names for a message, at most `NAMES_IN_MESSAGE` of them."""
    rest = len(names) - NAMES_IN_MESSAGE
    return ", ".join(names[:NAMES_IN_MESSAGE]) + (f" and {rest} more" if rest > 0 else "")


def _passes(error: Exception, path: Path | str) -> bool:
    """Return whether an error stays as it is: of the operating system, or of this package and names `path`."""
    if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM:
        return True
    return type(error) in (ValueError, FileNotFoundError) and str(path) in str(error) and _raised_here(error)


def _raised_here(error: Exception) -> bool:
    """Return whether an error was raised in this package; messages of libraries do not tell what to do."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("spikelab.")
