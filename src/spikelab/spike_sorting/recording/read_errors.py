"""Errors of everything that reads a recording become one class of error: the file, our setting, the next step.

Readers (h5py, neo, zarr, SpikeInterface, this package's) raise any error on a damaged file, name keywords of their own
and packages that are not installed.
"""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure, SpikeSortingClassifiedError
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
OPEN_ELSEWHERE = (
    "is open in another program, which has locked it (HDF5): close it there, or wait until it is written. If no "
    "program has it open, its drive may have no locks that work: set the environment variable "
    "HDF5_USE_FILE_LOCKING=FALSE"
)
WHAT_TO_COMPARE = "was the copy or the recording interrupted? Compare its size with the original's"
_OPTIONS = "What it names are options of the library that reads it. Here, "
# Words of libraries in their messages, and what a user of this package does; the first that is found.
OF_LIBRARIES = (
    (
        r"not a multiple of the data-type size|mmap length is greater",
        f"It ends in the middle of a frame or record: {WHAT_TO_COMPARE}",
    ),
    (r"experiment_names?|multi-block|block_index", f"{_OPTIONS}give the folder of one experiment, or of one block"),
    (r"stream_name|stream_id|several streams", f"{_OPTIONS}set stream_id; `spikelab inspect` lists the streams"),
    (r"electrical_series_(path|name)", f"{_OPTIONS}set electrical_series_path; `spikelab inspect` lists them"),
    (r"rec_name", f"{_OPTIONS}set rec_name; `spikelab inspect` lists the recordings"),
    (
        r"gap_tolerance_ms|ignore_integrity_checks|strict_gap_mode|ignore_timestamps_errors",
        "Frames are missing in the middle: open it with SpikeInterface, and hand that over as a recording in memory",
    ),
)
# Packages whose name is not that of the module in them.
PACKAGES = {"pyedflib": "pyEDFlib", "sonpy": "sonpy", "MEArec": "MEArec", "igor2": "igor2", "sklearn": "scikit-learn"}
NAMED_PACKAGE = re.compile(r"(?:pip install|(?i:requires)|No module named) '?([A-Za-z][\w.\-]*)")
LONGEST_REASON = 400
NAMES_IN_MESSAGE = 10


@contextmanager
def reading(path: Path | str, what: str = "") -> Iterator[None]:
    """Turn what a reader raises into a ValueError, or a FileNotFoundError, that names `path`.

    A missing package is an EnvironmentSortFailure that says how to install it. Classified failures, errors of the
    operating system (permissions, a full disk), warnings that are raised, and errors of this package that name the file
    already pass unchanged.

    Parameters
    ----------
    path : Path or str
        The file or folder.
    what : str
        Format, dataset or frames that are read, to follow "cannot be read".
    """
    try:
        yield
    except (SpikeSortingClassifiedError, Warning):
        raise
    except Exception as error:
        if is_locked(error):
            raise ValueError(f"{path} {OPEN_ELSEWHERE} ({error})") from error
        if package := _missing_package(error):
            raise EnvironmentSortFailure(
                _not_installed(error, package, f"{path} cannot be read {what}".rstrip())
            ) from error
        if _passes(error, path):
            raise
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{path} is incomplete: {error}") from error
        reason = f"{type(error).__name__}: {error}"
        if len(reason) > LONGEST_REASON:
            reason = reason[:LONGEST_REASON] + " ..."
        said = "" if what == "" else f" {what}"
        raise ValueError(f"{path} cannot be read{said}: {reason}. {_advice(str(error))}") from error


def is_locked(error: Exception) -> bool:
    """Return whether HDF5 did not open a file because a program has locked it, or because the drive has no locks."""
    return isinstance(error, OSError) and "unable to lock file" in str(error)


def _advice(words: str) -> str:
    """Return what to do: what stands for the keyword that a library names, else to look at the file."""
    return next((step for pattern, step in OF_LIBRARIES if re.search(pattern, words)), ADVICE)


def _missing_package(error: Exception) -> str:
    """Return the package that a library lacks, or cannot import, by its error; "" where it lacks none."""
    named = NAMED_PACKAGE.search(str(error))
    if isinstance(error, ImportError):
        module = (error.name or "").partition(".")[0]
        return PACKAGES.get(module, module) or (named[1] if named else "") or "that reads it"
    if named is None or _raised_here(error) or find_spec(named[1].partition(".")[0]) is not None:
        return ""
    return PACKAGES.get(named[1], named[1])


def _not_installed(error: Exception, package: str, failed: str) -> str:
    if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError) and error.name:
        return f"{failed}: the package {package} cannot be imported ({error}): pip install --force-reinstall {package}"
    if package == "that reads it":
        return f"{failed}: the package {package} cannot be imported ({error})"
    return f"{failed}: the package {package}, which reads it, is not installed here: pip install {package}"


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
