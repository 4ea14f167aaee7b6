"""The boundary around everything that reads a recording: one class of error, which names the file.

Readers (h5py, neo, zarr, SpikeInterface, our own) raise whatever a damaged file leads them to. Behind :func:`reading`
it is one ValueError, with what was raised as its cause.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
from spikelab.spike_sorting.data import epochs_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from spikeinterface import BaseRecording

# What the operating system refuses, whatever the file holds: it stays what it is.
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


@contextmanager
def reading(path: Path | str, what: str = "") -> Iterator[None]:
    """Turn what a reader raises into a ValueError, or a FileNotFoundError, that names `path`.

    Parameters
    ----------
    path : Path or str
        The file or folder.
    what : str
        What is being read, to follow "cannot be read": a format, a dataset, frames.

    Raises
    ------
    ValueError
        For whatever a damaged file leads to.
    FileNotFoundError
        If a part of the recording is not there.

    Notes
    -----
    Failures that are classified, of the operating system (permissions, a full disk) and of a missing package pass, as
    do warnings that are raised, and an error of ours that names the file already.
    """
    try:
        yield
    except (SpikeSortingClassifiedError, ImportError, Warning):
        raise
    except Exception as error:
        if _speaks_for_itself(error, path):
            raise
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{path} is incomplete: {error}") from error
        reason = f"{type(error).__name__}: {error}"
        if len(reason) > LONGEST_REASON:
            reason = reason[:LONGEST_REASON] + " ..."
        raise ValueError(f"{path} cannot be read{f' {what}' if what else ''}: {reason}. {ADVICE}") from error


@contextmanager
def reading_frames(recording: BaseRecording, start: int, end: int) -> Iterator[None]:
    """Do the same for frames [start, end) of a recording from :func:`.open_recording`, naming the file they are from.

    What a recording in memory raises is left as it is: it is the caller's own. So is a lack of memory, as by now what
    the files claim has been checked.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception:
        epoch = next((e for e in epochs_of(recording) if e.start_frame <= start < e.end_frame), None)
        if epoch is None or not epoch.source_file:
            raise
        offset = epoch.source_start_frame - epoch.start_frame
        with reading(epoch.source_file, f"from frame {start + offset} to {end + offset}"):
            raise


def _speaks_for_itself(error: Exception, path: Path | str) -> bool:
    if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM:
        return True
    return type(error) in (ValueError, FileNotFoundError) and str(path) in str(error) and _is_ours(error)


def _is_ours(error: Exception) -> bool:
    """Whether the error was raised in a module of this package; a library's own words never say what to do."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("spikelab.")
